"""The C of every kind of step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporters.c99.chains import emit_chain
from exporters.c99.constants import Constants
from exporters.c99.forms import Form, per, positions
from exporters.c99.integer import row_type, sum_type
from exporters.c99.kernels import Site
from exporters.c99.loops import LOOPS, Loop, emit_identity
from exporters.c99.plan import Plan, Step
from exporters.c99.targets import Target
from exporters.emitter import Emitter
from runtime.ir import Node
from runtime.ops import And, MaxPool, Not, Op, Or, Select, Xor
from runtime.types import TensorType

SCRATCH_TYPES = {
    "table": "gf_unit",
    "list": "uint16_t",
    "lists": "uint16_t",
    "counters": "gf_lane_at",
    "codes": "uint8_t",
    "pooled": "gf_unit",
    "phases": "gf_unit",
    "patches": "gf_word",
    "coded": "gf_word",
    "weights": "int8_t",
    "pairs": "int16_t",
    "quads": "uint32_t",
    "indices": "uint8_t",
    "plain": "uint8_t",
    "totals": "int16_t",
}
"""C types of scratch by name; ``sums`` and ``rows`` depend on the layer."""

PLAIN = frozenset({"integers", "listed"})
"""Kernels that give sums, also where thresholds follow."""

CONVERSIONS = {
    (Form.INTEGERS, Form.LANES): "gf_lanes_of_bytes",
    (Form.INTEGERS, Form.WORDS): "gf_words_of_bytes",
    (Form.LANES, Form.INTEGERS): "gf_bytes_of_lanes",
    (Form.WORDS, Form.INTEGERS): "gf_bytes_of_words",
    (Form.LANES, Form.WORDS): "gf_words_of_lanes",
    (Form.WORDS, Form.LANES): "gf_lanes_of_words",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What every step is emitted with. ``name``: prefix of the step's symbols."""

    plan: Plan
    constants: Constants
    file: Emitter
    body: Emitter
    name: str

    def result_type(self, step: Step) -> str:
        """C type of the elements of a step's result."""
        return self.plan.stored[step.result].c_type

    def chain(
        self, step: Step, nodes: tuple[Node, ...], operand: TensorType, bias: object = None
    ) -> Callable[[str, str], str]:
        """Emit the function of a chain, if there is something to compute; returns how it is applied."""
        has_bias = bias is not None and bias.any()  # type: ignore[attr-defined]
        if not nodes and not has_bias:
            text = self.result_type(step)
            return lambda value, channel: f"({text})({value})"
        name = f"{self.name}_element"
        emit_chain(self.file, self.constants, name, nodes, operand, bias if has_bias else None)  # type: ignore[arg-type]
        return lambda value, channel: f"{name}({value}, {channel})"


def scratch_type(step: Step, name: str, target: Target) -> str:
    """C type of a scratch buffer."""
    if name in SCRATCH_TYPES:
        return SCRATCH_TYPES[name]
    if step.layer is None or step.candidate is None or step.candidate.kernel not in PLAIN:
        return "int32_t"
    sums = sum_type(step.layer)
    return sums if name == "sums" else row_type(step.layer, target, sums)


def emit_layer(step: Step, at: Context) -> None:
    """A layer with weights, by the kernel that was chosen."""
    assert step.layer is not None
    assert step.candidate is not None
    layer, chosen = step.layer, step.candidate
    needs_chain = layer.levels is None or chosen.kernel in PLAIN
    bias = None if chosen.biased else layer.bias
    nodes = tuple(node for node in step.chain if not isinstance(node.op, MaxPool))
    apply = at.chain(step, nodes, step.node.type, bias) if needs_chain else _unused
    site = Site(
        at.name,
        at.plan.target,
        at.constants,
        at.body,
        at.file,
        "in0",
        "out",
        {name: (name if size else "NULL") for name, size in step.scratch.items()},
        apply,
    )
    chosen.emit(site)


def _unused(value: str, channel: str) -> str:
    raise AssertionError("layers with thresholds store no sums")


def emit_convert(step: Step, at: Context) -> None:
    """One value in another form."""
    (source,) = step.reads
    old, new = at.plan.stored[source], at.plan.stored[step.result]
    function = CONVERSIONS[old.form, new.form]
    type_ = new.type
    at.body.line(f"{function}(in0, out, {type_.channels}, {type_.bits}, {positions(type_)});")


def emit_loop(step: Step, at: Context) -> None:
    """Nested loops on integers."""
    op, operands = step.node.op, [at.plan.stored[key].type for key in step.reads]
    types = [at.plan.program.types[name] for name in step.node.operands]
    assert [t.interval for t in types] == [t.interval for t in operands]
    elementwise = type(op) not in LOOPS
    nodes = (step.node, *step.chain) if elementwise else step.chain
    result = types[0] if elementwise else step.node.type
    apply = at.chain(step, nodes, result)
    names = [f"in{number}" for number in range(len(step.reads))]
    loop = Loop(at.body, names, (*types, result), "out", apply, bool(nodes))
    if elementwise:
        emit_identity(op, loop)
    else:
        LOOPS[type(op)](op, loop)


