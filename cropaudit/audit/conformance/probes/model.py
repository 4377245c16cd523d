"""Probes a model: per-sample gradients against autograd, and what images do to each other.

Works on copies in float64, so that rounding is far below any fault; a model or loss that knows
float32 only is probed in that. Random layers are turned off, for they differ between two passes.
"""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.probes.memory import recall
from cropaudit.audit.conformance.probes.mixing import Mixing, follow
from cropaudit.audit.conformance.probes.per_sample import Compared, compare, unwrapped
from cropaudit.audit.conformance.probes.user_loss import UserLoss, cross_entropy, main_output
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import where_of
from cropaudit.training.data import IGNORE

__all__ = ["probe_model"]

_IMAGES = 4
_SIDES = (64, 96)
_SCALE = 1.0
_FAR = 1e-9


def probe_model(
    made: Any, loss: Any | None, guard: Guard, subjects: Subjects, claimed: Claimed
) -> Gradients:
    """Returns what a model does with small batches of noise.

    Args:
        made: A module, plain or wrapped by Opacus.
        loss: The user's loss of (outputs, masks), or none for the pixels' cross-entropy.
        guard: Watches the calls.
        subjects: For the seed and the layout of the images.
        claimed: For C.

    Raises:
        UserError: If the model is no module, has nothing to train, or its forward pass raises.
    """
    where = where_of(made)
    if not isinstance(made, nn.Module):
        words = f"make_model() must return a torch.nn.Module, got {type(made).__name__}"
        raise guard.fail("type", words, where)
    with warnings.catch_warnings():
        # What Opacus and torch warn of is measured here, and is not the user's printing.
        warnings.simplefilter("ignore")
        plain, mode = unwrapped(made)
        if not any(p.requires_grad for p in plain.parameters()):
            raise guard.fail("type", "the model must have a parameter that requires_grad", where)
        batch = _batch(plain, loss, guard, subjects)
        return _probed(plain, mode, batch, guard, claimed, where)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Two batches that agree in image 0; ``masks`` and ``other_masks`` belong to them."""

    images: Tensor
    others: Tensor
    masks: Tensor
    other_masks: Tensor
    loss: UserLoss
    loss_shift: float


def _probed(
    plain: nn.Module, mode: str, batch: _Batch, guard: Guard, claimed: Claimed, where: str
) -> Gradients:
    dtype = batch.images.dtype
    delivered = copy.deepcopy(plain).to(dtype)
    stilled = _still(delivered)
    training = copy.deepcopy(plain).to(dtype).train()
    _still(training)
    as_delivered = follow(delivered, guard, batch.images, batch.others)
    as_trained = follow(training, guard, batch.images, batch.others)
    compared = _compared(training, mode, batch, claimed.max_grad_norm)
    memory = recall(training, batch.loss, guard, (batch.images, batch.others), batch.masks)
    return Gradients(
        parameters=np.array(compared.parameters, dtype=np.str_),
        kinds=np.array(compared.kinds, dtype=np.str_),
        crossed=np.array(compared.crossed, dtype=np.bool_),
        error=np.array(compared.error, dtype=np.float64),
        clipped_norm=np.array(compared.clipped_norm, dtype=np.float64),
        sum_error=compared.sum_error,
        refused=compared.refused,
        mode=mode,
        steady=as_delivered.steady and as_trained.steady,
        repeatable=as_delivered.repeatable and as_trained.repeatable,
        kept=np.array(memory.kept, dtype=np.str_),
        recalls=memory.recalls,
        stilled=", ".join(stilled),
        shift_delivered=as_delivered.shift,
        shift_training=as_trained.shift,
        mixer_delivered=as_delivered.mixer,
        mixer_training=as_trained.mixer,
        revived=_was_frozen(delivered, as_trained),
        reduction=batch.loss.reduction,
        loss_shift=batch.loss_shift,
        gradient_shift=compared.gradient_shift,
        single=dtype == torch.float32,
        channels_last=not batch.images.is_contiguous(),
        side=batch.images.shape[-1],
        where=where,
    )


def _compared(training: nn.Module, mode: str, batch: _Batch, bound: float | None) -> Compared:
    # A loss that crosses images is the finding of another check, and would hide this one's.
    crossing = batch.loss.reduction == "crossing" or batch.loss_shift > _FAR
    total = (lambda o, m: cross_entropy(o, m).sum()) if crossing else batch.loss.total
    both = (batch.images, batch.masks, batch.others, batch.other_masks)
    return compare(training, mode, total, both, bound)


def _was_frozen(delivered: nn.Module, found: Mixing) -> bool:
    return bool(found.path) and not delivered.get_submodule(found.path).training


def _still(model: nn.Module) -> list[str]:
    """Turns random layers off and returns their classes."""
    kinds = set()
    for module in model.modules():
        kind = type(module).__name__
        random = isinstance(module, nn.modules.dropout._DropoutNd)
        if random or kind in ("StochasticDepth", "DropPath", "DropBlock2d"):
            kinds.add(kind)
            module.eval()
    return sorted(kinds)


def _batch(plain: nn.Module, loss: Any | None, guard: Guard, subjects: Subjects) -> _Batch:
    """Returns the first kind of input that model and loss take, or raises the first refusal."""
    refusal: UserError | None = None
    for dtype in (torch.float64, torch.float32):
        for side in _SIDES:
            try:
                return _made_batch(plain, loss, guard, subjects, dtype, side)
            except UserError as error:
                refusal = refusal or error
    raise refusal or guard.fail("type", "the model takes no images")


def _made_batch(
    plain: nn.Module,
    loss: Any | None,
    guard: Guard,
    subjects: Subjects,
    dtype: torch.dtype,
    side: int,
) -> _Batch:
    draws = torch.Generator().manual_seed(subjects.seed)
    shape = (_IMAGES, 3, side, side)
    images = _SCALE * torch.randn(shape, generator=draws, dtype=torch.float64)
    others = 3 * torch.randn(shape, generator=draws, dtype=torch.float64) + 1
    others[0] = images[0]
    layout = torch.channels_last if subjects.channels_last else torch.contiguous_format
    images, others = (x.to(dtype).contiguous(memory_format=layout) for x in (images, others))
    model = copy.deepcopy(plain).to(dtype).train()
    _still(model)
    with torch.no_grad():
        outputs, other = guard.call(model, images), guard.call(model, others)
    logits = main_output(outputs)
    if logits.ndim not in (2, 4) or len(logits) != _IMAGES:
        words = f"the model must map (B, 3, H, W) to (B, K, H, W), got {tuple(logits.shape)}"
        raise guard.fail("type", words)
    classes = max(2, logits.shape[1])
    size = (_IMAGES,) if logits.ndim == 2 else (_IMAGES, side, side)
    masks = torch.randint(classes, size, generator=draws)
    other_masks = torch.cat([masks[:1], torch.randint(classes, size, generator=draws)[1:]])
    user = UserLoss(copy.deepcopy(loss), guard, outputs, masks)
    mixed = _with_first(other, outputs)
    shift = user.shift(outputs, masks, mixed, other_masks)
    ignoring = _ignoring_shift(user, outputs, masks, mixed, other_masks)
    return _Batch(images, others, masks, other_masks, user, max(shift, ignoring))


def _ignoring_shift(
    user: UserLoss, outputs: Any, masks: Tensor, others: Any, other_masks: Tensor
) -> float:
    """Returns the shift where most pixels of the other images bear no label, if that is legal."""
    if masks.ndim == 1:
        return 0.0
    unlabelled = other_masks.clone()
    unlabelled[1:, : unlabelled.shape[1] * 3 // 4] = IGNORE
    try:
        return user.shift(outputs, masks, others, unlabelled)
    except UserError:
        return 0.0


def _with_first(others: Any, outputs: Any) -> Any:
    """Returns ``others`` with the row 0 of ``outputs``."""
    if isinstance(others, Tensor):
        return torch.cat([outputs[:1], others[1:]]) if others.ndim else others
    if isinstance(others, dict):
        return {name: _with_first(others[name], outputs[name]) for name in others}
    if isinstance(others, list | tuple):
        return type(others)(_with_first(a, b) for a, b in zip(others, outputs, strict=True))
    return others
