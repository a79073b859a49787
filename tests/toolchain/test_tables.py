"""Tables as text of a given width, and as Markdown."""

from __future__ import annotations

import pytest

from toolchain.tables import Table, terminal_width, to_markdown, to_text

NETS = Table(
    "Nets",
    ("layer", "first-network", "second-network"),
    [("conv", "1,000", "-"), ("head", "20", "7"), ("total", "1,020", "7")],
    numbers=(1, 2),
    total_row=True,
)


def test_columns_are_aligned_and_the_total_is_set_apart() -> None:
    assert to_text(NETS) == (
        "layer  first-network  second-network\n"
        "-----  -------------  --------------\n"
        "conv           1,000               -\n"
        "head              20               7\n"
        "-----  -------------  --------------\n"
        "total          1,020               7"
    )


def test_headers_of_numbers_are_folded_first() -> None:
    assert to_text(NETS, width=34).splitlines()[:3] == [
        "             first-       second-",
        "layer       network       network",
        "-----  ------------  ------------",
    ]


def test_columns_that_do_not_fit_follow_in_a_block_with_the_leading_columns() -> None:
    first, second = to_text(NETS, width=24).split("\n\n")
    assert [line.split() for line in first.splitlines()[3:5]] == [["conv", "1,000"], ["head", "20"]]
    assert [line.split() for line in second.splitlines()[3:5]] == [["conv", "-"], ["head", "7"]]
    assert second.splitlines()[-1].split() == ["total", "7"]
    assert max(map(len, (first + "\n" + second).splitlines())) <= 24


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, None])
def test_no_cell_is_lost_at_any_width(width: int | None) -> None:
    text = to_text(NETS, width)
    for cell in (cell for row in NETS.rows for cell in row):
        assert cell in text


def test_a_last_column_of_text_is_folded() -> None:
    table = Table.of(["device", "source"], [["rp2040", "data sheet of the chip and of the board"]])
    assert to_text(table, width=34) == (
        "device  source\n"
        "------  --------------------------\n"
        "rp2040  data sheet of the chip and\n"
        "        of the board"
    )


def test_columns_of_numbers_alone_are_set_to_the_right() -> None:
    table = Table.of(["name", "samples", "mixed"], [["a", 7, 1], ["b", 1000, ""]])
    assert list(table.numbers) == [1]
    assert to_text(table).splitlines()[2:] == ["a           7  1", "b        1000"]


def test_a_table_without_rows_is_its_header() -> None:
    assert to_text(Table("", ("a", "b"), [], numbers=(1,)), width=1).splitlines()[0] == "a  b"


def test_markdown_marks_numbers_and_escapes_cells() -> None:
    table = Table("", ("<b>", "n"), [("a|b", "1"), ("total", "2")], numbers=(1,), total_row=True)
    assert to_markdown(table).splitlines() == [
        "| &lt;b&gt; | n |",
        "| --- | ---: |",
        "| a\\|b | 1 |",
        "| total | 2 |",
    ]


def test_the_width_is_that_of_columns_or_none_where_the_output_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width() is None
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width() == 72
