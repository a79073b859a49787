"""What a page is made of: sections of blocks, each of which names the template that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from toolchain.tables import Table


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    template: ClassVar[str] = "prose.html"
    words: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure: its name, its value in a few characters, and the rest in words."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Key figures beside each other."""

    template: ClassVar[str] = "tiles.html"
    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Swatch:
    """A colour of a figure, by class, and what it stands for; ``shape``: the path of its mark, if it is
    no area."""

    class_: str
    words: str
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """The inside of a picture of so many pixels."""

    width: int
    height: int
    inside: Markup


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture. ``key``: unique on the page. ``description``: what it shows, for who cannot see it.
    ``note``: how to read it. ``tall``: may be scrolled within the page."""

    template: ClassVar[str] = "figure.html"
    key: str
    title: str
    description: str
    drawing: Drawing
    note: str = ""
    legend: Sequence[Swatch] = ()
    tall: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """A table. ``key``: unique on the page. ``folded``: shown when it is opened."""

    template: ClassVar[str] = "table.html"
    key: str
    table: Table
    folded: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of a resource is used, in words; ``share``: used over limit."""

    words: str
    share: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A device: whether the program fits, how much of each resource it uses, and the verdict in words."""

    name: str
    fits: bool
    meters: Mapping[str, Meter]
    remarks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices of one kind, with a column per resource. ``key``: unique on the page."""

    template: ClassVar[str] = "devices.html"
    key: str
    title: str
    resources: Sequence[str]
    devices: Sequence[Judged]


Block = Prose | Tiles | Figure | Numbers | Devices


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter. ``key``: unique on the page; also its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A page. ``kind``: what it is, in a word or two. ``lead``: the sentence to remember."""

    title: str
    kind: str
    lead: str
    sections: Sequence[Section]
    version: str
