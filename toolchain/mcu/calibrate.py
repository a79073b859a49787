"""Measure the table of code sizes: ``python -m toolchain.mcu.calibrate PROGRAM|MODEL...``.

Compiles every program, and an untrained network of every model, for every core, and writes ``sizes.json``:
kernels by how many places call them, bytes per token of a program's own statements, sizes of structures.
Run it when kernels or the compiler change.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exporters.c99.build import Source, generate
from runtime.errors import ProgramError
from runtime.files import atomic_write
from runtime.ir import Program
from runtime.serialize import load
from toolchain.mcu.build import build
from toolchain.mcu.cores import CORES, Core
from toolchain.mcu.estimate import TABLE, Estimate, Features, estimate, features, structures
from toolchain.mcu.harness import Memory
from toolchain.mcu.image import Function, Sizes, measure_sizes, object_bytes

MEMORY = Memory(0x08000000, 0x20000000)
BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One program on one core. ``tables``: bytes in flash of the structures of each type."""

    source: Source
    features: Features
    sizes: Sizes
    tables: Mapping[str, int]


def sample(program: Program, core: Core) -> Sample | None:
    """Compile ``program`` for ``core``; None where the core cannot address it."""
    try:
        source = generate(program, core.name, vectors=0)
    except ProgramError:
        return None
    image = build(source, core, MEMORY)
    objects = object_bytes(image)
    tables: Counter[str] = Counter()
    for kind, name in structures(source):
        tables[kind] += objects.get(name, 0)
    return Sample(source, features(source), measure_sizes(image), tables)


def is_kernel(function: Function) -> bool:
    """Whether a function is one of the header's or of the compiler's library, not the program's own."""
    return function.library or function.name.startswith("gf_")


def fit(samples: Sequence[Sample]) -> dict[str, Any]:
    """The table row of one core from samples on it."""
    kernels = _kernels(samples)
    usual = [entry["bytes"] for variants in kernels.values() for entry in variants.values()]
    return {
        "kernels": kernels,
        "other": round(sum(usual) / max(len(usual), 1), 1),
        "routines": {
            "plain": _routines([at for at in samples if not at.features.divides]),
            "divides": _routines([at for at in samples if at.features.divides]),
        },
        **_glue(samples),
        "tables": _structures(samples),
        **_frames(samples),
    }


def _kernels(samples: Sequence[Sample]) -> dict[str, Any]:
    """Every kernel and library routine by call sites: mean size and frame, and everything it calls.

    What one place alone calls is made for that place, so its size varies. Programs count by the inverse of
    their size, as an error does.
    """
    seen: dict[str, dict[str, list[tuple[float, Function]]]] = {}
    for at in samples:
        sites = _sites(at)
        for function in filter(is_kernel, at.sizes.functions):
            variant = "one" if sites.get(function.name, 2) == 1 else "many"
            found = seen.setdefault(function.name, {}).setdefault(variant, [])
            framed = replace(function, frame=function.frame + _call_bytes(at))
            found.append((1 / at.sizes.flash, framed))
    return {
        name: {variant: _mean(found) for variant, found in sorted(variants.items())}
        for name, variants in sorted(seen.items())
    }


def _mean(found: Sequence[tuple[float, Function]]) -> dict[str, Any]:
    """``bytes``: half way from the mean to the middle of the extremes: where the compiler makes a kernel in
    two ways, the largest error counts beside the usual one."""
    total = sum(weight for weight, _ in found)
    mean = sum(weight * function.bytes for weight, function in found) / total
    sizes = [function.bytes for _, function in found]
    middle = (min(sizes) + max(sizes)) / 2
    return {
        "bytes": round((mean + middle) / 2, 1),
        "frame": round(sum(weight * function.frame for weight, function in found) / total, 1),
        "calls": sorted({name for _, function in found for name in function.calls}),
    }


def _call_bytes(at: Sample) -> int:
    return CORES[at.source.target.name].call_bytes


def _routines(samples: Sequence[Sample]) -> list[str]:
    """Library routines that most programs call from their own statements."""
    count: Counter[str] = Counter()
    for at in samples:
        library = {function.name for function in at.sizes.functions if function.library}
        count.update(set(_own(at).calls) & library)
    return sorted(name for name, times in count.items() if 2 * times > len(samples))


def _own(at: Sample) -> Function:
    """The program's function; what it calls once is part of it."""
    return next(f for f in at.sizes.functions if f.name == f"{at.source.name}_run")


def _sites(at: Sample) -> dict[str, int]:
    """Call sites of every kernel, those of its callers where a kernel calls it."""
    functions = {function.name: function for function in at.sizes.functions}
    sites: dict[str, int] = {}
    todo = [(name, times) for name, times in at.features.calls.items() if name in functions]
    while todo:
        name, times = todo.pop()
        if sites.get(name, 0) < times:
            sites[name] = times
            todo += [(callee, times) for callee in functions[name].calls if callee in functions]
    return sites


