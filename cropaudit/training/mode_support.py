"""Which of Opacus' grad-sample modes a model is offered: those seen to be exact on it.

A mode may refuse a layer, die in its first backward pass, or take gradients wrongly and say
nothing. So before anything trains the mode in question is tried on two small images in float64,
beside autograd; what is found is kept for the process.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.mode_trials import distance, drawn, take, truth
from cropaudit.training.models import GradSampleMode, recipe

__all__ = ["ALL_MODES", "EXACT", "Offered", "offered_mode", "refusal_words"]

ALL_MODES: tuple[GradSampleMode, ...] = ("hooks", "ew", "functorch", "ghost")

# Relative, in float64: rounding stays below 1e-12, and what Opacus gets wrong lies above 1e-6.
EXACT = 1e-9
_SIDE = 32
_WORDS = 120
_SEEN: dict[tuple[str, int, GradSampleMode], str] = {}


@dataclass(frozen=True)
class Offered:
    """A mode that is exact for a model, and why it is the one."""

    mode: GradSampleMode
    reason: str


def offered_mode(name: str, model: nn.Module, wanted: GradSampleMode | None = None) -> Offered:
    """Returns the wanted mode, or the recipe's, or the first one that is exact.

    Args:
        name: Of the model, as `recipe` knows it.
        model: As built; it is copied and not changed.
        wanted: The configured mode; None for the recipe's.

    Raises:
        InputError: If the wanted mode, or every mode, is not exact for this model.
    """
    first = recipe(name).mode if wanted is None else wanted
    refused = _refusal(name, model, first)
    if not refused:
        return Offered(first, "the recipe's mode" if wanted is None else "as configured")
    others = [mode for mode in ALL_MODES if mode != first and not _refusal(name, model, mode)]
    if not others:
        words = "; ".join(f"{mode}: {_refusal(name, model, mode)}" for mode in ALL_MODES)
        raise InputError(f"model must be one with exact per-sample gradients, got {name}: {words}")
    if wanted is None:
        return Offered(others[0], f"exact, which the recipe's mode {first} is not here: {refused}")
    legal = f"one of {', '.join(others)}, which are exact for {name}"
    raise InputError(f"grad_sample_mode must be {legal}, got {wanted}: {refused}")


def refusal_words(refusal: Exception) -> str:
    """Returns on one short line what Opacus or torch said."""
    return f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:_WORDS]}"


def _refusal(name: str, model: nn.Module, mode: GradSampleMode) -> str:
    """Returns why a mode is not offered; empty if it is exact."""
    key = name, sum(p.numel() for p in model.parameters() if p.requires_grad), mode
    if key not in _SEEN:
        _SEEN[key] = _tried(copy.deepcopy(model).double(), mode)
    return _SEEN[key]


def _tried(precise: nn.Module, mode: GradSampleMode) -> str:
    device = next(precise.parameters()).device
    blank = torch.zeros(1, 3, _SIDE, _SIDE, dtype=torch.float64, device=device)
    with torch.no_grad():
        classes = precise(blank).shape[1]
    images = drawn(2, (_SIDE, _SIDE), classes, dtype=torch.float64, device=device)
    right = truth(precise, images)
    try:
        error = distance(take(precise, mode, images, right.bound), right.taken)
    except Exception as refusal:  # Opacus and torch refuse in many ways.
        return refusal_words(refusal)
    return "" if error <= EXACT else f"its gradients are off by {error:.1g} of their norm"
