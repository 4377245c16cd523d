"""Per-sample gradients, the slow way: one image at a time through plain autograd."""

import copy

import torch
from opacus.grad_sample.utils import wrap_model

from cropaudit.training.losses import pixel_losses
from cropaudit.training.private_step import quiet_backward


def largest_error(model, mode, side=32, classes=4):
    """Largest error of a mode on two images in float64, relative to the whole gradient's norm.

    Of every entry of every gradient; under ghost clipping, of every parameter's norm.
    """
    model = model.double()
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, side, side, generator=stream, dtype=torch.float64)
    masks = torch.randint(classes, (2, side, side), generator=stream)
    twin = copy.deepcopy(model)
    wrapped = wrap_model(twin, mode, loss_reduction="sum")
    with quiet_backward():
        pixel_losses(wrapped(images), masks).sum().backward()
    plain = [p for p in model.parameters() if p.requires_grad]
    theirs = [p for p in twin.parameters() if p.requires_grad]
    worst = 0.0
    for i in range(2):
        loss = pixel_losses(model(images[i : i + 1]), masks[i : i + 1]).sum()
        alone = torch.autograd.grad(loss, plain)
        whole = torch.stack([g.norm() for g in alone]).norm()
        for parameter, right in zip(theirs, alone, strict=True):
            if mode == "ghost":
                miss = (parameter._norm_sample[i] - right.norm()).abs()
            else:
                miss = (parameter.grad_sample[i] - right).norm()
            worst = max(worst, float(miss / whole))
    return worst
