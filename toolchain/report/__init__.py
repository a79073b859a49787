"""Reports for people and machines: one program's costs, and several programs side by side."""

from toolchain.report.comparison import CostComparison, compare_costs
from toolchain.report.formats import FORMATS, SUFFIXES, html_writer, layer_table, to_text

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "CostComparison",
    "compare_costs",
    "html_writer",
    "layer_table",
    "to_text",
]