def least_squares(
    columns: Sequence[Sequence[float]], wanted: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Weighted least squares without negative coefficients: a column that would get one is left out."""
    scale = np.array(weights, dtype=float)
    matrix, target = np.array(columns, dtype=float).T * scale[:, None], np.array(wanted) * scale
    kept = list(range(matrix.shape[1]))
    result = [0.0] * matrix.shape[1]
    while kept:
        found, *_ = np.linalg.lstsq(matrix[:, kept], target, rcond=None)
        if (found >= 0).all():
            for place, value in zip(kept, found, strict=True):
                result[place] = round(float(value), 4)
            break
        kept.pop(int(found.argmin()))
    return result


def _glue(samples: Sequence[Sample]) -> dict[str, float]:
    """Bytes of a program's own statements: of all of them, and by what they are made of."""
    own = [at.sizes.code - sum(f.bytes for f in at.sizes.functions if is_kernel(f)) for at in samples]
    base, token, inlined, wide, loop = least_squares(
        [
            [1] * len(samples),
            [at.features.tokens for at in samples],
            [at.features.inlined for at in samples],
            [at.features.wide for at in samples],
            [at.features.loops for at in samples],
        ],
        own,
        [1 / at.sizes.flash for at in samples],
    )
    return {"base": base, "token": token, "inlined": inlined, "wide": wide, "loop": loop}


def _structures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Bytes of a structure by type, where a program has one of them and where it has several.

    A single one is often folded into the code that reads it. Each takes part by what the image has.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for at in samples:
        for kind, times in at.features.tables.items():
            variant = "one" if times == 1 else "many"
            bytes_ = at.tables.get(kind, 0) / times
            found.setdefault(kind, {}).setdefault(variant, []).append(bytes_)
    return {
        kind: {variant: {"bytes": round(sum(b) / len(b), 2)} for variant, b in sorted(variants.items())}
        for kind, variants in sorted(found.items())
    }


def _frames(samples: Sequence[Sample]) -> dict[str, float]:
    frames = [_own(at).frame + _call_bytes(at) for at in samples]
    base, token = least_squares(
        [[1] * len(samples), [at.features.tokens for at in samples]],
        frames,
        [1 / at.sizes.ram for at in samples],
    )
    return {
        "frame": base,
        "frame_token": token,
        "frame_least": min(frames),
        "frame_most": max(frames),
    }


def deviations(found: Estimate, sizes: Sizes) -> tuple[float, float]:
    """By how much an estimate is off: flash and RAM, as shares of the measured bytes."""
    return found.flash / sizes.flash - 1, found.ram / sizes.ram - 1


def calibrate(programs: Iterable[Program], cores: Iterable[Core]) -> dict[str, Any]:
    """The table of all ``cores``, each from every program that it can address."""
    loaded = list(programs)
    table = {}
    for core in cores:
        samples = [at for program in loaded if (at := sample(program, core)) is not None]
        table[core.name] = fit(samples)
        left_out = [_left_out(samples, index) for index in range(len(samples))] if len(samples) > 1 else []
        worst = [max((abs(d[i]) for d in left_out), default=0) for i in (0, 1)]
        within = [deviations(estimate(at.source, table), at.sizes) for at in samples]
        best = [max(abs(d[i]) for d in within) for i in (0, 1)]
        print(
            f"{core.name}: {len(samples)} programs; largest deviation flash {100 * best[0]:.2f} %, "
            f"RAM {100 * best[1]:.2f} %; of a program left out of the table "
            f"{100 * worst[0]:.2f} %, {100 * worst[1]:.2f} %",
            file=sys.stderr,
        )
    return table


def _left_out(samples: Sequence[Sample], index: int) -> tuple[float, float]:
    """Deviations of a program from the table of all others."""
    at = samples[index]
    others = [*samples[:index], *samples[index + 1 :]]
    return deviations(estimate(at.source, {at.source.target.name: fit(others)}), at.sizes)


def untrained(name: str) -> Program:
    """The program of a registered model with random weights; one batch of random pixels sets its norms."""
    import torch

    from toolchain.lowering import lower
    from toolchain.models import model_row

    torch.manual_seed(0)
    row = model_row(name)
    model = row.build().train()
    pixels = torch.randint(row.input_interval.lo, row.input_interval.hi + 1, (BATCH, *row.input_shape))
    model(pixels.float())
    return lower(model, row.input_shape, row.input_interval, name)


def main(names: Sequence[str]) -> None:
    """Write the table from programs, by path, and models, by name."""
    programs = [load(Path(name)) if Path(name).is_file() else untrained(name) for name in names]
    table = calibrate(programs, CORES.values())
    place = Path(__file__).with_name(TABLE)
    with atomic_write(place) as temporary:
        temporary.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
