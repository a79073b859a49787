"""Global magnitude pruning: the weights that matter least go, wherever in the network they are.

Source: the protocol of arXiv 2308.06780, section 4 (global unstructured L1 pruning). Biases are exempt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.layers import Prunable, prunable_layers
from toolchain.layers.prunable import mask_layer


@dataclass(frozen=True, slots=True)
class Size:
    """What is left of a network: ``parameters``, biases and norms included, and ``weights`` among them."""

    parameters: int
    weights: int


def size_of(model: nn.Module) -> Size:
    """Count the parameters and the weights of ``model`` that are not pruned."""
    layers = prunable_layers(model).values()
    dense = sum(layer.weight.numel() for layer in layers)
    surviving = sum(int(layer.survivors()) for layer in layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    return Size(total - dense + surviving, surviving)


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The mask of every prunable layer by its path: bool, True where a weight survives."""
    return {path: _mask(layer) for path, layer in prunable_layers(model).items()}


def set_masks(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Prune ``model`` by ``masks``, by path as ``masks_of`` gives them. Raises InputError for a misfit."""
    layers = prunable_layers(model)
    if list(layers) != list(masks):
        raise InputError(f"masks must be those of the layers {', '.join(layers)}, not {', '.join(masks)}")
    for path, mask in masks.items():
        mask_layer(path, layers[path], mask)


def prunable_part(model: nn.Module, granularity: str) -> dict[str, Prunable]:
    """The layers that ``granularity`` prunes: all, but no channels of the output layer, the last one.

    Raises InputError when there is none.
    """
    layers = prunable_layers(model)
    if granularity == "channel" and layers:
        layers.popitem()
    if not layers:
        raise InputError(
            f"pruning by {granularity} needs layers whose weights can be pruned, this network has none"
        )
    return layers


@torch.no_grad()
def prune(model: nn.Module, share: float, granularity: str) -> int:
    """Prune ``share`` (0..1) of the remaining weights: those with the smallest scores over all layers.

    ``granularity``: ``"weight"`` prunes exactly ``round(share * remaining)`` single weights, or components
    of quaternions; of equal ones the first go first. ``"quaternion"`` and ``"channel"`` prune whole
    quaternions (in real layers: weights) or output channels, until at least as many weights are gone; what
    scores exactly alike goes together. Channels of the output layer are left alone, and so is the best one
    of every layer. Returns how many weights were pruned. Raises InputError when fewer are left.
    """
    layers = prunable_part(model, granularity)
    masks = [_mask(layer) for layer in layers.values()]
    scores = [layer.scores(granularity).cpu() for layer in layers.values()]
    count = round(share * sum(int(mask.sum()) for mask in masks))
    if granularity == "channel":
        candidates = [mask & (score < score[mask].max()) for mask, score in zip(masks, scores, strict=True)]
    else:
        candidates = masks
    eligible = torch.cat([candidate.flatten() for candidate in candidates])
    doomed = _smallest(torch.cat([score.flatten() for score in scores]), eligible, count, granularity)
    parts = doomed.split([mask.numel() for mask in masks])
    for layer, mask, part in zip(layers.values(), masks, parts, strict=True):
        layer.set_mask(mask & ~part.reshape(mask.shape))
    return int(doomed.sum())


def _smallest(scores: Tensor, eligible: Tensor, count: int, granularity: str) -> Tensor:
    """Where the ``count`` smallest of the ``eligible`` scores are, groups completed: bool, shape (N,)."""
    places = eligible.nonzero().flatten()
    if count > len(places):
        raise InputError(
            f"only {len(places):,} weights are left to prune, not {count:,}; "
            "ask for fewer rounds or a smaller share"
        )
    doomed = torch.zeros_like(eligible)
    if not count:
        return doomed
    order = places[torch.sort(scores[places], stable=True).indices[:count]]
    if granularity == "weight":
        doomed[order] = True
        return doomed
    return eligible & (scores <= scores[order[-1]])


def _mask(layer: Prunable) -> Tensor:
    mask = torch.ones_like(layer.weight, dtype=torch.bool) if layer.mask is None else layer.mask
    return mask.cpu()
