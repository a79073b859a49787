"""A plain int8 C implementation of the shapes of a program: the baseline of the microcontroller comparison.

The same convolutions, matrix products, pools and skips, with one byte per weight and per activation, 32-bit
sums and a requantization per output channel. Weights are the program's, times a constant, so the network
computes something, but not what the program does: only its cost is compared. Written with favours: the
input is int8 already, OR skips are saturating additions without rescaling, ReLU is a limit of the
requantization, and buffers share an arena by the planner that Gatefold uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exporters.c99.build import Port, Source
from exporters.c99.constants import number_lines
from exporters.c99.names import identifier
from exporters.c99.targets import find_target
from runtime.arena import Buffer, arena_bytes, place
from runtime.errors import InputError
from runtime.ir import Node, Program
from runtime.ops import ArgMax, Conv2d, Dense, Lookup, MaxPool, Or, Reshape, SumPool, Threshold
from runtime.types import Interval, TensorType

KERNELS = Path(__file__).with_name("int8_kernels.h")
SCALE = 42
"""What a weight is multiplied by to fill int8: ternary and quinary ones stay below 128."""

SHIFT = 30
SEED = 0

Array = np.ndarray


@dataclass(slots=True)
class Network:
    """The baseline under construction. ``steps``, ``reference``: C and NumPy of every step, in order.
    ``sample``: values for one random input, which requantizations are scaled by."""

    program: Program
    prefix: str
    constants: list[str] = field(default_factory=list)
    constant_bytes: int = 0
    buffers: dict[str, list[int]] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)
    reference: list[Callable[[dict[str, Array]], None]] = field(default_factory=list)
    alias: dict[str, str] = field(default_factory=dict)
    sample: dict[str, Array] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The buffer that holds a value."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def constant(self, c_type: str, hint: str, values: Array) -> str:
        """A constant array of C type ``c_type``."""
        name = f"{self.prefix}_{hint}_{len(self.constants)}"
        lines = "\n".join(number_lines(values.reshape(-1).astype(np.int64)))
        self.constants.append(f"static const {c_type} {name}[{values.size}] = {{\n{lines}\n}};")
        self.constant_bytes += values.size * int("".join(ch for ch in c_type if ch.isdigit())) // 8
        return name

    def step(self, node: Node, call: str, compute: Callable[..., Array], *operands: str) -> None:
        """A call that makes the result of ``node`` from the values of ``operands``."""
        number = len(self.steps)
        names = [self.at(name) for name in operands]
        for name in names:
            if name in self.buffers:
                self.buffers[name][2] = number
        self.buffers[node.result] = [node.type.size, number, number]
        text = call.format(*(f"@{name}@" for name in names), out=f"@{node.result}@")
        self.steps.append((node.layer or node.result, text))

        def run(values: dict[str, Array]) -> None:
            values[node.result] = compute(*(values[name] for name in names))

        self.reference.append(run)
        run(self.sample)


def _quantized(
    network: Network, node: Node, weights: Array, last: bool, numbers: str, sums: Callable[[Array], Array]
) -> None:
    """A layer with weights: ``numbers`` is the C of its sizes, ``sums`` what it adds up, outputs last."""
    outputs = len(weights)
    typical = np.abs(sums(network.sample[network.at(node.operands[0])])).max() or 1
    multiplier = np.full(outputs, int(127 / typical * 2**SHIFT))
    bias, shift, lo = np.arange(outputs) % 7 * 10, np.full(outputs, SHIFT), -128 if last else 0
    names = [
        network.constant("int8_t", "weights", weights),
        network.constant("int32_t", "bias", bias),
        network.constant("int32_t", "multiplier", multiplier),
        network.constant("uint8_t", "shift", shift),
    ]
    rounding = 1 << (SHIFT - 1)
    kind = "dense" if isinstance(node.op, Dense) else "conv"
    network.step(
        node,
        f"static const int8_layer layer = {{{{{numbers}, {', '.join(names)}, {lo}, 127}}}};\n"
        f"    int8_{kind}(&layer, {{0}}, {{out}});",
        lambda x: np.clip((sums(x) + bias) * multiplier + rounding >> SHIFT, lo, 127),
        node.operands[0],
    )


def _windows(x: Array, op: Any, size: tuple[int, int], fill: int) -> Array:
    """(rows, columns, channels, kernel rows, kernel columns) of an array (H, W, C)."""
    kernel = op.kernel if isinstance(op, MaxPool) else op.weights.shape[2:]
    (py, px), (sy, sx) = op.padding, op.stride
    padded = np.pad(x, ((py, py + sy), (px, px + sx), (0, 0)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel, (0, 1))
    return views[::sy, ::sx][: size[0], : size[1]]


def _conv(network: Network, node: Node, last: bool) -> None:
    op: Conv2d = node.op  # type: ignore[assignment]
    if op.groups != 1 or op.dilation != (1, 1):
        raise InputError(f"{node.result}: the int8 baseline has no groups and no dilation")
    c, h, w = network.program.types[node.operands[0]].shape
    o, oh, ow = node.type.shape
    weights = SCALE * op.weights.codes.astype(np.int64).transpose(0, 2, 3, 1)
    rows, columns = op.weights.shape[2:]
    numbers = ", ".join(map(str, (c, h, w, o, oh, ow, rows, columns, *op.stride, *op.padding)))

    def sums(x: Array) -> Array:
        return np.einsum("yxcuv,ouvc->yxo", _windows(x, op, (oh, ow), 0), weights)

    _quantized(network, node, weights, last, numbers, sums)


def _dense(network: Network, node: Node, last: bool) -> None:
    op: Dense = node.op  # type: ignore[assignment]
    weights = SCALE * op.weights.codes.astype(np.int64)
    numbers = f"{weights.shape[1]}, 1, 1, {weights.shape[0]}, 1, 1, 1, 1, 1, 1, 0, 0"
    _quantized(network, node, weights, last, numbers, lambda x: weights @ x.reshape(-1))


def _max_pool(network: Network, node: Node, last: bool) -> None:
    op: MaxPool = node.op  # type: ignore[assignment]
    c, h, w = network.program.types[node.operands[0]].shape
    _, oh, ow = node.type.shape
    numbers = ", ".join(map(str, (c, h, w, oh, ow, *op.kernel, *op.stride, *op.padding)))
    network.step(
        node,
        f"static const int8_pool pool = {{{{{numbers}}}}};\n    int8_max_pool(&pool, {{0}}, {{out}});",
        lambda x: _windows(x, op, (oh, ow), -128).max((3, 4)),
        node.operands[0],
    )


def _mean(network: Network, node: Node, last: bool) -> None:
    channels, *place = network.program.types[node.operands[0]].shape
    if node.op.kernel != tuple(place):  # type: ignore[attr-defined]
        raise InputError(f"{node.result}: the int8 baseline has global means only")
    positions = int(np.prod(place))
    network.step(
        node,
        f"int8_mean({channels}, {positions}, {{0}}, {{out}});",
        lambda x: np.trunc(x.reshape(-1, channels).sum(0) / positions).astype(np.int64),
        node.operands[0],
    )


def _or(network: Network, node: Node, last: bool) -> None:
    network.step(
        node,
        f"int8_add({node.type.size}, {{0}}, {{1}}, {{out}});",
        lambda a, b: np.minimum(a + b, 127),
        *node.operands,
    )


def _argmax(network: Network, node: Node, last: bool) -> None:
    count = network.program.types[node.operands[0]].size
    network.step(node, f"*{{out}} = int8_argmax({count}, {{0}});", np.argmax, node.operands[0])


def _same(network: Network, node: Node, last: bool) -> None:
    network.alias[node.result] = node.operands[0]


RULES: dict[type, Callable[[Network, Node, bool], None]] = {
    Conv2d: _conv,
    Dense: _dense,
    MaxPool: _max_pool,
    SumPool: _mean,
    Or: _or,
    ArgMax: _argmax,
    Lookup: _same,
    Threshold: _same,
    Reshape: _same,
}
"""How each op is written. Pixel tables and thresholds are part of other steps in an int8 network."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """The C of a baseline, and what it must compute."""

    source: Source
    network: Network

    def run(self, pixels: Array) -> dict[str, Array]:
        """Outputs by name for one int8 input (H, W, C)."""
        values = {self.network.program.inputs[0].name: pixels.astype(np.int64)}
        for step in self.network.reference:
            step(values)
        return {name: np.asarray(values[name]) for name in self.network.program.outputs}


def baseline(program: Program, target: str) -> Baseline:
    """The int8 baseline of ``program`` for a target of the C exporter. Raises InputError for other ops."""
    (spec,) = program.inputs
    network = Network(program, identifier(f"int8-{program.name}"))
    pixels = np.random.default_rng(SEED).integers(-128, 128, _last(spec.type.shape))
    network.sample[spec.name] = pixels
    for node in program.nodes:
        if type(node.op) not in RULES:
            raise InputError(f"{node.result}: the int8 baseline has no {node.op.name}")
        RULES[type(node.op)](network, node, node.result in program.outputs)
    outputs = list(program.outputs)
    kept = [
        Buffer((name,), -(-size // 8) * 8, birth, death)
        for name, (size, birth, death) in network.buffers.items()
        if name not in outputs
    ]
    placed = place(kept)
    where = {buffer.names[0]: f"(memory + {buffer.offset})" for buffer in placed}
    ports_in = Port(spec.name, "pixels", TensorType(_last(spec.type.shape), Interval(-128, 127)))
    ports_out = [
        Port(name, f"out{i}", TensorType(program.types[name].shape, _interval(program, name)))
        for i, name in enumerate(outputs)
    ]
    where |= {spec.name: "pixels"} | {port.name: port.c_name for port in ports_out}
    total = max(arena_bytes(placed), 8)
    prefix = network.prefix
    signature = ", ".join(["const int8_t *pixels", *(f"{p.c_type} *{p.c_name}" for p in ports_out)])
    files = {
        f"{prefix}.h": f"#include <stddef.h>\n#include <stdint.h>\n"
        f"int {prefix}_run({signature}, void *arena, size_t arena_bytes);\n",
        f"{prefix}.c": _body(network, prefix, signature, where),
        f"{prefix}_weights.c": f"typedef int {prefix}_no_weights;\n",
        "int8_kernels.h": KERNELS.read_text(encoding="utf-8"),
    }
    source = Source(
        prefix,
        find_target(target),
        {path: text.encode() for path, text in files.items()},
        (ports_in,),
        tuple(ports_out),
        total,
        8,
        network.constant_bytes,
        tuple(label for label, _ in network.steps),
        (),
        None,  # type: ignore[arg-type]
    )
    return Baseline(source, network)


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0])


def _interval(program: Program, name: str) -> Interval:
    """int8 scores, and classes in the smallest type."""
    node = next(node for node in program.nodes if node.result == name)
    return node.type.interval if isinstance(node.op, ArgMax) else Interval(-128, 127)


def _body(network: Network, prefix: str, signature: str, where: dict[str, str]) -> str:
    lines = [f'#include "{prefix}.h"', '#include "int8_kernels.h"', ""]
    lines += ["#ifndef GF_STEP", "#define GF_STEP(number) ((void)0)", "#endif", "", *network.constants, ""]
    lines += [f"int {prefix}_run({signature}, void *arena, size_t arena_bytes)", "{"]
    lines += ["    int8_t *const memory = (int8_t *)arena;", "    (void)arena_bytes;"]
    for number, (_, template) in enumerate(network.steps):
        call = re.sub("@(.*?)@", lambda found: where[found[1]], template)
        lines += [f"    GF_STEP({number});", "    {", f"    {call}", "    }"]
    lines += [f"    GF_STEP({len(network.steps)});", "    (void)memory;", "    return 0;", "}"]
    return "\n".join(lines) + "\n"
