"""Images for AVR, which avr-gcc makes and simavr runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.c99.build import generate
from runtime.errors import GatefoldError, MissingToolError
from runtime.ops import OPS
from tests.exporters.c99.avrs import require_tools
from tests.programs import random_program
from tests.toolchain.mcu_builds import MEMORY, handwritten, image, program, source
from toolchain.devices import find
from toolchain.mcu import simulate
from toolchain.mcu.build import build
from toolchain.mcu.cores import CORES
from toolchain.mcu.decode import DECODERS
from toolchain.mcu.image import measure_sizes
from toolchain.mcu.measure import Checks, Measurer, cannot_run, checked_runs, measure
from toolchain.mcu.simulate import Simulator, intel_hex

AVR = CORES["avr"]


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    require_tools()


def zeros(name: str = "digits-ternary") -> dict[str, np.ndarray]:
    return {port.name: np.zeros(port.type.shape, int) for port in source("avr", name).inputs}


def test_an_image_runs_bit_for_bit_and_its_figures_agree() -> None:
    found = measure(Checks.of(program()), source("avr"), AVR, MEMORY, {"stem.conv": 18_432})
    sizes, speed = found.sizes, found.speed
    assert speed is not None
    assert speed.checked == 8
    assert speed.stack <= sizes.stack <= speed.stack + 16
    assert sizes.flash == sizes.text + sizes.rodata + sizes.library
    assert sizes.ram == sizes.arena + sizes.ports + sizes.stack
    assert 0 <= sizes.rodata - source("avr").constant_bytes < 1024, "all constants lie in flash"
    assert sizes.library > 0
    own = [function.bytes for function in sizes.functions if not function.library]
    assert 0.95 * sizes.text <= sum(own) <= sizes.text
    layers = {layer.layer: layer for layer in speed.layers}
    assert list(layers) == list(dict.fromkeys(source("avr").steps))
    assert all(layer.cycles > 0 and layer.instructions is None for layer in speed.layers)
    assert (speed.instructions, layers["stem.conv"].per_mac) == (None, None)
    assert 8e6 < speed.cycles < 40e6


@pytest.mark.parametrize("seed", [3, 4])
def test_random_programs_of_every_op_run_alike(seed: int) -> None:
    made = random_program(list(OPS), seed)
    built = build(generate(made, "avr", vectors=0), AVR, MEMORY)
    assert len(list(checked_runs(Simulator(built), Checks.of(made).embedded, "avr"))) == 8


STOPS = {
    "an error": ("RUN { UNUSED return 3; }", "^digits_ternary on avr returned 3 in place of 0; report it"),
    "the end": (
        'RUN { UNUSED __asm__ volatile("cli\\n sleep"); return 0; }',
        "^digits_ternary on avr stopped in simavr; report it with the program; sources and compile.log are",
    ),
    "no end": (
        "RUN { UNUSED for (;;) *(volatile uint8_t *)arena = 0; }",
        "^running digits_ternary on avr in simavr took more than 1 seconds; it was stopped",
    ),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_run_that_does_not_end_well_is_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, message = STOPS[case]
    monkeypatch.setattr(simulate, "TIMEOUT", 1.0)
    built = build(handwritten(body, source("avr")), AVR, MEMORY)
    with pytest.raises(GatefoldError, match=message):
        Simulator(built).run(zeros())


def test_the_stack_of_an_image_is_what_it_writes() -> None:
    body = """
static __attribute__((noinline)) void leaf(volatile uint8_t *to)
{
    volatile uint8_t x[100];
    for (unsigned i = 0; i < 100; i++)
        x[i] = (uint8_t)(*to + 1);
    *to = x[7];
}
RUN { UNUSED volatile uint8_t x = 1; leaf(&x); return 0; }"""
    built = build(handwritten(body, source("avr")), AVR, MEMORY)
    sizes = measure_sizes(built)
    assert sizes.path == ("digits_ternary_run", "leaf")
    assert sizes.stack == Simulator(built).run(zeros()).stack > 100


def test_what_simavr_has_no_ram_for() -> None:
    large = replace(source("avr"), arena_bytes=20_000)
    with pytest.raises(GatefoldError, match=r"^digits_ternary on avr does not fit the RAM of atmega1284p"):
        Simulator(build(large, AVR, MEMORY))


def test_the_first_error_of_the_compiler_is_the_message() -> None:
    with pytest.raises(GatefoldError, match=r"^compiling digits_ternary\.c for avr failed: .*'nothing'"):
        build(handwritten("RUN { UNUSED return nothing; }", source("avr")), AVR, MEMORY)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    built = image("avr")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match=r"^a cross-compiled image needs avr-gcc: install gcc-avr$"):
        build(source("avr"), AVR, MEMORY)
    with pytest.raises(
        MissingToolError, match=r"^running digits_ternary on avr needs simavr: install simavr$"
    ):
        Simulator(built)
    assert cannot_run(AVR) == "running avr needs simavr: install simavr"
    assert cannot_run(CORES["cortex-m4"]) is None


def test_a_simulator_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEFOLD_SIMAVR", "/bin/false")
    message = r"^running digits_ternary on avr in simavr failed: it ended with 1 and no message; sources"
    with pytest.raises(GatefoldError, match=message):
        Simulator(image("avr")).run(zeros())


def test_a_compiler_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEFOLD_AVR_GCC", "nonsense")
    with pytest.raises(MissingToolError, match=r"^GATEFOLD_AVR_GCC must be the command of avr-gcc, not 'n"):
        build(source("avr"), AVR, MEMORY)


def test_what_cannot_run_is_told_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.mcu.measure.find_tool", lambda tool: None)
    told: list[str] = []
    device = find("arduino-uno")
    found = Measurer(Checks.of(program()), {}, lacking=told.append)(device, source("avr"))
    assert found is not None
    assert found.speed is None
    assert told == ["atmega328p is sized and not run: running avr needs simavr: install simavr"]
    with pytest.raises(MissingToolError, match=r"^running avr needs simavr: install simavr$"):
        Measurer(Checks.of(program()), {})(device, source("avr"))


def test_without_simavr_an_image_is_sized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.mcu.measure.find_tool", lambda tool: None)
    found = measure(Checks.of(program()), source("avr"), AVR, MEMORY, {})
    assert (found.speed, found.why) == (None, "running avr needs simavr: install simavr")
    assert found.sizes == measure_sizes(image("avr"))


def test_what_a_prologue_of_avr_pushes() -> None:
    code = bytes.fromhex("1f93cf93df930e940000df91cf911f910895")
    assert DECODERS["avr"].frame_bytes(code) == 3
    assert len(list(DECODERS["avr"].instructions(code))) == 8


def test_intel_hex_is_what_binutils_reads(tmp_path: Path) -> None:
    """Of more than 64 KB, whose addresses need an extension."""
    from tests.exporters.c99.natives import call

    content = np.random.default_rng(0).integers(0, 256, 70_001, np.uint8).tobytes()
    (tmp_path / "image.hex").write_text(intel_hex(content))
    call(["avr-objcopy", "-I", "ihex", "-O", "binary", "image.hex", "image.bin"], tmp_path)
    assert (tmp_path / "image.bin").read_bytes() == content
    assert re.fullmatch(r"(:[0-9A-F]+\n)+", intel_hex(content[:40]))
