"""Fake-quantizers: real tensors to integer codes, with straight-through gradients."""

from toolchain.quantizers.activations import activation_codes, relaxed_activation, top_code
from toolchain.quantizers.heq import STEP_RULES, codes, entropy_bits, heq, histogram, step_of
from toolchain.quantizers.ste import straight_through

__all__ = [
    "STEP_RULES",
    "activation_codes",
    "codes",
    "entropy_bits",
    "heq",
    "histogram",
    "relaxed_activation",
    "step_of",
    "straight_through",
    "top_code",
]
