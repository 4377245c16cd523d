"""Which module lets one image of a batch act on another: found by following image 0 through."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cropaudit.audit.conformance.probes.paired_runs import seeded
from cropaudit.audit.conformance.probes.user_loss import tensors_of
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["Mixing", "follow"]

_FAR = 1e-9
_SEED = 1


@dataclass(frozen=True)
class Mixing:
    """What became of image 0 when the others changed.

    Attributes:
        shift: How far its output moved, relative.
        mixer: ``name (Class)`` of the first module whose input for image 0 stayed and whose
            output for it did not; empty if there is none.
        path: The module's name alone.
        steady: Whether the same batch gave the same outputs twice in a row.
        repeatable: Whether it did so from the same state and the same seed.
    """

    shift: float
    mixer: str
    path: str
    steady: bool
    repeatable: bool


def follow(model: nn.Module, guard: Guard, images: Tensor, others: Tensor) -> Mixing:
    """Runs two batches that agree in image 0, from one state and seed, with every module watched.

    Args:
        model: In the mode to be judged; copied, not changed.
        guard: Watches the calls.
        images: The one batch.
        others: The other.
    """
    here, again = _runs(model, guard, images, images)
    once_more, there = (_runs(model, guard, batch)[0] for batch in (images, others))
    moved = _distance(here[-1].after, there[-1].after)
    steady = _distance(here[-1].after, again[-1].after) <= _FAR
    repeatable = _distance(here[-1].after, once_more[-1].after) <= _FAR
    for one, two in zip(here, there, strict=False):
        held = _distance(one.before, two.before) <= _FAR
        if one.name and held and _distance(one.after, two.after) > _FAR:
            return Mixing(moved, f"{one.name} ({one.kind})", one.name, steady, repeatable)
    return Mixing(moved, "", "", steady, repeatable)


def _runs(model: nn.Module, guard: Guard, *batches: Tensor) -> list[list["_Stop"]]:
    """Returns what a copy of the model does with batches in a row, from one seed."""
    trail = _Trail(copy.deepcopy(model))
    seeded(_SEED)
    return [trail.run(guard, batch) for batch in batches]


@dataclass(frozen=True)
class _Stop:
    """Image 0 before and after one module; the model's own output has no name."""

    name: str
    kind: str
    before: list[Tensor]
    after: list[Tensor]


class _Trail:
    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._stops: list[_Stop] = []
        for name, module in model.named_modules():
            if name and not any(True for _ in module.children()):
                module.register_forward_hook(self._watcher(name, type(module).__name__))

    def run(self, guard: Guard, batch: Tensor) -> list[_Stop]:
        self._stops = []
        with torch.no_grad():
            outputs = guard.call(self._model, batch.clone(memory_format=torch.preserve_format))
        return [*self._stops, _Stop("", "", [], _first(outputs))]

    def _watcher(self, name: str, kind: str) -> Any:
        def watch(module: nn.Module, inputs: Any, outputs: Any) -> None:
            self._stops.append(_Stop(name, kind, _first(inputs), _first(outputs)))

        return watch


def _first(found: Any) -> list[Tensor]:
    return [t[0].detach().clone() for t in tensors_of(found) if t.ndim > 0 and len(t) > 0]


def _distance(here: list[Tensor], there: list[Tensor]) -> float:
    if [t.shape for t in here] != [t.shape for t in there]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(here, there, strict=True)]
    return max((_relative(a, b) for a, b in pairs), default=0.0)


def _relative(here: Tensor, there: Tensor) -> float:
    moved, scale = float((here - there).norm()), float(here.norm())
    return moved / scale if scale else moved
