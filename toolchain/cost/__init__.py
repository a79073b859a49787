"""What a program costs: parameters, operations, bytes, gates. See docs/cost-model.md."""

from toolchain.cost.model import Report, Total, report
from toolchain.cost.nodes import NodeCost

__all__ = ["NodeCost", "Report", "Total", "report"]
