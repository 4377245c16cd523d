"""Which module lets one image of a batch act on another: found by following image 0 through."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cropaudit.audit.conformance.probes.user_loss import tensors_of
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["Mixing", "follow"]

_FAR = 1e-9


@dataclass(frozen=True)
class Mixing:
    """What became of image 0 when the others changed.

    Attributes:
        shift: How far its output moved, relative.
        mixer: ``name (Class)`` of the first module whose input for image 0 stayed and whose
            output for it did not; empty if there is none.
        path: The module's name alone.
        steady: Whether the same batch gave the same outputs twice.
    """

    shift: float
    mixer: str
    path: str
    steady: bool


def follow(model: nn.Module, guard: Guard, images: Tensor, others: Tensor) -> Mixing:
    """Runs two batches that agree in image 0, with every module watched.

    Args:
        model: In the mode to be judged; its buffers may change.
        guard: Watches the calls.
        images: The one batch.
        others: The other.
    """
    trail = _Trail(model)
    try:
        here, again, there = (trail.run(guard, batch) for batch in (images, images, others))
    finally:
        trail.remove()
    moved = _distance(here[-1].after, there[-1].after)
    steady = _distance(here[-1].after, again[-1].after) <= _FAR
    for one, two in zip(here, there, strict=False):
        held = _distance(one.before, two.before) <= _FAR
        if one.name and held and _distance(one.after, two.after) > _FAR:
            return Mixing(moved, f"{one.name} ({one.kind})", one.name, steady)
    return Mixing(moved, "", "", steady)


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
        self._handles = [
            module.register_forward_hook(self._watcher(name, type(module).__name__))
            for name, module in model.named_modules()
            if name and not any(True for _ in module.children())
        ]

    def run(self, guard: Guard, batch: Tensor) -> list[_Stop]:
        self._stops = []
        with torch.no_grad():
            outputs = guard.call(self._model, batch.clone(memory_format=torch.preserve_format))
        return [*self._stops, _Stop("", "", [], _first(outputs))]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

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
