"""The model of every kind of circuit against Yosys, and the optimized netlist against Verilog's operators.

Random layers of each value set and activation width at several densities, one stage of every op, and the
stages of the trained programs that are small enough. For layers also what Yosys makes of the same neurons
written as sums and comparisons: the optimized netlist may never end larger.

    python benchmarks/synthesis.py [--only TEXT] [--limit 1000] [--operators] [--json]

The exit code is 1 where the optimized netlist is larger than the operators.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from exporters.netlist.limits import summed_bits
from exporters.netlist.stages import Stage, stages
from runtime.ir import Builder, Program
from runtime.ops import (
    Add,
    ArgMax,
    Clip,
    Conv2d,
    Dense,
    FloorSqrt,
    Lookup,
    MatMul,
    MaxPool,
    Mul,
    Op,
    Or,
    ReduceSum,
    Requantize,
    RoundDiv,
    Select,
    ShiftRight,
    Square,
    Sub,
    SumPool,
    Threshold,
)
from runtime.serialize import load
from runtime.types import BIT, Interval
from runtime.value_sets import codes_of
from runtime.weights import Weights
from toolchain.synthesis.assess import covers_of, measure, model_of
from toolchain.synthesis.figures import Figures, deviation
from toolchain.synthesis.map import OF_GATES, smallest, synthesize
from toolchain.synthesis.naive import naive_module
from toolchain.synthesis.yosys import TIMEOUT, Yosys, find_yosys
from toolchain.tables import Table, to_markdown

TRAINED = Path(__file__).parent.parent / "sample_models" / "trained"

OPERATOR_BITS = 150
"""Most bits of a layer that is also synthesized from operators: ABC takes minutes for more."""

BYTE, SIGNED_BYTE = Interval(0, 255), Interval(-128, 127)


@dataclass(frozen=True, slots=True)
class Row:
    """One circuit. ``operators``: sizes of the same written as sums and comparisons."""

    name: str
    bits: int
    model: Figures
    measured: Figures
    operators: dict[str, float] | None


def layer(
    inputs: int, outputs: int, levels: int, interval: Interval, density: float, thresholds: int = 1
) -> Program:
    """A dense layer whose thresholds lie where random sums do."""
    rng = np.random.default_rng(0)
    codes = codes_of(rng.integers(0, levels, (outputs, inputs)), levels)
    if levels % 2:
        sign = np.where(rng.random(codes.shape) < 0.5, 1, -1)
        codes = np.where(codes == 0, sign, codes).astype(np.int8)
        codes = np.where(rng.random(codes.shape) < density, codes, 0).astype(np.int8)
    b = Builder("layer")
    x = b.input("x", (inputs,), interval)
    op = Dense(Weights(codes, levels))
    sums = b.add(op, x)
    if thresholds:
        found = op.evaluate(rng.integers(interval.lo, interval.hi + 1, (2000, inputs)))
        cuts = np.linspace(0, 1, thresholds + 2)[1:-1]
        values = np.sort(np.ceil(np.quantile(found, cuts, axis=0)).T.astype(np.int64), axis=1)
        sums = b.add(Threshold(values, np.ones(outputs, np.int64)), sums)
    return b.build((sums,))


def single(op: Op, *operands: tuple[tuple[int, ...], Interval]) -> Program:
    """One op."""
    b = Builder(op.name)
    names = [b.input(f"x{i}", shape, interval) for i, (shape, interval) in enumerate(operands)]
    return b.build((b.add(op, *names),))


def layers() -> Iterator[tuple[str, Program]]:
    """Value sets by activation bits at several densities, logits, and neurons of few inputs."""
    names = {2: "binary", 3: "ternary", 5: "quinary", 15: "15 levels"}
    for bits, size in ((1, (32, 8)), (2, (24, 6)), (4, (16, 4)), (8, (12, 3))):
        interval = Interval(0, (1 << bits) - 1)
        for levels, density in ((2, 1.0), (3, 0.9), (3, 0.5), (3, 0.2), (5, 0.7), (15, 0.8)):
            name = f"{names[levels]} {size[0]} to {size[1]}, {bits}-bit, {density:.0%} kept"
            yield name, layer(*size, levels, interval, density, 3 if bits == 2 else 1)
    yield "ternary 64 to 32, 1-bit, 66% kept", layer(64, 32, 3, BIT, 0.66)
    yield "ternary 24 to 6, 1-bit, 66% kept", layer(24, 6, 3, BIT, 0.66)
    yield "quinary 16 to 4, 2-bit, 66% kept", layer(16, 4, 5, Interval(0, 3), 0.66, 3)
    yield "ternary 48 to 10, 1-bit, logits", layer(48, 10, 3, BIT, 0.66, 0)
    yield "ternary 32 to 10, 2-bit, logits", layer(32, 10, 3, Interval(0, 3), 0.66, 0)
    for fan_in in (4, 6, 9):
        yield f"ternary 48 to 24, 1-bit, {fan_in} inputs a neuron", few_inputs(48, 24, fan_in)


def few_inputs(inputs: int, outputs: int, fan_in: int) -> Program:
    """Neurons that read a few bits each."""
    rng = np.random.default_rng(0)
    codes = np.zeros((outputs, inputs), np.int8)
    for row in codes:
        row[rng.choice(inputs, fan_in, replace=False)] = rng.choice([-1, 1], fan_in)
    b = Builder("few")
    sums = b.add(Dense(Weights(codes, 3)), b.input("x", (inputs,), BIT))
    values = (rng.integers(1, fan_in, outputs) - (codes < 0).sum(axis=1))[:, None]
    return b.build((b.add(Threshold(values, np.ones(outputs, np.int64)), sums),))


def ops() -> Iterator[tuple[str, Program]]:
    """Every other op, at sizes as programs have."""
    rng = np.random.default_rng(0)
    signed = ((4,), SIGNED_BYTE)
    yield (
        "Conv2d 4 to 8, 3x3, ternary",
        single(Conv2d(Weights(codes_of(rng.integers(0, 3, (8, 4, 3, 3)), 3), 3)), ((4, 3, 3), BIT)),
    )
    yield "Or, 3 bits", single(Or(), ((4,), Interval(0, 7)), ((4,), Interval(0, 7)))
    yield "Select, 8 bits", single(Select(), ((4,), BIT), signed, signed)
    yield "Add, 8 bits", single(Add(), signed, signed)
    yield "Sub, 8 bits", single(Sub(), signed, signed)
    yield "Mul, 8x8 bits", single(Mul(), ((1,), BYTE), ((1,), BYTE))
    yield "Mul, 8x8 bits, signed", single(Mul(), ((1,), SIGNED_BYTE), ((1,), SIGNED_BYTE))
    yield "Square, 8 bits", single(Square(), ((1,), BYTE))
    yield (
        "MatMul, 4 terms of 4x4 bits",
        single(MatMul(), ((2, 4), Interval(-8, 7)), ((4, 1), Interval(-8, 7))),
    )
    yield "ReduceSum, 16 terms of 8 bits", single(ReduceSum((0,)), ((16,), SIGNED_BYTE))
    yield "SumPool, 4x4 of 2 bits", single(SumPool((4, 4), (4, 4)), ((2, 4, 4), Interval(0, 3)))
    yield "MaxPool, 2x2 of single bits", single(MaxPool((2, 2), (2, 2)), ((8, 2, 2), BIT))
    yield "MaxPool, 2x2 of 2 bits", single(MaxPool((2, 2), (2, 2)), ((4, 2, 2), Interval(0, 3)))
    yield "MaxPool, 2x2 of 8 bits", single(MaxPool((2, 2), (2, 2)), ((2, 2, 2), BYTE))
    yield "ArgMax, 10 of 8 bits", single(ArgMax(), ((10,), SIGNED_BYTE))
    yield (
        "Threshold, 15 of 8 bits",
        single(Threshold(np.sort(rng.integers(-120, 120, (4, 15)), axis=1), np.ones(4, np.int64)), signed),
    )
    yield (
        "RoundDiv, 16 by 8 bits",
        single(RoundDiv(), ((1,), Interval(-(2**15), 2**15 - 1)), ((1,), Interval(1, 255))),
    )
    yield "FloorSqrt, 16 bits", single(FloorSqrt(), ((1,), Interval(0, 2**16 - 1)))
    yield "ShiftRight, half up", single(ShiftRight(8, "half-up"), ((2,), Interval(-(2**15), 2**15 - 1)))
    yield "Clip, 10 bits to 8", single(Clip(0, 255), ((4,), Interval(-512, 511)))
    yield (
        "Requantize, 12 bits to 8",
        single(
            Requantize(*(np.array(a) for a in ([91, 57], [2048, 2048], [12, 12])), 0, 15),
            ((2,), Interval(-2048, 2047)),
        ),
    )
    logistic = np.round(255 / (1 + np.exp(-np.linspace(-6, 6, 256)))).astype(np.int64)[None]
    yield "Lookup, logistic curve", single(Lookup(logistic, 0), ((1,), BYTE))
    yield "Lookup, shuffled", single(Lookup(rng.permutation(256)[None], 0), ((1,), BYTE))


def trained(limit: int) -> Iterator[tuple[str, Stage]]:
    """Small stages of the programs that come trained; of those that look alike only one."""
    seen = set()
    for path in sorted(TRAINED.glob("*/program.gfold")):
        for stage in stages(load(path)).circuits:
            bits = summed_bits(stage)
            key = (stage.local.op.name, bits, stage.local.result.bits)
            if 0 < bits <= limit and key not in seen:
                seen.add(key)
                yield f"{path.parent.name}: {stage.value}", stage


def cases(limit: int) -> Iterator[tuple[str, Stage]]:
    """Everything, one stage each."""
    for name, program in (*layers(), *ops()):
        yield name, next(stages(program).circuits)
    yield from trained(limit)


def run(name: str, stage: Stage, yosys: Yosys, operators: bool) -> Row:
    """Model and synthesis of one stage, without registers."""
    gates, tables = stage.circuit("gates"), stage.circuit("lut6")
    covers = covers_of(gates, tables)
    measured = measure(yosys, gates, tables, covers, False, name, TIMEOUT)
    sizes = None
    if operators and isinstance(stage.local.op, Dense) and summed_bits(stage) <= OPERATOR_BITS:
        with tempfile.TemporaryDirectory() as folder:
            text = naive_module(stage, gates, "top")
            mapped = synthesize(yosys, text, OF_GATES, Path(folder), name)
        sizes = {key: round(one.size, 2) for key, one in smallest(mapped).items()}
    return Row(name, summed_bits(stage), model_of(gates, covers, 0), measured, sizes)


def report(rows: list[Row]) -> str:
    """The rows as a table: model / Yosys (deviation), and what the operators take."""
    cells = []
    for row in rows:
        off = deviation(row.model, row.measured)
        line = [row.name]
        for key in ("ge", "lut4", "lut6"):
            a, b, share = getattr(row.model, key), getattr(row.measured, key), off and off[key]
            line.append(f"{a:,.0f} / {b:,.0f}" + ("" if share is None else f" ({100 * share:+.1f} %)"))
        sizes = row.operators
        line.append(" / ".join(f"{sizes[key]:,.0f}" for key in ("ge", "lut4", "lut6")) if sizes else "")
        cells.append(line)
    headers = ("circuit", "GE", "LUT4", "LUT6", "operators: GE / LUT4 / LUT6")
    return to_markdown(Table("", headers, cells))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="circuits whose name holds this text")
    parser.add_argument("--limit", type=int, default=1000, help="most bits of a trained program's stage")
    parser.add_argument("--operators", action="store_true", help="also Verilog's operators (slow)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    yosys, rows = find_yosys("this benchmark"), []
    for name, stage in cases(options.limit):
        if options.only in name:
            rows.append(run(name, stage, yosys, options.operators))
            print(name, file=sys.stderr, flush=True)
    print(json.dumps([asdict(row) for row in rows], indent=1) if options.json else report(rows))
    larger = [
        row.name
        for row in rows
        if row.operators and any(getattr(row.measured, key) > row.operators[key] for key in row.operators)
    ]
    if larger:
        sys.exit(f"larger than Verilog's operators: {', '.join(larger)}")


if __name__ == "__main__":
    main()
