"""Several processes train one model: torch.distributed, with Opacus' wrappers.

Assumes that every process draws the same batches and windows, and takes its share of each batch.
Clipped gradients are summed over the processes; the first one alone adds noise, once, so that the
noisy sum is that of a single process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from opacus.distributed import DifferentiallyPrivateDistributedDataParallel
from opacus.optimizers import DPOptimizer, get_optimizer_class
from torch import Tensor, distributed, nn

from cropaudit.errors import InputError, require

__all__ = ["World", "current_world", "distributed_context", "optimizer_kind", "shared", "summed"]


@dataclass(frozen=True)
class World:
    """Which of the processes this one is.

    Attributes:
        rank: From 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        require(self.size >= 1, "WORLD_SIZE", "at least 1", self.size)
        require(0 <= self.rank < self.size, "RANK", f"from 0 to {self.size - 1}", self.rank)

    @property
    def leads(self) -> bool:
        """Whether this is the process that adds noise and writes files."""
        return self.rank == 0


def current_world() -> World:
    """Returns the world that this process is in; a world of its own unless one was joined."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


@contextmanager
def distributed_context(init_method: str = "env://") -> Iterator[World]:
    """Joins the processes that torchrun started, as its variables RANK and WORLD_SIZE say.

    Without them, or with one process, nothing is joined. Devices are the GPU of LOCAL_RANK (nccl)
    where there is one, else the CPU (gloo).

    Args:
        init_method: How the processes find each other: torchrun's way, or ``file://...``.

    Raises:
        InputError: If the variables are no numbers, or out of range.
    """
    world = World(_number("RANK", 0), _number("WORLD_SIZE", 1))
    if world.size == 1:
        yield world
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(_number("LOCAL_RANK", world.rank))
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        init_method=init_method,
        rank=world.rank,
        world_size=world.size,
    )
    try:
        yield world
    finally:
        distributed.destroy_process_group()


def shared(model: nn.Module, world: World) -> nn.Module:
    """Wraps the model for Opacus; all processes then hold the first one's weights."""
    if world.size == 1:
        return model
    wrapped: nn.Module = DifferentiallyPrivateDistributedDataParallel(model)
    return wrapped


def optimizer_kind(world: World, *, ghost: bool) -> type[DPOptimizer]:
    """Returns Opacus' optimiser for this world.

    Args:
        world: Of the run.
        ghost: Whether gradients come clipped already, from ghost clipping.
    """
    mode = "ghost" if ghost else None
    kind: type[DPOptimizer] = get_optimizer_class("flat", world.size > 1, mode)
    return kind


def summed(values: Tensor, world: World) -> Tensor:
    """Returns the sum of ``values`` over the processes."""
    if world.size > 1:
        distributed.all_reduce(values)
    return values


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"{name} must be a whole number, at least 0, got {text}")
    return int(text)
