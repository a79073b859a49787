"""Drawing: SVG elements as escaped text, what fits in a width, and numbers short enough for a label.

Colours are classes of the page's style sheet, so that a figure follows the light or dark scheme.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

CHARACTER, BOLD_CHARACTER = 7.2, 8.0
"""Pixels of a usual character at the size of a figure's text, in a wide font."""

BOLD = frozenset({"head", "mark"})
"""Classes of the style sheet whose text is bold."""

ELLIPSIS = "…"


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element. Text among ``children`` and every attribute is escaped; ``_`` in names stands for ``-``,
    and a trailing one for nothing. Attributes that are None are left out."""
    written = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup().join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup().join(written), inner)


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def group(parts: Iterable[str], **attributes: object) -> Markup:
    """Elements drawn together."""
    return tag("g", *parts, **attributes)


def text(x: float, y: float, words: str, class_: str = "", room: float = math.inf) -> Markup:
    """``words`` at a baseline, cut to ``room`` pixels; whatever is cut is said on hovering."""
    shown = fitted(words, room, BOLD_CHARACTER if class_ in BOLD else CHARACTER)
    hint = [tag("title", words)] if shown != words else []
    return tag("text", shown, *hint, x=float(x), y=float(y), class_=class_ or None)


def rect(x: float, y: float, width: float, height: float, class_: str, hint: str = "") -> Markup:
    """A rectangle; ``hint`` is said on hovering."""
    return tag(
        "rect",
        *([tag("title", hint)] if hint else []),
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        class_=class_,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def path(commands: str, class_: str, hint: str = "") -> Markup:
    """A path of SVG ``commands``."""
    return tag("path", *([tag("title", hint)] if hint else []), d=commands, class_=class_)


def width_of(words: str, character: float = CHARACTER) -> float:
    """Pixels of ``words`` in characters of so many, estimated."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return character * (len(words) + wide)


def fitted(words: str, room: float, character: float = CHARACTER) -> str:
    """``words``, or its beginning, an ellipsis and its end, in ``room`` pixels: names of values often
    differ in their last word alone."""
    if width_of(words, character) <= room:
        return words
    kept = len(words) - 1
    while kept > 0 and width_of(_shortened(words, kept), character) > room:
        kept -= 1
    return _shortened(words, kept)


def _shortened(words: str, kept: int) -> str:
    head = kept // 2
    return words[:head] + ELLIPSIS + words[len(words) - (kept - head) :]


def compact(count: float) -> str:
    """``count`` in three or four digits: ``812``, ``17.3 M``."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(count) >= limit:
            scaled = count / (1e3 if unit == "k" else limit)
            return (
                f"{scaled:,.0f} {unit}"
                if scaled >= 1000
                else f"{scaled:.{0 if scaled >= 100 else 1}f} {unit}"
            )
    return f"{count:,.0f}" if abs(count) >= 10 or count == round(count) else f"{count:.2g}"


def decade(exponent: int) -> str:
    """10 to the power of ``exponent``: ``100``, ``10 k``, ``0.01``."""
    return f"{10.0**exponent:g}" if exponent < 4 else compact(10**exponent).replace(".0", "")


def percent(share: float) -> str:
    """``38 %``, ``0.4 %``, ``< 0.1 %``, ``32 times``."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if share >= 10:
        return f"{share:,.0f} times"
    return f"{100 * share:.{0 if share >= 0.0995 or not share else 1}f} %"


def ticks(top: float, steps: int = 5) -> list[float]:
    """Round values from 0 up to at most ``top``, about ``steps`` apart."""
    if top <= 0:
        return [0.0]
    rough = top / steps
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * i for i in range(math.floor(top / step + 1e-9) + 1)]
