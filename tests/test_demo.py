"""The main job, as a user runs it first."""

import json
import subprocess
import sys
from pathlib import Path

from runtime.serialize import load

DEMO = """
from toolchain import demo
from toolchain.cli import main
demo.RANDOM_SAMPLES = 100
main()
"""
"""The command line, with fewer random images beside the real ones: the slowest executors take long."""


def test_the_demonstration_does_the_whole_job(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEMO, "demo", "--json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    networks = json.loads(done.stdout)["networks"]
    assert set(networks) == {"digits-ternary", "digits-mux"}
    for recipe, shown in networks.items():
        assert shown["accuracy"] >= 0.96
        assert shown["model"] == {"samples": 359, "mismatches": 0, "float32_differing": 0}
        rows = shown["verify"]["executors"]
        assert "a simulated design may add up at most" in rows.pop("verilog")["skipped"]
        for row in rows.values():
            assert row == {"samples": 459, "mismatches": 0, "skipped": None}
        assert shown["report"]["total"]["parameters"] == 67_370
        assert load(tmp_path / recipe / "program.gfold").outputs == ("scores", "class")
        for profile, size in shown["onnx_bytes"].items():
            assert (tmp_path / recipe / f"{profile}.onnx").stat().st_size == size
        assert (tmp_path / recipe / "c99" / "README.md").is_file()
        assert set(shown["milliseconds"]) == {"packed", "C", "ONNX", "float32 twin"}
    assert list(tmp_path.rglob("*.tmp")) == []
