"""The kernel of plain integers, for wide operands and weights, groups and whatever the others decline."""

from __future__ import annotations

import numpy as np

from exporters.c99.constants import c_size
from exporters.c99.forms import Form, c_sum_type, c_type, per
from exporters.c99.kernels import Candidate, Site, descriptor, window
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.encodings import digits_per_byte, pack_digits
from runtime.errors import ProgramError
from runtime.types import Interval

LARGEST = 2**16 - 32
"""Largest number in a descriptor: of 16 bits also when rows are made of whole vectors."""

MOST_UNPACKED = 16 * 1024
"""Bytes of weights that are unpacked once, not row by row."""


def sum_type(layer: Layer) -> str:
    """C type of every partial sum, bias included."""
    bound = int(abs(layer.codes.astype("int64")).reshape(layer.outputs, -1).sum(axis=1).max())
    reach = bound * layer.image.interval.magnitude + int(abs(layer.bias).max())
    return c_sum_type(Interval(-reach, reach))


def is_dot(layer: Layer) -> bool:
    """Whether there is one window, which is the image."""
    whole = layer.kernel == layer.image.shape[1:] and layer.padding == (0, 0)
    return whole and layer.positions == 1 and layer.groups == 1


def row_length(layer: Layer, target: Target) -> int:
    """Elements of one row of taps: whole runs of four sums, or of two vectors of them."""
    columns = layer.result.shape[2]
    run = max(4, target.lane // 16)
    return per(columns, run) * run


def row_type(layer: Layer, target: Target, sums: str) -> str:
    """C type of what taps read: that of the sums in vectors, which saves converting it for every output."""
    if is_paired(layer, target):
        return "int16_t"
    return c_type(layer.image.interval) if target.lane < 128 else sums


def is_paired(layer: Layer, target: Target) -> bool:
    """Whether taps are taken two at a time, in 16 bits."""
    narrow = layer.image.interval.magnitude < 2**15 and sum_type(layer) == "int32_t"
    return target.paired and narrow and not is_dot(layer)


def even(taps: int, paired: bool) -> int:
    """Taps that rows and weights have room for."""
    return taps + taps % 2 if paired else taps


def unpacks_once(layer: Layer, target: Target) -> bool:
    """Whether all weights are unpacked before the first row: memory for time, where there is enough."""
    return target.lane >= 128 and not is_dot(layer) and layer.codes.size <= MOST_UNPACKED


def candidate(layer: Layer, target: Target) -> Candidate:
    """The kernel for this layer. Raises ProgramError where it exceeds the fields of a descriptor."""
    taps = layer.codes[0].size
    packed = per(taps, digits_per_byte(layer.value_set))
    sizes = (layer.outputs, *layer.image.shape, *layer.result.shape, *layer.kernel, *layer.padding)
    if max(*sizes, 0 if is_dot(layer) else packed) > LARGEST:
        raise ProgramError(
            f"{layer.node.result}: c99 takes at most {LARGEST} channels, rows, columns "
            "and bytes of one output's weights"
        )
    sums = sum_type(layer)
    wide = 2.0 if sums == "int64_t" else 1.0
    macs = layer.codes[0].size * layer.outputs * layer.positions
    often = 1 if is_dot(layer) or unpacks_once(layer, target) else layer.result.shape[1]
    unpacked = layer.codes.size * often
    gathered = 0 if is_dot(layer) else layer.positions * layer.taps * layer.image.channels
    cost = (
        macs * _product_cost(layer, target) * wide
        + layer.outputs * layer.positions * 4.0
        + unpacked * target.costs.unpack
        + gathered * target.costs.gather
    )
    in_lanes = layer.levels is not None and layer.result.shape[2] > 1
    row = row_length(layer, target)
    held = row_type(layer, target, sums)
    once, paired = unpacks_once(layer, target), is_paired(layer, target)
    scratch = {"weights": layer.codes.size if once and not paired else taps}
    if not is_dot(layer):
        scratch |= {"rows": even(taps, paired) * row * c_size(held, {}), "sums": row * c_size(sums, {})}
    if paired:
        scratch["pairs"] = 2 * even(taps, paired) * (layer.outputs if once else 1)
    if in_lanes:
        kept = layer.outputs * (layer.result.shape[2] // 2) if layer.pooled else layer.result.shape[2]
        scratch["codes"] = kept
    result = Form.LANES if in_lanes else Form.INTEGERS
    return Candidate(
        "integers",
        Form.INTEGERS,
        result,
        cost,
        layer.outputs * packed,
        scratch,
        lambda site: _emit(site, layer, sums, held, row, in_lanes),
    )


def _product_cost(layer: Layer, target: Target) -> float:
    """Instructions of one product and its addition."""
    if not target.costs.add or is_dot(layer):
        return target.costs.mac
    return target.costs.add * layer.magnitudes


def _emit(site: Site, layer: Layer, sums: str, held: str, row: int, in_lanes: bool) -> None:
    operand = c_type(layer.image.interval)
    taps = layer.codes[0].size
    packed = np.stack(
        [pack_digits(row, layer.value_set) for row in layer.codes.reshape(layer.outputs, taps)]
    )
    weights = site.constants.add("digits", "uint8_t", packed)
    body = site.body
    if is_dot(layer):
        with body.block(f"for (unsigned o = 0; o < {layer.outputs}; o++)"):
            source = f"{weights} + (size_t)o * {packed.shape[1]}"
            body.line(f"gf_weights({source}, {layer.value_set}, {taps}, weights);")
            dot = f"gf_dot_{kernel_suffix(operand, sums)}(weights, {site.operand}, {taps})"
            body.line(f"{site.result}[o] = {site.apply(dot, 'o')};")
        return
    name = _descriptor(site, layer, weights, packed.shape[1], row)
    group = layer.outputs // layer.groups
    paired = is_paired(layer, site.target)
    function = (
        f"gf_paired_{kernel_suffix(operand)}" if paired else f"gf_rows_{kernel_suffix(operand, held, sums)}"
    )
    _, height, columns = layer.result.shape
    rows = height // 2 * 2 if layer.pooled else height
    heads = (f"for (unsigned y = 0; y < {rows}; y++)", f"for (unsigned o = 0; o < {layer.outputs}; o++)")
    rows_of, unpack, sums_of = _calls(site, layer, weights, packed.shape[1], function, name)
    once = unpacks_once(layer, site.target)
    if once:
        with body.block(heads[1]):
            body.lines(*unpack)
    with body.block(heads[0]), body.block(heads[1]):
        body.line(f"if (o % {group} == 0)")
        body.line(f"    {rows_of}(&{name}, {site.operand}, o / {group}, y, rows);")
        if not once:
            body.lines(*unpack)
        body.line(sums_of)
        if layer.pooled:
            _emit_pooled(site, layer)
        elif in_lanes:
            body.line(f"for (unsigned x = 0; x < {columns}; x++)")
            body.line(f"    codes[x] = {site.apply('sums[x]', 'o')};")
            body.line(_lanes_row(site, layer, "codes", "y", height, columns))
        else:
            place = f"(o * (size_t){height} + y) * {columns} + x"
            body.line(f"for (unsigned x = 0; x < {columns}; x++)")
            body.line(f"    {site.result}[{place}] = {site.apply('sums[x]', 'o')};")


def _calls(
    site: Site, layer: Layer, weights: str, packed: int, function: str, name: str
) -> tuple[str, tuple[str, ...], str]:
    """The function that fills the rows, what unpacks the weights of output ``o``, and what adds them up."""
    taps, once = layer.codes[0].size, unpacks_once(layer, site.target)
    unpack = f"gf_weights({weights} + (size_t)o * {packed}, {layer.value_set}, {taps}, weights"
    if not is_paired(layer, site.target):
        own = f" + o * {taps}" if once else ""
        return (
            f"{function}_taps",
            (f"{unpack}{own});",),
            f"{function}_sums(&{name}, rows, weights{own}, sums);",
        )
    own = f"pairs + o * {even(taps, True)}" if once else "pairs"
    pairs = f"gf_weight_pairs(weights, {taps}, {own});"
    return f"{function}_taps", (f"{unpack});", pairs), f"gf_paired_sums(&{name}, rows, {own}, sums);"


def _lanes_row(site: Site, layer: Layer, codes: str, y: str, height: int, columns: int) -> str:
    """The call that packs one row of codes of the result, ``height`` rows of ``columns``."""
    assert layer.levels is not None
    planes, units = layer.levels.type.bits, per(height * columns, site.target.unit)
    place = f"{site.result} + o * (size_t){planes * units}"
    return f"gf_lanes_row({codes}, {place}, {planes}, {units}, {y} * (size_t){columns}, {columns});"


def _emit_pooled(site: Site, layer: Layer) -> None:
    """The larger code of two columns, and with every second row of two rows, kept for each output."""
    _, height, columns = layer.result.shape
    half, body = columns // 2, site.body
    body.line(f"uint8_t *const kept = codes + o * {half};")
    with body.block(f"for (unsigned x = 0; x < {half}; x++)"):
        for number in range(2):
            body.line(f"const uint8_t code{number} = {site.apply(f'sums[2 * x + {number}]', 'o')};")
        body.line("const uint8_t larger = code0 > code1 ? code0 : code1;")
        body.line("kept[x] = y % 2 && kept[x] > larger ? kept[x] : larger;")
    body.line("if (y % 2)")
    body.line(f"    {_lanes_row(site, layer, 'kept', '(y / 2)', height // 2, half)}")


def _descriptor(site: Site, layer: Layer, weights: str, row_bytes: int, row: int) -> str:
    return descriptor(
        site,
        "integer",
        {
            "window": window(layer),
            "outputs": layer.outputs,
            "inputs": layer.codes.shape[1],
            "group": layer.outputs // layer.groups,
            "row": row,
            "weights": weights,
            "bytes": row_bytes,
            "levels": layer.value_set,
        },
    )


def kernel_suffix(*c_types: str) -> str:
    """What the names of a kernel's functions end in: ``uint8_int32``."""
    return "_".join(text.removesuffix("_t") for text in c_types)