def emit_total(step: Step, at: Context) -> None:
    """The sum of every channel's codes."""
    stored = at.plan.stored[step.reads[0]]
    type_, in_lanes = stored.type, stored.form is Form.LANES
    apply = at.chain(step, step.chain, step.node.type)
    size = per(positions(type_), at.plan.target.unit) if in_lanes else positions(type_)
    function = "gf_lanes_total" if in_lanes else "gf_words_total"
    at.body.line(f"{function}(in0, sums, {type_.channels}, {type_.bits}, {size});")
    at.body.line(f"for (size_t c = 0; c < {type_.channels}; c++)")
    at.body.line(f"    out[c] = {apply('sums[c]', 'c')};")


def emit_lanes_pool(step: Step, at: Context) -> None:
    """2x2 pooling of lanes."""
    channels, rows, columns = at.plan.stored[step.reads[0]].type.shape
    at.body.line(f"gf_lanes_pool(in0, out, {channels}, {step.node.type.bits}, {rows}, {columns});")


def emit_words_pool(step: Step, at: Context) -> None:
    """Pooling of words."""
    op = step.node.op
    assert isinstance(op, MaxPool)
    image, result = at.plan.stored[step.reads[0]].type, step.node.type
    numbers = (*image.shape, image.bits, *result.shape[1:], *op.kernel, *op.stride, *op.padding, 1, 1)
    at.file.line(f"static gf_window GF_FLASH {at.name}_window = {{{', '.join(map(str, numbers))}}};")
    at.file.line()
    at.body.line(f"gf_words_pool(&{at.name}_window, in0, out);")


EXPRESSIONS: dict[type[Op], str] = {Or: "{0} | {1}", And: "{0} & {1}", Xor: "{0} ^ {1}", Not: "~{0}"}


def emit_bits(step: Step, at: Context) -> None:
    """Bitwise ops and the multiplexer on packed bits, plane by plane."""
    stored, target = at.plan.stored, at.plan.target
    result = stored[step.result]
    in_lanes = result.form is Form.LANES
    unit = target.unit if in_lanes else target.word
    bits = positions(result.type) if in_lanes else result.type.channels
    outer = result.type.channels if in_lanes else positions(result.type)
    inner = per(bits, unit)
    planes = [stored[key].type.bits for key in step.reads]

    def plane(number: int, p: int) -> str:
        if p >= planes[number]:
            return "0"
        return f"in{number}[(i * {planes[number]} + {p}) * {inner} + j]"

    heads = (f"for (size_t i = 0; i < {outer}; i++)", f"for (size_t j = 0; j < {inner}; j++)")
    with at.body.block(heads[0]), at.body.block(heads[1]):
        if isinstance(step.node.op, Select):
            at.body.line(f"const {result.c_type} take = {_condition(step, at, in_lanes, inner)};")
        for p in range(result.type.bits):
            if isinstance(step.node.op, Select):
                a, b = plane(1, p), plane(2, p)
                text = f"(take & {a}) | ({result.c_type})(~take & {b})"
            else:
                text = EXPRESSIONS[type(step.node.op)].format(*(plane(n, p) for n in range(len(planes))))
            at.body.line(f"out[(i * {result.type.bits} + {p}) * {inner} + j] = ({result.c_type})({text});")
        if isinstance(step.node.op, Not) and bits % unit:
            at.body.line(f"if (j == {inner - 1})")
            with at.body.block("   "):
                for p in range(result.type.bits):
                    at.body.line(
                        f"out[(i * {result.type.bits} + {p}) * {inner} + j] &= "
                        f"({result.c_type})((({result.c_type})1 << {bits % unit}) - 1);"
                    )


def _condition(step: Step, at: Context, in_lanes: bool, inner: int) -> str:
    """All ones or zeros, or a bit each, where the multiplexer takes its first value."""
    text = at.result_type(step)
    condition = at.plan.stored[step.reads[0]]
    if condition.form is Form.INTEGERS:
        return f"({text})(in0[i] ? ~({text})0 : 0)"
    per_channel = condition.type.shape != step.node.type.shape
    return "in0[j]" if per_channel and not in_lanes else f"in0[i * {inner} + j]"


EMITTERS: Mapping[str, Callable[[Step, Context], None]] = {
    "layer": emit_layer,
    "convert": emit_convert,
    "loop": emit_loop,
    "total": emit_total,
    "lanes_pool": emit_lanes_pool,
    "words_pool": emit_words_pool,
    "bits": emit_bits,
}
"""How each kind of step is emitted."""


def emit_step(number: int, step: Step, plan: Plan, constants: Constants, file: Emitter, prefix: str) -> str:
    """The function of a step and what it needs; returns the head of its call, ``NAME_stepN``."""
    name = f"{prefix}_step{number}"
    body = Emitter()
    EMITTERS[step.kind](step, Context(plan, constants, file, body, name))
    parameters = [f"const {plan.stored[key].c_type} *in{i}" for i, key in enumerate(step.reads)]
    parameters.append(f"{plan.stored[step.result].c_type} *out")
    parameters += [f"{scratch_type(step, n, plan.target)} *{n}" for n, size in step.scratch.items() if size]
    with file.block(f"static void {name}({', '.join(parameters)})"):
        file.lines(*body.text().splitlines())
    file.line()
    return name
