"""One figure per study. Needs matplotlib; every function here draws into a figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import offset_copy

from benchmarks.drawing import STYLE, save
from benchmarks.heq.runs import Outcome, Variant
from benchmarks.heq.studies import Group, grouped
from benchmarks.study import mean_and_spread

LINES = (
    {"color": "#08306b", "marker": "o", "linestyle": "-"},
    {"color": "#d95f0e", "marker": "s", "linestyle": "--"},
    {"color": "#6baed6", "marker": "^", "linestyle": "-."},
    {"color": "#777777", "marker": "D", "linestyle": ":"},
)
"""Told apart by marker and dashes where colours are not."""

SEED = {"color": "#999999", "marker": "o", "linestyle": "none", "markersize": 3, "zorder": 1}
"""One seed's accuracy, beside the mean."""

SHADES = "cividis"
"""Colours of the codes, from the lowest (dark) to the highest (light)."""


READABLE = 5
"""A code with a smaller share, in percent, gets no label."""

BESIDE = {"textcoords": "offset points", "va": "center"}


def draw(name: str, outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw study ``name`` into the SVG file ``path``. Raises InputError where it cannot be written."""
    save(partial(DRAWINGS[name], outcomes), path, "heq")


def _histograms(outcomes: Sequence[Outcome]) -> Figure:
    """Shares of the codes, epoch by epoch: a column per rule, a row per number of levels; first seed."""
    groups = grouped(outcomes)
    numbers = list(dict.fromkeys(variant.levels for variant, _ in groups))
    rules = list(dict.fromkeys(variant.rule for variant, _ in groups))
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    grid = figure.subplots(len(numbers), len(rules), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for variant, group in groups:
        axes = grid[numbers.index(variant.levels), rules.index(variant.rule)]
        axes.set_axis_on()
        _stacked(axes, group[0])
        bits = f"{group[0].entropy()[-1]:.2f} of {np.log2(variant.levels):.2f} bits"
        axes.set_title(f"{variant.rule}, n = {variant.levels}\n{bits}, {group[0].accuracy:.1f} %")
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the weights [%]")
    figure.supxlabel("quantized epoch", fontsize=STYLE["font.size"])
    return figure


def _stacked(axes: Axes, outcome: Outcome) -> None:
    """Code shares on top of each other, lowest code first; dashed where equal shares would end."""
    shares = 100 * outcome.shares()
    epochs, levels = shares.shape
    tops = np.cumsum(shares, axis=1)
    edges = np.arange(epochs + 1) + 0.5
    shades = matplotlib.colormaps[SHADES](np.linspace(0.05, 0.95, levels))
    for code in range(levels):
        below = tops[:, code] - shares[:, code]
        axes.stairs(tops[:, code], edges, baseline=below, fill=True, color=shades[code])
        if shares[-1, code] > READABLE:
            name = f"{code - levels // 2:+d}" if code != levels // 2 else "0"
            axes.annotate(name, (edges[-1], below[-1] + shares[-1, code] / 2), (3, 0), **BESIDE)
    for i in range(1, levels):
        axes.axhline(100 * i / levels, color="white", linestyle="--", linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 100)
    axes.set_xticks(range(1, epochs + 1) if epochs < 9 else range(5, epochs + 1, 5))


def _rules(outcomes: Sequence[Outcome]) -> Figure:
    """Entropy over the epochs for each number of levels, and the accuracies."""
    groups = grouped(outcomes)
    rules = list(dict.fromkeys(variant.rule for variant, _ in groups))
    numbers = list(dict.fromkeys(variant.levels for variant, _ in groups))
    figure = Figure(figsize=(8.2, 3.0), layout="constrained")
    panels = figure.subplots(1, len(numbers) + 1)
    for levels, axes in zip(numbers, panels, strict=False):
        part = [(v, group) for v, group in groups if v.levels == levels]
        _entropy(axes, part, levels, [LINES[rules.index(v.rule)] for v, _ in part])
    for i, rule in enumerate(rules):
        part = [(v, group) for v, group in groups if v.rule == rule]
        places = [numbers.index(v.levels) + (i - 1.5) / 6 for v, _ in part]
        _accuracies(panels[-1], places, [group for _, group in part], LINES[i], rule)
    _categories(panels[-1], [f"n = {levels}" for levels in numbers])
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=len(rules))
    return figure


def _entropy(axes: Axes, groups: Sequence[Group], levels: int, lines: Sequence[dict[str, object]]) -> None:
    """Mean entropy over the quantized epochs, below the bound of ``log2 levels``."""
    for (_, group), line in zip(groups, lines, strict=True):
        bits = np.mean([outcome.entropy() for outcome in group], axis=0)
        axes.plot(np.arange(1, len(bits) + 1), bits, markevery=max(1, len(bits) // 6), **line)
    axes.axhline(np.log2(levels), color="black", linewidth=0.8, linestyle=(0, (1, 3)))
    bound = f"log2 {levels} = {np.log2(levels):.3f}"
    axes.annotate(bound, (1, np.log2(levels)), (0, 8), "data", **BESIDE, fontsize=8)
    axes.margins(y=0.12)
    axes.set_title(f"entropy of the codes, n = {levels}")
    axes.set_xlabel("quantized epoch")
    axes.set_ylabel("bits per weight")


def _accuracies(
    axes: Axes,
    places: Sequence[float],
    groups: Sequence[Sequence[Outcome]],
    line: dict[str, str],
    label: str,
) -> None:
    """Means with standard deviations at ``places``, each with its seeds in grey beside it."""
    means = []
    for place, group in zip(places, groups, strict=True):
        means.append(mean_and_spread([outcome.accuracy for outcome in group]))
        if len(group) > 1:
            beside = offset_copy(axes.transData, axes.figure, x=6, units="points")
            seeds = [outcome.accuracy for outcome in group]
            axes.plot([place] * len(group), seeds, transform=beside, **SEED)
            axes.update_datalim([(place, seed) for seed in seeds])  # the axes leave shifted points out
    height, spread = np.transpose(means)
    axes.errorbar(places, height, spread, capsize=2, label=label, **{**line, "linestyle": "none"})


def _categories(axes: Axes, names: Sequence[str]) -> None:
    """Name the places 0, 1, .. of a panel of accuracies."""
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_title("test accuracy")
    axes.set_ylabel("correct [%]")


def _frequency(outcomes: Sequence[Outcome]) -> Figure:
    """The step of the largest layer and the entropy over the epochs, and the accuracies."""
    groups = grouped(outcomes)
    names = [_every(variant) for variant, _ in groups]
    figure = Figure(figsize=(8.2, 3.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    first = groups[0][1][0]
    largest = max(first.layers, key=lambda layer: first.histograms(layer)[0].sum())
    for (_, group), name, line in zip(groups, names, LINES, strict=True):
        steps = group[0].steps(largest)
        left.plot(
            np.arange(1, len(steps) + 1), steps, label=name, markevery=max(1, len(steps) // 6), **line
        )
    left.set_title(f"step of {largest}")
    left.set_xlabel("quantized epoch")
    left.set_ylabel("step [latent weight]")
    _entropy(middle, groups, first.variant.levels, LINES)
    for i, ((_, group), line) in enumerate(zip(groups, LINES, strict=True)):
        _accuracies(right, [i], [group], line, names[i])
    _categories(right, [name.removeprefix("every ") for name in names])
    right.tick_params(axis="x", labelsize=8)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    return figure


def _every(variant: Variant) -> str:
    if variant.every == "never":
        return "once"
    return f"every {variant.every} epochs" if isinstance(variant.every, int) else f"every {variant.every}"


def _median(outcomes: Sequence[Outcome]) -> Figure:
    """How far positive and negative codes differ in number, and the accuracies, with and without."""
    groups = grouped(outcomes)
    numbers = list(dict.fromkeys(variant.levels for variant, _ in groups))
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for shifted, name, line in ((False, "as trained", LINES[0]), (True, "median set to zero", LINES[1])):
        part = [(v, group) for v, group in groups if v.zero_median is shifted]
        places = [numbers.index(v.levels) + (shifted - 0.5) / 3 for v, _ in part]
        worst = [[100 * np.abs(o.imbalance()).max() for o in group] for _, group in part]
        left.plot(places, [np.mean(values) for values in worst], **{**line, "linestyle": "none"})
        _accuracies(right, places, [group for _, group in part], line, name)
    _categories(right, [f"n = {levels}" for levels in numbers])
    left.set_xticks(range(len(numbers)), [f"n = {levels}" for levels in numbers])
    left.set_xlim(-0.5, len(numbers) - 0.5)
    left.set_ylim(bottom=0)
    left.set_title("positive less negative codes")
    left.set_ylabel("in the worst layer [% of its weights]")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _levels(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy and entropy against the number of levels, with the float32 twin as a line."""
    groups = grouped(outcomes)
    coded = [(variant, group) for variant, group in groups if not variant.twin]
    figure = Figure(figsize=(8.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for _, group in (found for found in groups if found[0].twin):
        twin, _ = mean_and_spread([outcome.accuracy for outcome in group])
        left.axhline(twin, color="black", linewidth=0.8, linestyle=(0, (1, 3)))
        left.annotate(
            f"float32 twin {twin:.1f} %", (2, twin), (0, -10), textcoords="offset points", fontsize=8
        )
    for parity, name, line in ((1, "odd n: codes with a zero", LINES[0]), (0, "even n: without", LINES[1])):
        part = [(v, group) for v, group in coded if v.levels % 2 == parity]
        numbers = [variant.levels for variant, _ in part]
        _accuracies(left, numbers, [group for _, group in part], line, name)
        bits = [np.mean([outcome.entropy()[-1] for outcome in group]) for _, group in part]
        right.plot(numbers, bits, **{**line, "linestyle": "none"})
    every = sorted(variant.levels for variant, _ in coded)
    right.plot(every, np.log2(every), color="black", linewidth=0.8, linestyle=(0, (1, 3)), label="log2 n")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(every))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(every, [str(levels) for levels in every])
        axes.set_xlabel("levels n")
    left.set_title("test accuracy")
    left.set_ylabel("correct [%]")
    right.set_title("entropy of the codes")
    right.set_ylabel("bits per weight")
    right.legend()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


DRAWINGS: dict[str, Callable[[Sequence[Outcome]], Figure]] = {
    "histograms": _histograms,
    "rules": _rules,
    "frequency": _frequency,
    "median": _median,
    "levels": _levels,
}
