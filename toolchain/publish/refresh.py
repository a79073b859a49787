"""Bring the costs on cards up to date: ``python -m toolchain.publish.refresh FOLDER...``.

Training and accuracy stay as they were measured. Costs follow from the program alone, by the cost model and
the C exporter of this version; run it when those change.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import InputError
from runtime.files import atomic_write
from runtime.serialize import load
from toolchain.cost import Report, report
from toolchain.devices import DEVICES
from toolchain.publish.card import COST_TITLE, FILES_TITLE, cost_section
from toolchain.publish.publishing import CARD_FILE, PROGRAM_FILE


def refreshed(card: str, cost: Report) -> str:
    """``card`` with ``cost`` in place of its costs. Raises InputError where it has no section of them."""
    head, costs, rest = card.partition(f"\n{COST_TITLE}\n")
    _, files, tail = rest.partition(f"\n{FILES_TITLE}\n")
    if not costs or not files:
        wanted = f"{COST_TITLE!r} and {FILES_TITLE!r}"
        raise InputError(f"a card must have the sections {wanted}, and this one does not")
    return f"{head}{costs}\n{cost_section(cost)}\n{files}{tail}"


def main(folders: Sequence[str]) -> None:
    """Rewrite the card of every published folder."""
    for folder in map(Path, folders):
        place = folder / CARD_FILE
        text = refreshed(place.read_text(encoding="utf-8"), report(load(folder / PROGRAM_FILE), DEVICES))
        with atomic_write(place) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(place)


if __name__ == "__main__":
    main(sys.argv[1:])
