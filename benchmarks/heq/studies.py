"""The studies: which variants each compares, and the table that each leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.heq.runs import Outcome, Setting, Variant
from benchmarks.study import conditions, with_spread
from toolchain.tables import Table

RULES = ("quantile-span", "twn", "max-abs")


@dataclass(frozen=True, slots=True)
class Study:
    """One question. ``varies``: the fields of ``Variant`` that tell its rows apart."""

    question: str
    varies: tuple[str, ...]
    variants: Callable[[Setting], list[Variant]]


def _rules(_: Setting) -> list[Variant]:
    """For three levels ``least-squares`` is ``quantile-span``."""
    rows = [Variant(levels, rule) for levels in (3, 5) for rule in RULES]
    return [*rows, Variant(5, "least-squares")]


def _frequency(setting: Setting) -> list[Variant]:
    return [Variant(every=every) for every in ("batch", "epoch", setting.few, "never")]


def _median(_: Setting) -> list[Variant]:
    return [Variant(levels, zero_median=shift) for levels in (2, 3, 5) for shift in (False, True)]


def _levels(setting: Setting) -> list[Variant]:
    return [*map(Variant, setting.levels), Variant(twin=True)]


STUDIES = {
    "histograms": Study("how evenly each rule uses the codes", ("levels", "rule"), _rules),
    "rules": Study("what an even use of the codes is worth", ("levels", "rule"), _rules),
    "frequency": Study("how often the steps have to be set anew", ("every",), _frequency),
    "median": Study("what a zero median of the latent weights does", ("levels", "zero_median"), _median),
    "levels": Study("how many levels are needed", ("levels",), _levels),
}

Group = tuple[Variant, list[Outcome]]


def grouped(outcomes: Sequence[Outcome]) -> list[Group]:
    """The outcomes of each variant over the seeds, variants in their first order."""
    variants = dict.fromkeys(outcome.variant for outcome in outcomes)
    return [(v, [outcome for outcome in outcomes if outcome.variant == v]) for v in variants]


def table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """Accuracy, entropy and time of every variant, as means over the seeds."""
    keys = [key.replace("_", " ") for key in study.varies]
    measured = ["seeds", "accuracy, %", "bits per weight", "at most", "fullest code, %", "s per epoch"]
    rows = [[*_key(study, variant), *_measured(group)] for variant, group in grouped(outcomes)]
    columns = range(len(keys), len(keys) + len(measured))
    return Table(study.question, [*keys, *measured], rows, columns)


def _key(study: Study, variant: Variant) -> list[str]:
    if variant.twin:
        return ["float32 twin"]
    shown = {True: "yes", False: "no"}
    values = [getattr(variant, key) for key in study.varies]
    return [shown[value] if isinstance(value, bool) else str(value) for value in values]


def _measured(group: Sequence[Outcome]) -> list[str]:
    accuracy = with_spread([outcome.accuracy for outcome in group])
    seconds = min(outcome.seconds() for outcome in group)
    codes = ["-", "-", "-"]
    if group[0].layers:
        bits = statistics.fmean(float(outcome.entropy()[-1]) for outcome in group)
        fullest = statistics.fmean(outcome.fullest() for outcome in group)
        codes = [f"{bits:.3f}", f"{math.log2(group[0].variant.levels):.3f}", f"{100 * fullest:.1f}"]
    return [str(len(group)), accuracy, *codes, f"{seconds:.2f}"]


def record(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that was measured, and on what: for the JSON file."""
    return {
        "study": name,
        "question": STUDIES[name].question,
        **conditions(outcomes[0].result),
        "runs": [_run(outcome) for outcome in outcomes],
    }


def _run(outcome: Outcome) -> dict[str, Any]:
    coded = outcome.layers != []
    return {
        **asdict(outcome.variant),
        "seed": outcome.seed,
        "accuracy": round(outcome.accuracy, 2),
        "accuracies": [round(100 * line["accuracy"], 2) for line in outcome.lines],
        "entropy_bits": [round(float(bits), 4) for bits in outcome.entropy()] if coded else None,
        "imbalance": [round(float(share), 4) for share in outcome.imbalance()] if coded else None,
        "seconds_per_epoch": outcome.seconds(),
    }
