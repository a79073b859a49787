"""From a program to steps: a kernel for every layer, a form and a place in the arena for every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporters.c99 import columns, integer, lanes, listed, nibbles, popcount, quads
from exporters.c99.epilogue import ELEMENTWISE, as_levels, chain_after
from exporters.c99.forms import Form, Stored, has_planes
from exporters.c99.kernels import Candidate
from exporters.c99.layer import Layer, conv_layer, dense_layer
from exporters.c99.loops import IN_PLACE, LOOPS
from exporters.c99.targets import Target
from exporters.legalize import legalize
from runtime.arena import Buffer, arena_bytes, place
from runtime.errors import ProgramError
from runtime.ir import Node, Program
from runtime.ops import And, Conv2d, Dense, MaxPool, Not, Op, Or, Reshape, Select, SumPool, Xor
from runtime.types import TensorType

SUPPORTED: tuple[type[Op], ...] = (Conv2d, Dense, Reshape, *LOOPS, *ELEMENTWISE)
"""Ops with a rule; others decompose."""

BITWISE: tuple[type[Op], ...] = (Or, And, Xor, Not, Select)

KERNELS: dict[str, Callable[[Layer, Target], Candidate | None]] = {
    "lanes": lanes.candidate,
    "columns": columns.candidate,
    "words": popcount.candidate,
    "nibbles": nibbles.candidate,
    "quads": quads.candidate,
    "integers": integer.candidate,
    "listed": listed.candidate,
}
"""Kernels of layers with weights."""

POOLING = frozenset({"lanes", "columns", "words", "integers", "nibbles", "quads"})
"""Kernels that pool what they compute, if it is bits."""

FLASH_SLACK, EMBEDDED_SLACK = 4.0, 1.6
"""A kernel is chosen whose constants are at most this many times those of the smallest; fewer on
microcontrollers, where flash is what runs out."""

RELUCTANCE = 2.5
"""How many times faster a kernel with constants between those two bounds has to be."""

MOST_WASTE, SMALL_BYTES = 1.5, 512
"""An operand of more bytes is not brought into a form that takes this many times those of its integers."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of the generated program.

    ``kind``: how it is emitted. ``node``: the op it starts from. ``chain``: elementwise nodes computed with
    it. ``reads``, ``result``: keys of stored values. ``scratch``: bytes by name, live in this step alone.
    """

    kind: str
    label: str
    node: Node
    chain: tuple[Node, ...]
    reads: tuple[str, ...]
    result: str
    scratch: Mapping[str, int] = field(default_factory=dict)
    layer: Layer | None = None
    candidate: Candidate | None = None
    in_place: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Steps in order. ``stored``: every value by key. ``offsets``: byte of the arena of every key that lies
    there and of every scratch, ``STEP.NAME``. ``ports``: keys that are arrays of the caller, by C side."""

    program: Program
    target: Target
    steps: tuple[Step, ...]
    stored: Mapping[str, Stored]
    offsets: Mapping[str, int]
    arena_bytes: int
    outputs: Mapping[str, str]

    @property
    def cost(self) -> float:
        """Instructions of the layers with weights, as their kernels estimate them."""
        return sum(step.candidate.cost for step in self.steps if step.candidate)


def plan_program(program: Program, target: Target, kernel: str = "auto") -> Plan:
    """The plan of ``program`` on ``target``, with the width of a lane that costs least.

    ``kernel``: a row of ``KERNELS`` to prefer for every layer that it can compute. Raises ProgramError for
    an op that has no rule and does not decompose, and for sizes that the target cannot address.
    """
    legal = legalize(program, SUPPORTED, "c99")
    plans = [_Planner(legal, one, kernel).plan() for one in target.widths]
    return min(plans, key=lambda plan: plan.cost)


