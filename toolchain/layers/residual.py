"""Residual blocks whose connection is a parameter: linear, orthogonal, quotient, OR or multiplexed.

A stage of a network has one ``Stream``: what its codes mean, how it begins, what a convolution reads of it,
and how a branch joins it. ``STREAMS`` has a row for each connection; a new one is a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers.connections import ResidualConnection
from toolchain.layers.norm_codes import batch_norm_codes
from toolchain.layers.quotient import QuotientConnection, QuotientEntry, QuotientRead, QuotientScale
from toolchain.layers.skips import make_skip
from toolchain.quantizers import top_code

CodesOf = Callable[[int, int, bool, float], nn.Module]
"""From channels, bits, sign and limit to what makes codes of accumulators, such as ``batch_norm_codes``."""


def code_limit(bits: int) -> float:
    """Real value of the largest unsigned code of a normalized activation: wider with more codes."""
    return 1 + bits / 2 if bits > 1 else 1.0


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Checked options of the streams of a network.

    ``bits``: of the activations that convolutions read, and of logic connections. ``stream_bits``: of
    linear, orthogonal and quotient streams. ``preactivation``: linear and orthogonal streams are signed,
    and a norm and an activation come before the branch (ResNetV2), instead of a rectified stream.
    ``alpha``: bound of a quotient gate. ``domain``: of a quotient stream. ``gate``: of a quotient.
    ``probability``: of an orthogonal connection. ``codes``: what makes codes of accumulators.
    """

    bits: int
    stream_bits: int
    preactivation: bool = False
    alpha: float = 2.0
    domain: str = "log"
    gate: str = "q"
    probability: float = 1.0
    codes: CodesOf = batch_norm_codes

    @property
    def unit(self) -> float:
        """Activation codes of a real value of 1."""
        return top_code(self.bits) / code_limit(self.bits)

    def activation(self, channels: int) -> nn.Module:
        """Unsigned activation codes of accumulators."""
        return self.codes(channels, self.bits, False, code_limit(self.bits))


class Stream(ABC):
    """How one kind of connection codes the stream of a stage. ``options``: those of the network."""

    def __init__(self, connection: str, options: StreamOptions) -> None:
        self.connection = connection
        self.options = options

    @property
    @abstractmethod
    def unit(self) -> float:
        """What a convolution or the pooling reads of a real value of 1."""

    @abstractmethod
    def entry(self, channels: int) -> nn.Module:
        """From accumulators of the first convolution, or of a shortcut's, to the stream."""

    @abstractmethod
    def branch(self, channels: int) -> nn.Module:
        """From accumulators of a branch's last convolution to what the connection takes."""

    @abstractmethod
    def join(self, pinned: bool) -> nn.Module:
        """The connection; ``pinned``: outside the pattern of orthogonal connections, so linear for good."""

    @abstractmethod
    def read(self, channels: int) -> nn.Module:
        """From the stream to the unsigned codes that a convolution reads."""


class ResidualStream(Stream):
    """Linear and orthogonal connections: real values of one step."""

    def __init__(self, connection: str, options: StreamOptions) -> None:
        super().__init__(connection, options)
        if options.stream_bits < 2:
            raise InputError(f"a linear or orthogonal stream needs 2 to 8 bits, not {options.stream_bits}")

    @property
    def _bits(self) -> int:
        return self.options.stream_bits

    @property
    def _limit(self) -> float:
        """Real value of the largest code: sums are wider than what is added."""
        return float(max(2, self._bits))

    @property
    def unit(self) -> float:
        return self.options.unit if self.options.preactivation else top_code(self._bits) / self._limit

    def entry(self, channels: int) -> nn.Module:
        return self.options.codes(channels, self._bits, self.options.preactivation, self._limit)

    def branch(self, channels: int) -> nn.Module:
        """Signed codes of the stream's step: half its range each way where the stream is unsigned."""
        signed_top = top_code(self._bits) >> 1
        top = signed_top if self.options.preactivation else top_code(self._bits)
        return self.options.codes(channels, self._bits, True, self._limit * signed_top / top)

    def join(self, pinned: bool) -> nn.Module:
        kind = "linear" if pinned else self.connection
        return ResidualConnection(
            self._bits, self.options.preactivation, kind, self.options.probability, pinned
        )

    def read(self, channels: int) -> nn.Module:
        return self.options.activation(channels) if self.options.preactivation else nn.Identity()


class QuotientStream(Stream):
    """Quotient connections: products of gates."""

    def __init__(self, connection: str, options: StreamOptions) -> None:
        super().__init__(connection, options)
        self._gate_bits = max(options.stream_bits, 4)
        self._gate_top = top_code(self._gate_bits) >> 1
        step = self._gate_limit / self._gate_top
        self._scale = QuotientScale(options.alpha, options.stream_bits, step, options.domain, options.gate)

    @property
    def _gate_limit(self) -> float:
        return float(self._gate_bits)

    @property
    def unit(self) -> float:
        return self._scale.unit

    def entry(self, channels: int) -> nn.Module:
        return nn.Sequential(self.branch(channels), QuotientEntry(self._scale, self._gate_top))

    def branch(self, channels: int) -> nn.Module:
        return self.options.codes(channels, self._gate_bits, True, self._gate_limit)

    def join(self, pinned: bool) -> nn.Module:
        return QuotientConnection(self._scale, self._gate_top)

    def read(self, channels: int) -> nn.Module:
        return QuotientRead(self._scale)


class LogicStream(Stream):
    """OR and multiplexed connections: activation codes (arXiv 2501.04517)."""

    @property
    def unit(self) -> float:
        return self.options.unit

    def entry(self, channels: int) -> nn.Module:
        return self.options.activation(channels)

    def branch(self, channels: int) -> nn.Module:
        return self.options.activation(channels)

    def join(self, pinned: bool) -> nn.Module:
        return make_skip(self.connection, self.options.bits)

    def read(self, channels: int) -> nn.Module:
        return nn.Identity()


STREAMS: dict[str, type[Stream]] = {
    "linear": ResidualStream,
    "orthogonal": ResidualStream,
    "orthogonal-global": ResidualStream,
    "quotient": QuotientStream,
    "or": LogicStream,
    "mux": LogicStream,
}
"""From a connection's name to the kind of its stream."""


def make_stream(connection: str, options: StreamOptions) -> Stream:
    """The stream of that connection. Raises InputError for an unknown one, or one without
    pre-activation."""
    if connection not in STREAMS:
        raise InputError(f"a connection must be one of {', '.join(STREAMS)}, not {connection!r}")
    kind = STREAMS[connection]
    if options.preactivation and kind is not ResidualStream:
        raise InputError(f"connection {connection!r} has no form with pre-activation; leave that out")
    return kind(connection, options)


class ResidualBlock(nn.Module):
    """``y = connection(branch(read(x)), shortcut(x))``.

    ``x``: the stream before, coded as ``read`` expects. ``shortcut``: from what ``read`` gives to the
    stream of this block, where the two differ; None leaves the stream as it is.
    """

    def __init__(
        self, read: nn.Module, branch: nn.Module, connection: nn.Module, shortcut: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.read = read
        self.branch = branch
        self.shortcut = shortcut
        self.connection = connection

    def forward(self, x: Tensor) -> Tensor:
        seen = self.read(x)
        identity = x if self.shortcut is None else self.shortcut(seen)
        return self.connection(self.branch(seen), identity)
