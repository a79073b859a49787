"""Reports for people and machines: one program's costs, and several programs side by side."""

from toolchain.report.comparison import CostComparison, compare_costs
from toolchain.report.formats import FORMATS, format_of, html_writer, layer_table, to_text

__all__ = [
    "FORMATS",
    "CostComparison",
    "compare_costs",
    "format_of",
    "html_writer",
    "layer_table",
    "to_text",
]
