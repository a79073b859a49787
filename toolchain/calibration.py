"""From a trained plain network to its quantized twin without training: codes, norms and ranges.

Both are rows of one model, built with ``levels`` 0 and above 0, and name their layers alike. The twin gets
the plain weights as latent weights and their masks; each norm is then set, layer by layer from the input
on, so that what it hands to the activation has the mean and the deviation that the plain layer had on some
images. Errors of earlier layers are seen by later ones, and so made up for as far as two numbers a channel
can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers import Activation, BatchNorm, HEQClassifier, Prunable, adopt_masks, quantized_layers
from toolchain.layers.prunable import MASK, mask_layer
from toolchain.quantizers import top_code

SHARES = torch.arange(0.1, 1.01, 0.05).tolist()
"""Candidates for the range of an activation, as shares of the largest value seen."""


def adopt_weights(twin: nn.Module, plain: nn.Module) -> None:
    """Copy weights and masks of ``plain`` into the layers of ``twin`` with the same names, and set the
    steps.

    Latent weights live in [-1, 1]: a layer with larger ones is scaled down, which changes no code. Raises
    InputError naming the first layer that the two do not share.
    """
    state = plain.state_dict()
    adopt_masks(twin, state)
    for path, layer in quantized_layers(twin).items():
        weight = state.get(f"{path}.weight")
        if weight is None or weight.shape != layer.weight.shape:
            found = "none" if weight is None else f"shape {list(weight.shape)}"
            raise InputError(
                f"the quantized network needs weights {path} of shape {list(layer.weight.shape)}, "
                f"the plain one has {found}; both must be one model with the same options"
            )
        with torch.no_grad():
            layer.weight.copy_(weight / weight.abs().max().clamp(min=1))
        mask = state.get(f"{path}.{MASK}")
        if mask is not None:
            mask_layer(path, layer, mask)
        layer.update_step()


@torch.no_grad()
def calibrate(twin: nn.Module, plain: nn.Module, images: Tensor) -> None:
    """Set every norm, and the classifier's scale and bias, of ``twin`` from ``images`` (N, C, H, W).

    ``twin`` has the weights of ``plain`` already; both are in eval mode afterwards.
    """
    twin.eval()
    plain.eval()
    with _outputs(plain) as wanted, _norms_set(twin, wanted):
        plain(images)
        twin(images)


@contextmanager
def _outputs(plain: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What each prunable layer of ``plain`` returned last, by its path."""
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.__setitem__(path, output)

    handles = [
        module.register_forward_hook(keep(path))
        for path, module in plain.named_modules()
        if isinstance(module, Prunable)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _norms_set(twin: nn.Module, wanted: dict[str, Tensor]) -> Iterator[None]:
    """Within the block, a forward pass of ``twin`` sets its norms and classifier as it reaches them."""
    layer, handles, pools = "", [], list[nn.Module]()
    modules = list(twin.named_modules())
    for index, (path, module) in enumerate(modules):
        if isinstance(module, HEQClassifier):
            handles.append(module.register_forward_pre_hook(_classifier_hook(wanted, path)))
        elif isinstance(module, Prunable):
            layer, pools = path, list[nn.Module]()
        elif isinstance(module, nn.MaxPool2d) and layer:
            pools.append(module)
        elif isinstance(module, BatchNorm):
            bits = next((m.bits for _, m in modules[index:] if isinstance(m, Activation)), None)
            if bits is None:
                raise InputError(f"norm {path} must have an activation behind it to be calibrated; add one")
            handles.append(module.register_forward_pre_hook(_norm_hook(wanted, layer, pools, bits)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _norm_hook(
    wanted: dict[str, Tensor], layer: str, pools: list[nn.Module], bits: int
) -> Callable[..., None]:
    """Before ``layer``'s norm: give it the affine function that restores the plain layer's mean and
    deviation.

    A plain layer's ReLU keeps what is above 0; here the activation rounds to the codes of [0, range].
    """

    def hook(norm: BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        (sums,) = inputs
        target = wanted[layer]
        for pool in pools:
            target = pool(target)
        axes = [axis for axis in range(sums.dim()) if axis != 1]
        scale = activation_range(target, bits)
        norm.running_mean.copy_(sums.mean(axes))
        norm.running_var.copy_(sums.var(axes, correction=0))
        deviation = torch.sqrt(norm.running_var + norm.eps) / torch.sqrt(
            norm.running_var.clamp(min=norm.eps)
        )
        norm.weight.copy_(target.std(axes, correction=0) / scale * deviation)
        norm.bias.copy_(target.mean(axes) / scale - (0.5 if bits == 1 else 0))

    return hook


def activation_range(target: Tensor, bits: int) -> float:
    """The range ``a`` with codes of ``[0, a]`` nearest to ``relu(target)`` in mean square.

    Of the largest value times each of ``SHARES``; 1 where nothing is above 0.
    """
    wanted, top = torch.relu(target), top_code(bits)
    largest = float(wanted.max())
    if largest == 0:
        return 1.0
    errors = []
    for share in SHARES:
        unit = share * largest / top
        errors.append(float(F.mse_loss(torch.round(wanted / unit).clamp_(max=top) * unit, wanted)))
    return SHARES[errors.index(min(errors))] * largest


def _classifier_hook(wanted: dict[str, Tensor], path: str) -> Callable[..., None]:
    """Before the classifier: the scale and bias that bring its scores nearest to the plain logits."""

    def hook(classifier: HEQClassifier, inputs: tuple[Tensor, ...]) -> None:
        scores = F.linear(inputs[0], classifier.effective_weight())
        logits = wanted[path]
        centred = scores - scores.mean(0)
        power = centred.square().sum().clamp(min=1)
        scale = ((logits - logits.mean(0)) * centred).sum() / power
        if scale > 0:
            classifier.log_scale.copy_(scale.log())
        classifier.bias.copy_((logits - classifier.scale * scores).mean(0))

    return hook
