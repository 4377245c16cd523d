"""Initial weights that an adversary would choose: patch substitution says nothing about weights.

A claim of privacy holds for every initial model, also for the one at which a canary's gradient
hardly depends on the window. That is so where the last layer is zero (predictions are uniform, and
no gradient passes to the layers before it) and its inputs vary little about their mean (the gain of
the last normalisation is small beside its offset), for then the gradient is the residual times
nearly the same features in every window. From a random start the directions of different windows
share only half of their length (docs/attacks.md).
"""

import torch
from torch import nn

from cropaudit.errors import InputError

__all__ = ["GAIN", "level_start"]

GAIN = 0.1  # of the last normalisation, whose offset is 1
_LAST = (nn.Conv2d, nn.Linear)
_NORM = (nn.GroupNorm, nn.LayerNorm)


def level_start(model: nn.Module, gain: float = GAIN) -> nn.Module:
    """Sets the last layer to zero and the gain of the last normalisation before it to ``gain``.

    Args:
        model: Its layers in the order in which they are applied; changed in place.
        gain: Of the normalisation; its offset becomes 1.

    Returns:
        The model.

    Raises:
        InputError: If it has no such layers.
    """
    layers = [m for m in model.modules() if isinstance(m, (*_LAST, *_NORM))]
    norms = [m for m in layers if isinstance(m, _NORM)]
    if not norms or not isinstance(layers[-1], _LAST):
        raise InputError("model must end in a convolution or linear layer after a normalisation")
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.zero_()
        for weight, value in ((norms[-1].weight, gain), (norms[-1].bias, 1.0)):
            if weight is not None:
                weight.fill_(value)
    return model
