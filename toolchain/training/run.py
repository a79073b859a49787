"""The run directory: what a training run leaves behind, and how it is read again.

recipe.json     the recipe, complete
start.json      digest of the weights it began with, if they are not those that the seed draws
metrics.jsonl   one JSON line per epoch
checkpoint.pt   the last epoch, to resume from
run.lock        locked while a process trains here
model.pt        the chosen weights
result.json     accuracy and provenance (RunResult)
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.files import atomic_write
from runtime.version import VERSION
from toolchain.config import Option, Recipe, parse_recipe
from toolchain.layers import adopt_masks
from toolchain.models import model_row
from toolchain.training.plan import enter_phase

RECIPE_FILE = "recipe.json"
START_FILE = "start.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_FILE = "checkpoint.pt"
LOCK_FILE = "run.lock"
MODEL_FILE = "model.pt"
RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run measured, and where it came from; a lowered program carries it as metadata.

    ``options`` are those of the model, with the connections of the run's last phase.
    ``accuracy`` is the share (0..1) of the ``test_samples`` that the chosen weights get right, in
    float32 on ``device``; ``validation_accuracy`` is None without a validation share. ``epoch`` is the
    chosen one of the ``epochs`` trained, from 1, or 0 when none was. ``seconds`` is the time that took.
    ``device`` is ``cpu`` or ``cuda`` and ``hardware`` the name of the processor or GPU, of which
    ``processes`` worked together.
    """

    recipe: str
    model: str
    options: dict[str, Option]
    dataset: str
    seed: int
    accuracy: float
    validation_accuracy: float | None
    train_samples: int
    test_samples: int
    epoch: int
    epochs: int
    seconds: float
    device: str
    hardware: str
    processes: int
    threads: int
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, ready to lower: ``model`` has the chosen weights, on the CPU, in eval mode.

    ``started``: whether it began with given weights, not with those that its seed draws.
    """

    recipe: Recipe
    model: nn.Module
    result: RunResult
    started: bool = False


def tool_versions() -> dict[str, str]:
    """Versions of what computed a result."""
    return {
        "gatefold": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
    }


def hardware(device: torch.device) -> str:
    """The name of the GPU, or of the processor as far as the platform tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name() or platform.processor() or platform.machine()


def _cpu_name() -> str:
    """``model name`` in Linux's /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path``, indented, at once or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Save tensors and plain values to ``path``, at once or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(content), file)


def remove_remains(directory: Path, *names: str) -> None:
    """Remove what ``atomic_write`` had begun to write when a process was killed, and nobody writes now."""
    for name in names:
        for path in directory.glob(f".{name}.*.tmp"):
            path.unlink()


def read_tensors(path: Path) -> dict[str, Any]:
    """What ``write_tensors`` saved, on the CPU; nothing in the file is executed. Raises InputError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except Exception:
        # A damaged file makes torch raise almost anything, with advice to turn its safety off.
        raise InputError(f"{path} is damaged or was not written by gatefold") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} was not written by gatefold")
    return content


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Load ``state``, read from ``path``, into ``model``, masks too. Raises InputError for a misfit."""
    adopt_masks(model, state)
    own = model.state_dict()
    for name in [*own, *state]:
        if name not in own or name not in state:
            raise InputError(f"{path} does not fit its recipe's model: {name} is on one side only")
        shape = state[name].shape if isinstance(state[name], Tensor) else None
        if shape != own[name].shape:
            found = "no tensor" if shape is None else f"shape {list(shape)}"
            raise InputError(
                f"{path} does not fit its recipe's model: {name} must have shape {list(own[name].shape)}, "
                f"not {found}"
            )
    model.load_state_dict(state)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, dtypes, shapes and contents of ``state``, in hexadecimal, whatever the order."""
    content = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        content.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def write_start(directory: Path, start: str | None) -> None:
    """Note the digest of the state a run begins with; None for that which its seed draws."""
    if start is None:
        (directory / START_FILE).unlink(missing_ok=True)
    else:
        write_json(directory / START_FILE, {"sha256": start})


def read_start(directory: Path) -> str | None:
    """What ``write_start`` noted. Raises InputError."""
    path = directory / START_FILE
    return str(read_json(path).get("sha256")) if path.exists() else None


def read_recipe(directory: Path) -> Recipe:
    """The recipe of a run. Raises InputError."""
    return parse_recipe(read_json(directory / RECIPE_FILE), str(directory / RECIPE_FILE))


def load_run(run_dir: str | Path) -> Run:
    """A finished run with its chosen weights. Raises InputError when anything is missing or damaged."""
    directory = Path(run_dir)
    if not directory.is_dir():
        raise InputError(f"no run directory at {directory}; gatefold train makes one")
    recipe = read_recipe(directory)
    model = model_row(recipe.model).build(**recipe.options)
    try:
        result = read_result(directory / RESULT_FILE)
        load_weights(model, read_tensors(directory / MODEL_FILE), directory / MODEL_FILE)
    except InputError as error:
        raise InputError(f"{error}; {_remedy(directory)}") from None
    enter_phase(model, recipe.active_phases[-1])
    return Run(recipe, model.eval(), result, read_start(directory) is not None)


def write_result(directory: Path, model_state: Mapping[str, Tensor], result: RunResult) -> None:
    """Write the chosen weights, then the result that says the run is complete."""
    write_tensors(directory / MODEL_FILE, model_state)
    write_json(directory / RESULT_FILE, asdict(result))


def read_result(path: Path) -> RunResult:
    content = read_json(path)
    try:
        if set(content) == {field.name for field in fields(RunResult)}:
            return TypeAdapter(RunResult).validate_json(json.dumps(content), strict=True)
    except ValidationError:
        pass  # told below, like other keys
    raise InputError(f"{path} is damaged or of another version")


def _remedy(directory: Path) -> str:
    """What brings the weights and the result of a run back: its checkpoint, unless that is damaged too.

    A run with a start of its own was made by `gatefold prune` or `gatefold quantize`, which know that
    start.
    """
    if (directory / START_FILE).exists():
        result = directory / RESULT_FILE
        return f"delete {result} and repeat the command that made the run, with --resume, to repair it"
    if (directory / CHECKPOINT_FILE).exists():
        try:
            read_tensors(directory / CHECKPOINT_FILE)
        except InputError:
            return f"{CHECKPOINT_FILE} is damaged too, so delete the run directory and train again"
    return f"`gatefold train RECIPE --resume --out {directory}` repairs it"


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        why = "the run is not finished" if path.name == RESULT_FILE else "this is no run directory"
        raise InputError(f"{path} is missing: {why}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: it is not JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it must hold a JSON object")
    return content
