"""Fake-quantizers: real tensors to integer codes, with straight-through gradients."""

from toolchain.quantizers.activations import activation_codes, relaxed_activation, top_code
from toolchain.quantizers.heq import (
    STEP_RULES,
    codes,
    entropy_bits,
    heq,
    histogram,
    median,
    sparse_step,
    sparse_steps,
    step_of,
    top_level,
)
from toolchain.quantizers.ste import clipped_straight_through, straight_through

__all__ = [
    "STEP_RULES",
    "activation_codes",
    "clipped_straight_through",
    "codes",
    "entropy_bits",
    "heq",
    "histogram",
    "median",
    "relaxed_activation",
    "sparse_step",
    "sparse_steps",
    "step_of",
    "straight_through",
    "top_code",
    "top_level",
]
