"""A small indenting emitter for languages with braces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Emitter:
    """Lines of text at the present depth."""

    def __init__(self, indent: str = "    ") -> None:
        self._indent = indent
        self._depth = 0
        self._lines: list[str] = []

    def line(self, text: str = "") -> None:
        """One line; an empty one stays without indent."""
        self._lines.append(self._indent * self._depth + text if text else "")

    def lines(self, *texts: str) -> None:
        """Several lines."""
        for text in texts:
            self.line(text)

    @contextmanager
    def block(self, head: str, end: str = "}") -> Iterator[None]:
        """``head {``, what is emitted inside, one level deeper, and ``end``."""
        self.line(f"{head} {{".lstrip())
        self._depth += 1
        yield
        self._depth -= 1
        self.line(end)

    def text(self) -> str:
        """Everything so far, with a newline at the end."""
        return "\n".join(self._lines) + "\n"