class _Planner:
    def __init__(self, program: Program, target: Target, kernel: str) -> None:
        self.program, self.target, self.kernel = program, target, kernel
        self.types = program.types
        self.readers = program.sole_readers()
        self.steps: list[Step] = []
        self.stored: dict[str, Stored] = {}
        self.forms: dict[str, dict[Form, str]] = {}
        self.views: dict[str, str] = {}

    def plan(self) -> Plan:
        for spec in self.program.inputs:
            self._define(spec.name, Form.INTEGERS, spec.type)
        done: set[int] = set()
        for index, node in enumerate(self.program.nodes):
            if index not in done:
                chain = self._emit_node(index, node)
                done |= {self._index(n) for n in chain}
        outputs = {name: self._want(name, Form.INTEGERS) for name in self.program.outputs}
        placed = self._place(outputs)
        offsets = {name: buffer.offset for buffer in placed for name in buffer.names}
        total = max(arena_bytes(placed), self.target.align)
        return Plan(self.program, self.target, tuple(self.steps), self.stored, offsets, total, outputs)

    def _index(self, node: Node) -> int:
        return next(i for i, other in enumerate(self.program.nodes) if other is node)

    # --- values -------------------------------------------------------------------------------------

    def _define(self, name: str, form: Form, type_: TensorType) -> str:
        key = f"{name}:{form.value}"
        self.stored[key] = Stored(name, form, type_)
        self.forms.setdefault(name, {})[form] = key
        return key

    def _source(self, name: str) -> str:
        """What a chain of reshapes starts from."""
        while name in self.views:
            name = self.views[name]
        return name

    def _want(self, name: str, form: Form) -> str:
        """Key of the value in that form, converted if need be."""
        known = self.forms.setdefault(name, {})
        if form in known:
            return known[form]
        if name in self.views and form is Form.INTEGERS:
            known[form] = self._want(self.views[name], form)
            return known[form]
        source = self._want(name, Form.INTEGERS) if not known else next(iter(known.values()))
        key = self._define(name, form, self.types[name])
        label = f"{name} as {form.value}"
        self.steps.append(Step("convert", label, self._node_of(name), (), (source,), key))
        return key

    def _node_of(self, name: str) -> Node:
        """The node that makes a value, or a stand-in for an input."""
        for node in self.program.nodes:
            if node.result == name:
                return node
        return Node(Reshape(self.types[name].shape or (1,)), (name,), name, self.types[name])

    def _has(self, name: str, form: Form) -> bool:
        return form in self.forms.get(name, {})

    def _packed_form(self, names: Sequence[str]) -> Form | None:
        """The packed form that one of the values has, the first one that is found."""
        for name in names:
            for form in (Form.LANES, Form.WORDS):
                if self._has(name, form):
                    return form
        return None

    # --- nodes --------------------------------------------------------------------------------------

    def _emit_node(self, index: int, node: Node) -> tuple[Node, ...]:
        """Plan a node and what is computed with it; returns that."""
        if isinstance(node.op, Reshape):
            self.views[node.result] = node.operands[0]
            return ()
        if isinstance(node.op, Conv2d | Dense):
            return self._linear(index, node)
        if isinstance(node.op, BITWISE) and (form := self._bitwise_form(node)):
            reads = [self._want(name, form) for name in node.operands]
            if isinstance(node.op, Select) and self._per_channel(node) and form is Form.LANES:
                reads[0] = self._want(node.operands[0], Form.INTEGERS)
            self._step("bits", node, (), reads, form)
            return ()
        if isinstance(node.op, MaxPool) and self._pools_bits(node):
            return ()
        if isinstance(node.op, SumPool) and self._is_total(node):
            chain = chain_after(self.program, index, self.readers)
            form = self._packed_form(node.operands)
            assert form is not None
            scratch = {"sums": 4 * node.type.channels}
            self._step("total", node, chain, [self._want(node.operands[0], form)], Form.INTEGERS, scratch)
            return chain
        return self._loop(index, node)

    def _step(
        self,
        kind: str,
        node: Node,
        chain: tuple[Node, ...],
        reads: Sequence[str],
        form: Form,
        scratch: Mapping[str, int] | None = None,
        **more: object,
    ) -> None:
        last = chain[-1] if chain else node
        key = self._define(last.result, form, last.type)
        label = node.layer or node.result
        self.steps.append(Step(kind, label, node, chain, tuple(reads), key, scratch or {}, **more))  # type: ignore[arg-type]

    def _loop(self, index: int, node: Node) -> tuple[Node, ...]:
        chain = chain_after(self.program, index, self.readers)
        reads = [self._want(name, Form.INTEGERS) for name in node.operands]
        elementwise = isinstance(node.op, ELEMENTWISE)
        same = type(node.op) in IN_PLACE or elementwise
        self._step("loop", node, chain, reads, Form.INTEGERS, in_place=same)
        return chain

    def _per_channel(self, node: Node) -> bool:
        condition = self.types[node.operands[0]]
        return condition.shape != node.type.shape

    def _bitwise_form(self, node: Node) -> Form | None:
        """The packed form of a bitwise node whose data is packed already, or None."""
        data = node.operands[1:] if isinstance(node.op, Select) else node.operands
        if not has_planes(node.type) or not all(has_planes(self.types[name]) for name in node.operands):
            return None
        return self._packed_form(data)

    def _pools_bits(self, node: Node) -> bool:
        """Plan a MaxPool on packed bits if its operand is there as such."""
        (x,) = node.operands
        op: MaxPool = node.op  # type: ignore[assignment]
        disjoint = op.kernel == op.stride == (2, 2) and op.padding == (0, 0)
        if self._has(x, Form.LANES) and disjoint:
            self._step("lanes_pool", node, (), [self._want(x, Form.LANES)], Form.LANES)
            return True
        if self._has(x, Form.WORDS):
            self._step("words_pool", node, (), [self._want(x, Form.WORDS)], Form.WORDS)
            return True
        return False

    def _is_total(self, node: Node) -> bool:
        op: SumPool = node.op  # type: ignore[assignment]
        (x,) = node.operands
        whole = op.kernel == self.types[x].shape[1:] and op.padding == (0, 0)
        return whole and self._packed_form([x]) is not None and node.type.interval.magnitude < 2**31

    def _linear(self, index: int, node: Node) -> tuple[Node, ...]:
        chain = chain_after(self.program, index, self.readers)
        levels = None
        for end in range(len(chain), 0, -1):
            levels = as_levels(chain[:end], node.type)
            if levels is not None:
                chain = chain[:end]
                break
        source, layer = self._layer(node, levels)
        chosen = self._choose(layer)
        pool = self._pool_after(chain[-1] if chain else node)
        if (
            pool is not None
            and levels is not None
            and chosen.kernel in POOLING
            and chosen.result is not Form.INTEGERS
        ):
            pooled = replace(layer, pooled=True)
            with_pool = KERNELS[chosen.kernel](pooled, self.target)
            if with_pool is not None:
                layer, chosen, chain = pooled, with_pool, (*chain, pool)
        reads = [self._want(source, chosen.operand)]
        self._step(
            "layer", node, chain, reads, chosen.result, chosen.scratch, layer=layer, candidate=chosen
        )
        return chain

    def _layer(self, node: Node, levels: object) -> tuple[str, Layer]:
        """The operand and the layer; a matrix product reads an image as it is, without flattening it."""
        (x,) = node.operands
        if isinstance(node.op, Conv2d):
            return x, conv_layer(node, node.op, self.types[x], levels)  # type: ignore[arg-type]
        assert isinstance(node.op, Dense)
        source = self._source(x)
        type_ = self.types[source]
        if len(type_.shape) != 3 or not has_planes(type_):
            source, type_ = x, TensorType((self.types[x].size, 1, 1), self.types[x].interval)
        return source, dense_layer(node, node.op, type_, levels)  # type: ignore[arg-type]

    def _pool_after(self, node: Node) -> Node | None:
        """The 2x2 pooling that alone reads a value, or None."""
        reader = self.readers.get(node.result)
        if reader is None:
            return None
        pool = self.program.nodes[reader]
        disjoint = isinstance(pool.op, MaxPool) and pool.op.kernel == pool.op.stride == (2, 2)
        return pool if disjoint and pool.op.padding == (0, 0) else None  # type: ignore[attr-defined]

    def _choose(self, layer: Layer) -> Candidate:
        found = [c for make in KERNELS.values() if (c := make(layer, self.target)) is not None]
        preferred = [c for c in found if c.kernel == self.kernel]
        if preferred:
            return preferred[0]
        found = [c for c in found if not self._wastes(layer, c)]
        smallest = min(c.flash for c in found)
        slack = EMBEDDED_SLACK if self.target.embedded else FLASH_SLACK
        small = [c for c in found if c.flash <= FLASH_SLACK * smallest]
        return min(small, key=lambda c: c.cost * (RELUCTANCE if c.flash > slack * smallest else 1.0))

    def _wastes(self, layer: Layer, candidate: Candidate) -> bool:
        """Whether the operand takes far more memory in the candidate's form than as integers."""
        image = layer.image
        packed = Stored("", candidate.operand, image).bytes(self.target)
        plain = Stored("", Form.INTEGERS, image).bytes(self.target)
        return packed > MOST_WASTE * plain and packed > SMALL_BYTES

    # --- the arena ----------------------------------------------------------------------------------

    def _place(self, outputs: Mapping[str, str]) -> list[Buffer]:
        """Buffers of all values that the caller does not hold, and of all scratch."""
        last: dict[str, int] = {}
        for number, step in enumerate(self.steps):
            for key in step.reads:
                last[key] = number
        align, target = self.target.align, self.target
        held = {f"{spec.name}:{Form.INTEGERS.value}" for spec in self.program.inputs} | set(
            outputs.values()
        )
        owner: dict[str, str] = {}
        buffers: dict[str, Buffer] = {}
        for number, step in enumerate(self.steps):
            for name, size in step.scratch.items():
                if size:
                    key = f"{number}.{name}"
                    buffers[key] = Buffer((key,), _up(size, align), number, number)
            if step.result in held:
                continue
            size = _up(self.stored[step.result].bytes(target), align)
            death = last.get(step.result, number)
            taken = self._taken(step, number, last, owner) if step.in_place else None
            if taken is not None:
                old = buffers[taken]
                buffers[taken] = Buffer(
                    (*old.names, step.result), old.size, old.birth, max(old.death, death)
                )
                owner[step.result] = taken
            else:
                buffers[step.result] = Buffer((step.result,), size, number, death)
                owner[step.result] = step.result
        placed = place(list(buffers.values()))
        most = arena_bytes(placed)
        if most > target.object_bytes:
            raise ProgramError(
                f"the arena takes {most:,} bytes, more than an array may have on {target.name}; "
                "choose another target or a smaller network"
            )
        return placed

    def _taken(
        self, step: Step, number: int, last: Mapping[str, int], owner: Mapping[str, str]
    ) -> str | None:
        """The buffer of an operand that is read here for the last time and has the result's layout."""
        result = self.stored[step.result]
        for key in step.reads:
            operand = self.stored[key]
            same = (
                operand.type.size == result.type.size
                and operand.type.interval.dtype.itemsize == result.type.interval.dtype.itemsize
            )
            alive = any(last.get(k, -1) > number for k, o in owner.items() if o == owner.get(key))
            if same and key in owner and last[key] == number and not alive:
                return owner[key]
        return None


def _up(size: int, align: int) -> int:
    return -(-size // align) * align
