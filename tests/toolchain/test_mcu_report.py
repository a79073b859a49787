"""``gatefold report`` on microcontrollers: measured and estimated figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import toolchain.cli.report as verb
from runtime.ir import Builder
from runtime.ops import Or
from runtime.serialize import save
from runtime.types import Interval
from tests.exporters.c99.avrs import require_tools
from tests.toolchain.mcu_builds import TRAINED, program
from toolchain.cli import main
from toolchain.cli.evidence import vectors_beside
from toolchain.cost import report
from toolchain.devices import DEVICES
from toolchain.mcu import toolsets
from toolchain.mcu.cores import CORES

PROGRAM = str(TRAINED / "digits-ternary" / "program.gfold")
MISSING = "needs no_such_package: pip install 'gatefold[mcu]'"

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Run ``gatefold report``: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_every_microcontroller_has_a_core_and_addresses() -> None:
    boards = [device for device in DEVICES.values() if device.kind == "mcu"]
    assert {device.target for device in boards} == set(CORES)
    assert all(device.ram_base for device in boards)
    assert not any(device.target for device in DEVICES.values() if device.kind != "mcu")


def test_a_named_device_is_measured(invoke: Invoke) -> None:
    code, out, _ = invoke(PROGRAM, "--device", "nano-33-ble", "--device", "ice40up5k", "--json")
    devices = json.loads(out)["devices"]
    row = devices["nano-33-ble"]
    assert code == 0
    assert row["fits"]
    assert re.fullmatch(r"fits: flash \S+ KB of 1\.0 MB \(2 %\); RAM .*; measured", row["verdict"])
    assert row["source"] == "measured"
    guess, found = row["estimated"], row["measured"]
    assert (row["flash_used"], row["ram_used"]) == (found["flash"], found["ram"])
    assert found["flash"] == found["text"] + found["rodata"] + found["data"] + found["library"]
    assert found["ram"] == sum(found[part] for part in ("data", "bss", "arena", "ports", "stack"))
    assert found["deviation"]["flash"] == pytest.approx(guess["flash"] / found["flash"] - 1, abs=1e-5)
    assert max(abs(found["deviation"][part]) for part in ("flash", "ram")) < 0.03
    assert abs(found["deviation"]["instructions"]) < 0.25
    assert guess["milliseconds"] == pytest.approx(1000 * guess["cycles"] / 64e6, abs=0.01)
    run = found["run"]
    assert run["samples_from"] == "vectors.npz"
    assert run["samples_checked"] == 8 + run["samples_counted"]
    assert run["instructions"] == pytest.approx(sum(row["instructions"] for row in run["layers"]), abs=20)
    macs = sum(row["macs"] for row in run["layers"])
    assert macs == json.loads(out)["total"]["macs"]
    assert run["instructions_per_mac"] == pytest.approx(run["instructions"] / macs, abs=1e-4)
    assert run["estimated_milliseconds"] == pytest.approx(1000 * run["estimated_cycles"] / 64e6, abs=0.01)
    other = devices["ice40up5k"]
    assert (other["source"], other["estimated"], other["measured"]) == ("estimated", None, None)


def test_the_tables_show_both_figures_and_the_layers(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = invoke(PROGRAM, "--device", "nano-33-ble")[1]
    for words in (
        "Microcontrollers (bytes)",
        "flash estimated",
        "flash measured",
        "Microcontrollers (one inference)",
        "instructions estimated",
        "ms estimated",
        "ms by the count",
        "Instructions by layer (in brackets: per MAC)",
        "down.conv",
    ):
        assert words in out


def test_without_measuring_the_verdict_says_so(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = invoke(PROGRAM, "--device", "nano-33-ble", "--no-measure", "--json")
    row = json.loads(out)["devices"]["nano-33-ble"]
    assert (code, err, row["measured"], row["source"]) == (0, "", None, "estimated")
    assert row["verdict"].endswith("; estimated")
    assert row["flash_used"] == row["estimated"]["flash"]
    table = invoke(PROGRAM, "--device", "nano-33-ble", "--no-measure")[1]
    assert "flash estimated" in table
    assert "Instructions by layer" not in table


def test_without_the_packages_one_line_says_what_to_install(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = replace(toolsets.TOOLSETS["zig"], modules=("no_such_package",))
    monkeypatch.setattr(toolsets, "TOOLSETS", {**toolsets.TOOLSETS, "zig": zig})
    monkeypatch.setattr(verb, "TOOLSETS", toolsets.TOOLSETS)
    code, out, err = invoke(PROGRAM, "--device", "rp2040", "--json")
    assert code == 0
    assert err == f"flash and RAM of microcontrollers are estimated; measuring {MISSING}\n"
    assert json.loads(out)["devices"]["rp2040"]["source"] == "estimated"
    code, out, err = invoke(PROGRAM, "--device", "rp2040", "--measure")
    assert (code, out) == (3, "")
    assert err == f"gatefold: --measure {MISSING}, or give --no-measure\n"


def test_several_programs_are_estimated_and_cannot_be_measured(invoke: Invoke) -> None:
    other = str(TRAINED / "fashion-or" / "program.gfold")
    code, out, err = invoke(PROGRAM, other, "--measure", "--device", "rp2040")
    assert (code, out) == (2, "")
    assert "one program at a time can be measured, not 2; leave out --measure or give one" in err
    data = json.loads(invoke(PROGRAM, other, "--device", "rp2040", "--json")[1])
    assert [row["devices"]["rp2040"]["source"] for row in data["programs"]] == ["estimated"] * 2


def test_a_network_that_avr_cannot_address_does_not_fit() -> None:
    verdict = report(program("cifar-vgg-ternary-w48"), ["atmega328p"]).devices["atmega328p"]
    assert not verdict.fits
    assert re.fullmatch(
        r"does not fit: the constants take [\d,]+ bytes, more than avr can address; .*; estimated",
        verdict.verdict,
    )


def test_what_does_not_fit_is_sized_and_not_run(invoke: Invoke) -> None:
    code, out, _ = invoke(PROGRAM, "--device", "ch32v003", "--json")
    row = json.loads(out)["devices"]["ch32v003"]
    assert (code, row["fits"], row["source"]) == (0, False, "measured")
    assert "flash short by" in row["verdict"]
    assert (row["measured"]["run"], row["measured"]["not_run"]) == (None, "it does not fit")


def test_avr_is_run_too_and_its_cycles_are_counted(invoke: Invoke) -> None:
    require_tools()
    code, out, _ = invoke(PROGRAM, "--device", "atmega328p", "--json")
    row = json.loads(out)["devices"]["atmega328p"]
    run = row["measured"]["run"]
    assert (code, row["measured"]["not_run"]) == (0, None)
    assert row["verdict"].endswith("; measured")
    assert (run["instructions"], run["instructions_per_mac"]) == (None, None)
    assert run["estimated_cycles"] == pytest.approx(
        sum(at["estimated_cycles"] for at in run["layers"]), rel=1e-6
    )
    assert run["cycles_from"].startswith("counted by simavr")
    table = invoke(PROGRAM, "--device", "atmega328p")[1]
    assert re.search(r"stem\.conv +18,432 +[\d,]+ cycles\n", table)


def test_without_avr_gcc_an_avr_is_estimated_unless_asked(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, err = invoke(PROGRAM, "--device", "atmega328p", "--json")
    row = json.loads(out)["devices"]["atmega328p"]
    assert (code, row["source"], row["measured"]) == (0, "estimated", None)
    assert "flash and RAM of atmega328p are estimated; measuring needs avr-gcc: install gcc-avr\n" in err
    code, out, err = invoke(PROGRAM, "--device", "atmega328p", "--measure")
    assert (code, out) == (3, "")
    assert err.endswith("gatefold: a cross-compiled image needs avr-gcc: install gcc-avr\n")


def test_a_large_program_is_not_measured_unless_asked(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "MEASURED_MACS", 1000)
    row = json.loads(invoke(PROGRAM, "--device", "rp2040", "--json")[1])["devices"]["rp2040"]
    assert row["source"] == "estimated"


def test_vectors_of_another_program_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "program.gfold"
    assert vectors_beside(path, program()) is None
    np.savez(tmp_path / "vectors.npz", strange=np.zeros((3, 2), int))
    assert vectors_beside(path, program()) is None
    vectors = vectors_beside(TRAINED / "digits-ternary" / "program.gfold", program())
    assert vectors is not None
    assert vectors.inputs["image"].shape[1:] == (1, 8, 8)


def test_a_program_without_multiplications_has_no_ratio(tmp_path: Path, invoke: Invoke) -> None:
    builder = Builder("bits")
    pair = [builder.input(name, (8, 4, 4), Interval(0, 1)) for name in "ab"]
    path = save(builder.build(outputs=(builder.add(Or(), *pair, name="either"),)), tmp_path / "or.gfold")
    code, out, _ = invoke(str(path), "--device", "rp2040", "--json")
    run = json.loads(out)["devices"]["rp2040"]["measured"]["run"]
    assert (code, run["instructions_per_mac"], run["samples_from"]) == (0, None, "self-test")
    assert run["instructions"] > 0
    assert "either" in invoke(str(path), "--device", "rp2040")[1]
