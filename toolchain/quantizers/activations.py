"""Activation quantizers: normalized real values to unsigned integer codes ``0 .. 2**bits - 1``."""

from __future__ import annotations

from torch import Tensor

from runtime.errors import InputError
from toolchain.quantizers.ste import clipped_straight_through

MAX_BITS = 8


def top_code(bits: int) -> int:
    """Largest code, ``2**bits - 1``. Raises InputError unless ``bits`` is in 1..8."""
    if not 1 <= bits <= MAX_BITS:
        raise InputError(f"activation bits must be within 1..{MAX_BITS}, not {bits}")
    return (1 << bits) - 1


def heaviside(z: Tensor) -> Tensor:
    """Binary activation.

    Forward: ``H(z) = 1 if z > 0 else 0``. Gradient: ``dH/dz = 1`` where ``|z| <= 1``, else 0.
    Source: arXiv 2501.04517; the clipped gradient is that of Hubara et al., arXiv 1602.02830.
    """
    return clipped_straight_through(z.detach().sign().clamp_(min=0), z, -1, 1)


def uniform(z: Tensor, bits: int) -> Tensor:
    """Unsigned ``bits``-bit activation.

    Forward: ``round((2**bits - 1) * clip(z, 0, 1))``, half to even. Gradient: ``2**bits - 1`` where
    ``0 <= z <= 1``, else 0. Source: DoReFa-Net, arXiv 1606.06160; used at 2 bits by arXiv 2501.04517.
    """
    top = top_code(bits)
    return clipped_straight_through((z.detach() * top).round_().clamp_(0, top), z, 0, 1, top)


def activation_codes(z: Tensor, bits: int) -> Tensor:
    """Codes of ``z``: ``heaviside`` for one bit, ``uniform`` for 2 to 8. Raises InputError otherwise."""
    return heaviside(z) if top_code(bits) == 1 else uniform(z, bits)


def relaxed_activation(z: Tensor, bits: int) -> Tensor:
    """What full-precision pre-training uses in place of codes: the same range, without rounding.

    ``clip((z + 1) / 2, 0, 1)`` for one bit, ``(2**bits - 1) * clip(z, 0, 1)`` for more.
    """
    top = top_code(bits)
    return ((z + 1) / 2).clamp(0, 1) if top == 1 else top * z.clamp(0, 1)
