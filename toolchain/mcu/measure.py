"""One program on one core: build, size, run on samples, check every output, count instructions by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from exporters.c99.build import Source
from exporters.c99.selftest import sample_inputs
from exporters.tools import find_tool
from runtime.errors import MismatchError, MissingToolError
from runtime.interpreter import Interpreter
from runtime.ir import Program
from toolchain.devices import Device
from toolchain.mcu.avr import SIMAVR
from toolchain.mcu.build import Image, Progress, build
from toolchain.mcu.cores import Core, Timing, find_core
from toolchain.mcu.emulate import Emulator, Run, Spent
from toolchain.mcu.harness import Memory
from toolchain.mcu.image import Sizes, measure_sizes
from toolchain.mcu.simulate import Simulator
from toolchain.mcu.toolsets import TOOLSETS
from toolchain.vectors import Arrays, Vectors

EMBEDDED = 8
"""Samples of the self-test, which every measured image runs."""

MOST_COUNTED = 3
"""Samples whose instructions are counted, at most."""

COUNTED_INSTRUCTIONS = 2_000_000
"""No further sample is counted once those before took so many instructions together: it is slow."""


SIMAVR_CYCLES = "counted by simavr, which knows the cycles of every instruction"
"""Of a core without instruction timings of its own."""


@dataclass(frozen=True, slots=True)
class LayerWork:
    """What the steps of one layer take per inference: the mean of the counted samples. ``instructions``:
    None where only cycles are counted."""

    layer: str
    macs: int
    instructions: float | None
    cycles: float

    @property
    def per_mac(self) -> float | None:
        """Instructions per multiply-accumulate of the program, None without any of either."""
        return per_mac(self.instructions, self.macs)


def per_mac(instructions: float | None, macs: int) -> float | None:
    """Instructions per multiply-accumulate, None without any of either."""
    return None if instructions is None or not macs else instructions / macs


@dataclass(frozen=True, slots=True)
class Speed:
    """How an image ran. ``checked``: samples whose every output is right. ``counted``: those whose
    instructions or cycles are counted, ``real`` of them from a file. ``stack``: deepest bytes seen.
    ``timing``: where the cycles are from."""

    checked: int
    counted: int
    real: bool
    layers: tuple[LayerWork, ...]
    stack: int
    timing: str

    @property
    def instructions(self) -> float | None:
        """Per inference; None where only cycles are counted."""
        found = [layer.instructions for layer in self.layers if layer.instructions is not None]
        return sum(found) if found else None

    @property
    def cycles(self) -> float:
        """Per inference."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the program."""
        return sum(layer.macs for layer in self.layers)

    def milliseconds(self, clock_hz: int) -> float:
        """Estimated time of one inference at that clock, without wait states of the memories."""
        return 1000 * self.cycles / clock_hz


@dataclass(frozen=True, slots=True)
class Measurement:
    """The image of one program on one core. ``speed``: None where it was not run, ``why`` then says why."""

    core: str
    optimize: str
    sizes: Sizes
    speed: Speed | None
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Checks:
    """Samples and what the interpreter makes of them: those of the self-test, and those to count on.

    ``real``: whether the latter are from a file.
    """

    embedded: Vectors
    counted: Vectors
    real: bool

    @staticmethod
    def of(program: Program, samples: Arrays | None = None) -> Checks:
        """``samples``: inputs to count on, the first few; by default random ones of the self-test."""
        embedded = sample_inputs(program, EMBEDDED)
        chosen = samples or {name: array[2:] for name, array in embedded.items()}
        first = {name: array[:MOST_COUNTED] for name, array in chosen.items()}
        run = Interpreter(program).run
        return Checks(Vectors(embedded, run(embedded)), Vectors(first, run(first)), samples is not None)


