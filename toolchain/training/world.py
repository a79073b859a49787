"""The processes that train together: one, or those that ``torchrun`` has started."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from runtime.errors import GatefoldError, InputError

BACKENDS = {"cuda": "nccl", "cpu": "gloo"}

DESCRIPTION = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What ``torchrun`` says to each of ``WORLD_SIZE`` processes."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class World:
    """This process among ``size`` equal ones: its ``rank``, 0 to ``size - 1``, and its device.

    Rank 0 alone writes files and reports progress.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """``values`` added up over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """``work(*arguments)``, done by rank 0 alone; its result, or its expected error, on every rank.

        So all ranks end together, and for the same reason. The result must be a plain Python value,
        tensors, or of a class that pickles.
        """
        if self.size == 1:
            return work(*arguments)
        box: list[Any] = [None]
        if self.first:
            try:
                box = [work(*arguments)]
            except (GatefoldError, OSError) as error:
                box = [error]
        dist.broadcast_object_list(box, src=0, device=self.device)
        if isinstance(box[0], Exception):
            raise box[0]
        return box[0]

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the ranks, and buffers as rank 0 has them."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def align(self, model: nn.Module) -> None:
        """Give every rank the buffers of rank 0: each has seen other batches since the last forward."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


def speaks_for_all(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is alone, or the rank 0 that prints for all."""
    return environ.get("RANK", "0") == "0"


@contextmanager
def join_world(device: str, environ: Mapping[str, str] = os.environ) -> Iterator[World]:
    """The world of this process while the block runs; ``torchrun`` describes it in the environment.

    ``device``: ``"cpu"``, ``"cuda"`` (with several processes on a machine, one GPU each) or a torch device.
    Raises InputError when it is not available, and when the description is not complete.
    """
    size = environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield World(0, 1, find_device(device))
        return
    for name in DESCRIPTION:
        if name not in environ:
            raise InputError(
                f"{name} must be set where WORLD_SIZE is {size}; start with torchrun, or unset WORLD_SIZE"
            )
    place = _own_device(device, int(environ["LOCAL_RANK"]), int(environ["LOCAL_WORLD_SIZE"]))
    # Imported later, by DistributedDataParallel, it would keep the process group in the default arguments
    # of its functions. The threads of a group that is never destroyed race with the end of the
    # interpreter, which then aborts, now and then.
    import torch._dynamo  # noqa: F401

    dist.init_process_group(BACKENDS.get(place.type, "gloo"))
    try:
        with warnings.catch_warnings():
            # Convolutions with one input channel have the same strides in both memory formats.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
            yield World(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def _own_device(device: str, local_rank: int, local_size: int) -> torch.device:
    """The device of one of ``local_size`` processes on this machine. Raises InputError on all alike."""
    if device != "cuda":
        return find_device(device)
    found = torch.cuda.device_count()
    if found < local_size:
        raise InputError(
            f"every process needs a GPU of its own, {local_size} processes have {found} here; "
            "start fewer, or use cpu"
        )
    place = find_device(f"cuda:{local_rank}")
    torch.cuda.set_device(place)
    return place


def find_device(device: str) -> torch.device:
    """The torch device of that name. Raises InputError when it is not available."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device {device!r} is not available here; use cpu") from None
