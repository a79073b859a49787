"""The kernel of popcounts: xor and mask words of a window with words of weights, count bits."""

from __future__ import annotations

import numpy as np

from exporters.c99.epilogue import Levels
from exporters.c99.forms import Form, bit_rows, per
from exporters.c99.kernels import Candidate, Site, descriptor, fits_fields, window
from exporters.c99.layer import Layer
from exporters.c99.targets import Target
from runtime.types import IntArray

MOST_PADDING = 1.5
"""Largest number of outputs that are computed for each that there is."""


def candidate(layer: Layer, target: Target) -> Candidate | None:
    """The kernel for this layer, or None where a sum exceeds 31 bits."""
    words = layer.taps * per(layer.image.channels, target.word)
    blocks = per(layer.outputs, target.block)
    planes = layer.image.bits
    bound = (layer.raw.hi - layer.raw.lo) * 2 + abs(layer.bias).max()
    if not layer.takes_planes or layer.groups != 1 or bound >= 2**30:
        return None
    if not fits_fields(words, layer.outputs, *layer.image.shape):
        return None
    lanes = blocks * target.block
    if lanes > MOST_PADDING * layer.outputs:
        return None
    costs = target.costs
    counted = words * planes * layer.magnitudes * costs.word
    positions = per(layer.positions, target.positions) * target.positions
    compared = (1 + layer.level_count) * costs.level
    cost = positions * (lanes * (counted + compared) + words * planes * costs.patch)
    flash = lanes * (words * (1 + layer.magnitudes) * target.word // 8 + 4)
    scratch = {"patches": target.positions * planes * words * target.word // 8}
    if layer.levels is not None:
        codes = per(layer.outputs, target.word) * layer.levels.type.bits
        scratch["coded"] = target.positions * codes * target.word // 8

    def emit(site: Site) -> None:
        _emit(site, layer, words, lanes)

    result = Form.INTEGERS if layer.levels is None else Form.WORDS
    return Candidate("words", Form.WORDS, result, cost, flash, scratch, emit, biased=True)


def _planes(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Signs and magnitudes of the weights; those of outputs whose limits fall change their sign, so that
    all limits are reached from below."""
    negative, magnitudes = layer.planes()
    if layer.levels is not None:
        falling = layer.levels.falling.reshape(-1, *(1,) * (negative.ndim - 1))
        negative = np.where(falling, magnitudes.any(axis=0) & ~negative.astype(bool), negative)
    return negative.astype(magnitudes.dtype), magnitudes


def _weights(layer: Layer, target: Target, lanes: int) -> np.ndarray:
    """Words [block][word][sign, magnitudes][output of the block]."""
    negative, magnitudes = _planes(layer)
    planes = np.concatenate([negative[None], magnitudes])  # plane, output, input, rows, columns
    ordered = planes.reshape(*planes.shape[:3], -1).transpose(1, 3, 0, 2)  # output, tap, plane, input
    words = bit_rows(ordered, target.word)  # output, tap, plane, word of a tap
    words = words.transpose(0, 1, 3, 2).reshape(layer.outputs, -1, len(planes))
    padded = np.zeros((lanes, *words.shape[1:]), words.dtype)
    padded[: layer.outputs] = words
    blocks = padded.reshape(-1, target.block, *words.shape[1:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))


def _start(layer: Layer, lanes: int) -> IntArray:
    """What every sum of popcounts starts with: the bias less the bits that signs invert."""
    negative, magnitudes = _planes(layer)
    inverted = (magnitudes & negative).reshape(layer.magnitudes, layer.outputs, -1).sum(axis=2)
    weighted = (inverted << np.arange(layer.magnitudes)[:, None]).sum(axis=0)
    bias = layer.bias if layer.levels is None else np.where(layer.levels.falling, -layer.bias, layer.bias)
    start = np.zeros(lanes, np.int64)
    start[: layer.outputs] = bias - weighted * ((1 << layer.image.bits) - 1)
    return start


def _limits(layer: Layer, levels: Levels, block: int, lanes: int) -> IntArray:
    """Limits [block][level][output of the block] that sums reach from below; outputs beyond those that
    there are, whose sums are 0, reach none."""
    reached = np.clip(levels.limits, layer.sums.lo - 1, layer.sums.hi + 1)
    limits = np.ones((lanes, reached.shape[1]), np.int64)
    limits[: layer.outputs] = np.where(levels.falling[:, None], -reached, reached)
    return limits.reshape(-1, block, reached.shape[1]).transpose(0, 2, 1)


def _emit(site: Site, layer: Layer, words: int, lanes: int) -> None:
    constants = site.constants
    limits, levels, codes = "NULL", 0, 0
    if layer.levels is not None:
        array = _limits(layer, layer.levels, site.target.block, lanes)
        limits = constants.add("sumlimits", "gf_sum", np.ascontiguousarray(array))
        levels, codes = array.shape[1], layer.levels.type.bits
    name = descriptor(
        site,
        "words",
        {
            "window": window(layer),
            "outputs": layer.outputs,
            "magnitudes": layer.magnitudes,
            "words": words,
            "levels": levels,
            "codes": codes,
            "pool": int(layer.pooled),
            "apart": int(layer.magnitudes == 2 and not _planes(layer)[1].all(axis=0).any()),
            "weights": constants.add("masks", "gf_word", _weights(layer, site.target, lanes)),
            "start": constants.add("start", "gf_sum", _start(layer, lanes)),
            "limits": limits,
        },
    )
    patches = site.scratch["patches"]
    if layer.levels is not None:
        site.body.line(f"gf_words_run(&{name}, {site.operand}, {site.result}, {patches}, coded);")
        return
    _emit_sums(site, layer, name, words * layer.image.bits)


def _emit_sums(site: Site, layer: Layer, name: str, patch: int) -> None:
    """Some positions and a block of outputs at a time, sums and what follows them."""
    body, patches, size = site.body, site.scratch["patches"], layer.positions
    columns = layer.result.shape[2]
    with body.block(f"for (size_t at = 0; at < {size}; at += GF_POSITIONS)"):
        body.line(
            f"const unsigned some = {size} - at < GF_POSITIONS ? (unsigned)({size} - at) : GF_POSITIONS;"
        )
        body.lines(
            "for (unsigned q = 0; q < some; q++)",
            f"    gf_patch(&{name}.window, {site.operand}, (unsigned)((at + q) / {columns}), "
            f"(unsigned)((at + q) % {columns}), {patches} + q * {patch});",
        )
        with body.block(f"for (unsigned block = 0; block * GF_BLOCK < {layer.outputs}; block++)"):
            body.line("int32_t sums[GF_POSITIONS * GF_BLOCK];")
            body.line(f"gf_words_sums(&{name}, {patches}, {patch}, block, sums);")
            body.line("for (unsigned q = 0; q < some; q++)")
            with body.block(
                f"    for (unsigned l = 0; l < GF_BLOCK && block * GF_BLOCK + l < {layer.outputs}; l++)"
            ):
                body.line("const unsigned o = block * GF_BLOCK + l;")
                value = site.apply("sums[q * GF_BLOCK + l]", "o")
                body.line(f"{site.result}[o * (size_t){size} + at + q] = {value};")
