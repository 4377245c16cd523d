"""Which of Opacus' grad-sample modes to train a model in: one that is exact on it, and fits.

A mode may refuse a layer, die in its first backward pass, or take gradients wrongly and say
nothing. So before anything trains the mode in question is tried on two small images in float64,
beside autograd; what is found is kept for the process. Exact modes agree up to rounding: the choice
among them changes nothing but speed and memory.
"""

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from cropaudit.errors import InputError, require
from cropaudit.training.dpsgd.mode_trials import distance, drawn, peak_bytes, take, truth
from cropaudit.training.models.build import GradSampleMode, recipe

__all__ = ["ALL_MODES", "EXACT", "ModeChoice", "ModeTrial", "exact_mode", "fitting_mode"]

ALL_MODES: tuple[GradSampleMode, ...] = ("hooks", "ew", "functorch", "ghost")

# Relative, in float64: rounding stays below 1e-12, and what Opacus gets wrong lies above 1e-6.
EXACT = 1e-9
_SIDE = 32
_WORDS = 120
# Of the free memory of a GPU, and of all the memory of a machine.
_GPU_SHARE, _MACHINE_SHARE = 0.8, 0.5


@dataclass(frozen=True)
class ModeTrial:
    """What one mode was seen to do.

    Attributes:
        mode: The mode.
        error: The largest difference from autograd's gradients of each image alone, relative, in
            float64; NaN if it refused.
        peak_bytes: Estimate of the memory that a step takes beside the model; 0 if not measured.
        note: Why it is not exact; empty if it is.
    """

    mode: GradSampleMode
    error: float = math.nan
    peak_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class ModeChoice:
    """The mode that a run trains in, and why.

    Attributes:
        mode: The choice.
        reason: One line for the report.
        trials: Of every mode whose memory was looked at.
    """

    mode: GradSampleMode
    reason: str
    trials: tuple[ModeTrial, ...] = ()


_SEEN: dict[tuple[str, int, GradSampleMode], ModeTrial] = {}


def exact_mode(name: str, model: nn.Module, wanted: GradSampleMode | None = None) -> ModeChoice:
    """Returns the wanted mode, or the recipe's, or the first one that is exact.

    Args:
        name: Of the model, as `recipe` knows it.
        model: As built; it is copied and not changed.
        wanted: The configured mode; None for the recipe's.

    Raises:
        InputError: If the wanted mode, or every mode, is not exact for this model.
    """
    first = recipe(name).mode if wanted is None else wanted
    refused = _tried(name, model, first).note
    if not refused:
        return ModeChoice(first, "the recipe's mode" if wanted is None else "as configured")
    others = [mode for mode in ALL_MODES if mode != first and not _tried(name, model, mode).note]
    if not others:
        words = "; ".join(f"{mode}: {_tried(name, model, mode).note}" for mode in ALL_MODES)
        raise InputError(f"model must be one with exact per-sample gradients, got {name}: {words}")
    if wanted is None:
        words = f"exact, which the recipe's mode {first} is not here: {refused}"
        return ModeChoice(others[0], words)
    legal = f"one of {', '.join(others)}, which are exact for {name}"
    raise InputError(f"grad_sample_mode must be {legal}, got {wanted}: {refused}")


def fitting_mode(
    name: str,
    model: nn.Module,
    crop: tuple[int, int],
    classes: int,
    batch: int,
    *,
    modes: Sequence[GradSampleMode] = ALL_MODES,
    room: int | None = None,
) -> ModeChoice:
    """Returns the exact mode that `exact_mode` does if it fits the memory, else the smallest one.

    Args:
        name: Of the model.
        model: As built, on the device of the run; it is copied and not changed.
        crop: Height and width of the images, in pixels.
        classes: Number of classes, K.
        batch: Images that pass through the model at once.
        modes: Those to choose from.
        room: Bytes that a step may take beside the model; unless given, four fifths of what is free
            on a GPU, or half of the machine's.

    Raises:
        InputError: If no mode is exact for this model.
    """
    require(batch >= 1, "batch", "at least 1", batch)
    device = next(model.parameters()).device
    space = _room(device) if room is None else room
    first = exact_mode(name, model)
    trials: list[ModeTrial] = []
    for mode in (first.mode, *(one for one in modes if one != first.mode)):
        trial = _tried(name, model, mode)
        if not trial.note:
            one, two = (
                peak_bytes(model, mode, drawn(count, crop, classes, device=device))
                for count in (1, 2)
            )
            trial = replace(trial, peak_bytes=one + (batch - 1) * max(0, two - one))
        trials.append(trial)
        if mode == first.mode and trial.peak_bytes <= space:
            words = f"{first.reason}; exact, and takes {_gib(trial.peak_bytes)}"
            return ModeChoice(mode, words, tuple(trials))
    least = min((trial for trial in trials if not trial.note), key=lambda trial: trial.peak_bytes)
    words = f"exact, and takes the least memory: {_gib(least.peak_bytes)} of {_gib(space)}"
    return ModeChoice(least.mode, words, tuple(trials))


def _tried(name: str, model: nn.Module, mode: GradSampleMode) -> ModeTrial:
    key = name, sum(p.numel() for p in model.parameters() if p.requires_grad), mode
    if key not in _SEEN:
        _SEEN[key] = _trial(copy.deepcopy(model).double().train(), mode)
    return _SEEN[key]


def _trial(precise: nn.Module, mode: GradSampleMode) -> ModeTrial:
    device = next(precise.parameters()).device
    blank = torch.zeros(1, 3, _SIDE, _SIDE, dtype=torch.float64, device=device)
    with torch.no_grad():
        classes = precise(blank).shape[1]
    images = drawn(2, (_SIDE, _SIDE), classes, dtype=torch.float64, device=device)
    right = truth(precise, images)
    try:
        error = distance(take(precise, mode, images, right.bound), right.taken)
    except Exception as refusal:  # Opacus and torch refuse in many ways.
        words = " ".join(str(refusal).split())[:_WORDS]
        return ModeTrial(mode, note=f"{type(refusal).__name__}: {words}")
    note = "" if error <= EXACT else f"its gradients are off by {error:.1g} of their norm"
    return ModeTrial(mode, error, note=note)


def _room(device: torch.device) -> int:
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_MACHINE_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _gib(count: int) -> str:
    return f"{count / 2**30:.2g} GiB"
