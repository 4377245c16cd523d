"""What a model keeps of the images that it is shown, and whether that moves what it says next.

Two copies, from one state and one seed, are shown different images, forward and back, without any
update: nothing in their state may differ afterwards, nor what they say of one batch.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cropaudit.audit.conformance.probes.paired_runs import moved, seeded, state_of
from cropaudit.audit.conformance.probes.user_loss import UserLoss, tensors_of
from cropaudit.audit.conformance.worker.guard import Guard
from cropaudit.training.private_step import quiet_backward

__all__ = ["Memory", "recall"]

_SEED = 2
_FAR = 1e-9


@dataclass(frozen=True)
class Memory:
    """What was kept.

    Attributes:
        kept: Names in the state of the model, and of the loss after ``loss.``.
        recalls: How far a later output moves, relative, with what was shown before.
    """

    kept: tuple[str, ...]
    recalls: float


def recall(
    model: nn.Module, loss: UserLoss, guard: Guard, batches: tuple[Tensor, Tensor], masks: Tensor
) -> Memory:
    """Shows each batch to a copy, and then the first one to both.

    Args:
        model: In training mode; copied, not changed.
        loss: Copied likewise.
        guard: Watches the calls.
        batches: Images of the same shape.
        masks: Theirs; reversed for the second.
    """
    states, outputs = [], []
    for images, labels in zip(batches, (masks, masks.flip(0)), strict=True):
        own, own_loss = copy.deepcopy(model), loss.fresh()
        seeded(_SEED)
        _pass(own, own_loss, guard, images, labels)
        state = state_of(own)
        if own_loss.module is not None:
            state |= {f"loss.{n}": item for n, item in state_of(own_loss.module).items()}
        states.append(state)
        seeded(_SEED)
        with torch.no_grad():
            found = tensors_of(guard.call(own, batches[0]))
        outputs.append(torch.cat([t.detach().double().flatten() for t in found]))
    here, there = outputs
    scale = max(float(here.norm()), float(there.norm()))
    apart = float((here - there).norm()) / scale if scale else 0.0
    return Memory(tuple(moved(*states)), apart if apart > _FAR else 0.0)


def _pass(model: nn.Module, loss: UserLoss, guard: Guard, images: Tensor, masks: Tensor) -> None:
    found = guard.call(model, images)
    value = loss.total(found, masks)
    try:
        with quiet_backward():
            torch.autograd.backward(value)
    except RuntimeError:
        # What cannot be differentiated is the finding of another check.
        return