def measure(
    checks: Checks,
    source: Source,
    core: Core,
    memory: Memory,
    macs: Mapping[str, int],
    run: Callable[[Sizes], bool] = lambda sizes: True,
    progress: Progress | None = None,
    optimize: str = "",
) -> Measurement:
    """Size ``source`` and run it.

    ``macs``: multiply-accumulates by layer. ``run``: whether an image of those sizes is worth it.
    ``optimize``: in place of the target's level. Raises MismatchError where an output differs from the
    interpreter's, and as ``build`` and ``Emulator`` do.
    """
    image = build(source, core, memory, optimize, progress=progress)
    sizes = measure_sizes(image)
    if why := cannot_run(core):
        return Measurement(core.name, image.optimize, sizes, None, why)
    if not run(sizes):
        return Measurement(core.name, image.optimize, sizes, None, "it does not fit")
    profiled = machine(build(source, core, memory, optimize, True, progress))
    if progress:
        progress(f"running {source.name} on an emulated {core.name}")
    where = f"{source.name} on {core.name}"
    runs = list(checked_runs(machine(image), checks.embedded, where))
    counted: list[Run] = []
    for one in checked_runs(profiled, checks.counted, where, count=True):
        counted.append(one)
        if sum(each.total.instructions + each.total.clocks for each in counted) >= COUNTED_INSTRUCTIONS:
            break
    speed = Speed(
        len(runs),
        len(counted),
        checks.real,
        _by_layer(source.steps, counted, macs, core.timing),
        max(each.stack for each in runs),
        core.timing.source if core.timing else SIMAVR_CYCLES,
    )
    return Measurement(core.name, image.optimize, sizes, speed)


def cannot_run(core: Core) -> str | None:
    """Why no image of ``core`` can be run here, or None."""
    if core.machine is not None or find_tool(SIMAVR) is not None:
        return None
    return f"running {core.name} {SIMAVR.missing}"


def machine(image: Image) -> Emulator | Simulator:
    """What runs ``image``: unicorn, or simavr for a core that unicorn does not know."""
    return Emulator(image) if image.core.machine else Simulator(image)


def checked_runs(
    emulator: Emulator | Simulator, vectors: Vectors, where: str, count: bool = False
) -> Iterator[Run]:
    """A run of every sample. Raises MismatchError naming the first element that is not the wanted one."""
    for index in range(len(vectors)):
        one = emulator.run({name: array[index] for name, array in vectors.inputs.items()}, count)
        for name, wanted in vectors.outputs.items():
            found, right = one.outputs[name].reshape(-1), wanted[index].reshape(-1)
            if (found != right).any():
                at = int((found != right).argmax())
                raise MismatchError(
                    f"{where}: element {at} of {name!r} is {found[at]} under emulation and {right[at]} "
                    f"in the interpreter, at sample {index}; report it with the program"
                )
        yield one


def _by_layer(
    steps: tuple[str, ...], runs: list[Run], macs: Mapping[str, int], timing: Timing | None
) -> tuple[LayerWork, ...]:
    """Steps of equal label together, in the order of the first of each; MACs without a step come last."""
    spent: dict[str, Spent] = {}
    for one in runs:
        for label, step in zip(steps, one.steps, strict=True):
            spent[label] = spent.get(label, Spent()) + step
    rows = [
        LayerWork(
            label,
            macs.get(label, 0),
            at.instructions / len(runs) if timing else None,
            at.cycles(timing) / len(runs),
        )
        for label, at in spent.items()
    ]
    rest = sum(count for label, count in macs.items() if label not in spent)
    return (*rows, LayerWork("elsewhere", rest, 0 if timing else None, 0)) if rest else tuple(rows)


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures one program on devices. ``macs``: by layer. ``lacking``: gets a line where a device's
    compiler is missing; without it that is an error."""

    checks: Checks
    macs: Mapping[str, int]
    progress: Progress | None = None
    lacking: Progress | None = None

    def __call__(self, device: Device, source: Source) -> Measurement | None:
        """The image of ``source`` for ``device``, run where it fits it; None where its compiler is missing
        and need not be there. Raises MissingToolError where it must."""
        core = find_core(device.target)
        if why := TOOLSETS[core.compiler].missing():
            if not self.lacking:
                raise MissingToolError(f"a cross-compiled image {why}")
            self.lacking(f"flash and RAM of {device.name} are estimated; measuring {why}")
            return None
        if why := cannot_run(core):
            if not self.lacking:
                raise MissingToolError(why)
            self.lacking(f"{device.name} is sized and not run: {why}")
        return measure(
            self.checks,
            source,
            core,
            Memory(device.flash_base, device.ram_base),
            self.macs,
            lambda sizes: sizes.flash <= device.flash_bytes and sizes.ram <= device.ram_bytes,
            self.progress,
        )
