"""What images of a model do to each other: in one batch, and from one batch to the next.

Copies of the model, from one state and one seed, are shown batches that differ. In one batch image
0 stays: nothing that becomes of it may move, and the first module whose output for it does is the
one that mixes. Over batches nothing may be kept: neither state nor what is said of a later one.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cropaudit.conformance.probes.guard import Guard
from cropaudit.conformance.probes.models.user_loss import UserLoss, tensors_of
from cropaudit.conformance.probes.state import moved, seed_all, state_of
from cropaudit.training.dpsgd.private_step import quiet_backward

__all__ = ["Mixing", "follow", "recall"]

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
    """Runs two batches that agree in image 0, from one state and seed, all modules watched."""
    here, again = _runs(model, guard, images, images)
    once_more, there = (_runs(model, guard, batch)[0] for batch in (images, others))
    shift = _distance(here[-1].after, there[-1].after)
    steady = _distance(here[-1].after, again[-1].after) <= _FAR
    repeatable = _distance(here[-1].after, once_more[-1].after) <= _FAR
    for one, two in zip(here, there, strict=False):
        held = _distance(one.before, two.before) <= _FAR
        if one.name and held and _distance(one.after, two.after) > _FAR:
            return Mixing(shift, f"{one.name} ({one.kind})", one.name, steady, repeatable)
    return Mixing(shift, "", "", steady, repeatable)


def recall(
    model: nn.Module, loss: UserLoss, guard: Guard, batches: tuple[Tensor, Tensor], masks: Tensor
) -> tuple[tuple[str, ...], float]:
    """Shows each batch to a copy, forward and back without an update, and the first one to both.

    Args:
        model: In training mode; copied, not changed.
        loss: Copied likewise.
        guard: Watches the calls.
        batches: Images of the same shape.
        masks: Theirs; reversed for the second.

    Returns:
        Names of what was kept in the state of the model, and of the loss after ``loss.``; and how
        far a later output moves, relative, with what was shown before.
    """
    states, outputs = [], []
    for images, labels in zip(batches, (masks, masks.flip(0)), strict=True):
        own, own_loss = copy.deepcopy(model), loss.fresh()
        seed_all(_SEED)
        _pass(own, own_loss, guard, images, labels)
        state = state_of(own)
        if own_loss.module is not None:
            state |= {f"loss.{n}": item for n, item in state_of(own_loss.module).items()}
        states.append(state)
        seed_all(_SEED)
        with torch.no_grad():
            found = tensors_of(guard.call(own, batches[0]))
        outputs.append(torch.cat([t.detach().double().flatten() for t in found]))
    apart = _relative(*outputs)
    return tuple(moved(*states)), apart if apart > _FAR else 0.0


def _pass(model: nn.Module, loss: UserLoss, guard: Guard, images: Tensor, masks: Tensor) -> None:
    value = loss.total(guard.call(model, images), masks)
    try:
        with quiet_backward():
            torch.autograd.backward(value)
    except RuntimeError:
        return  # what cannot be differentiated is the finding of another check


@dataclass(frozen=True)
class _Stop:
    """Image 0 before and after one module; the model's own output has no name."""

    name: str
    kind: str
    before: list[Tensor]
    after: list[Tensor]


def _runs(model: nn.Module, guard: Guard, *batches: Tensor) -> list[list[_Stop]]:
    """Returns what a copy of the model does with batches in a row, from one seed."""
    own = copy.deepcopy(model)
    stops: list[_Stop] = []

    def watcher(name: str, kind: str) -> Any:
        def watch(module: nn.Module, inputs: Any, outputs: Any) -> None:
            stops.append(_Stop(name, kind, _first(inputs), _first(outputs)))

        return watch

    for name, module in own.named_modules():
        if name and not any(True for _ in module.children()):
            module.register_forward_hook(watcher(name, type(module).__name__))
    seed_all(_SEED)
    found = []
    for batch in batches:
        with torch.no_grad():
            outputs = guard.call(own, batch.clone(memory_format=torch.preserve_format))
        found.append([*stops, _Stop("", "", [], _first(outputs))])
        stops.clear()
    return found


def _first(found: Any) -> list[Tensor]:
    return [t[0].detach().clone() for t in tensors_of(found) if t.ndim > 0 and len(t) > 0]


def _distance(here: list[Tensor], there: list[Tensor]) -> float:
    if [t.shape for t in here] != [t.shape for t in there]:
        return float("inf")
    pairs = zip(here, there, strict=True)
    return max((_relative(a.double(), b.double()) for a, b in pairs), default=0.0)


def _relative(here: Tensor, there: Tensor) -> float:
    apart, scale = float((here - there).norm()), float(here.norm())
    return apart / scale if scale else apart
