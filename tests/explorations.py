"""What the tests of explorations share: a small recipe, its space, and looking at the storage."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from tests.pruning_studies import RECIPE as PRUNED

RECIPE = PRUNED.replace('epochs = 1\nprecision = "quantized"', 'epochs = 2\nprecision = "quantized"')
"""A network on the images that come with the install, of three epochs."""

SPACE = """
folding = ["one-position", "parallel"]
[options]
width = {low = 2, high = 8}
levels = [3, 5]
skip = ["none", "or"]
"""


def states(exploration: Path) -> Counter[str]:
    """How many of Optuna's trials are in each state."""
    with sqlite3.connect(exploration / "study.db") as database:
        rows = database.execute("select state from trials").fetchall()
    database.close()
    return Counter(state for (state,) in rows)
