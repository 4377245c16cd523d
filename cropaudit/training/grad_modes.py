"""Which of Opacus' grad-sample modes to train a model in: the fastest of those that are exact.

Measured on the model itself, at the size of its crops and on the device that it will train on. The
choice changes nothing but speed and memory: exact modes agree up to rounding. Measuring takes wall
time, so two runs may choose differently; a run that must repeat bit for bit names its mode.
"""

import copy
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from cropaudit.errors import InputError, require
from cropaudit.training.mode_support import ALL_MODES, EXACT, refusal_words
from cropaudit.training.mode_trials import (
    Images,
    distance,
    drawn,
    peak_bytes,
    take,
    timed,
    truth,
)
from cropaudit.training.models import GradSampleMode

__all__ = ["ALL_MODES", "ModeChoice", "ModeTrial", "choose_mode"]

# The recipe's mode stays unless another takes less than this share of its time.
_CLEARLY_FASTER = 0.9
# Checking one mode costs so many times one image's forward pass (two images there and back, in
# float64, alone and then in the mode).
_CHECK_COST = 36
# Of the free memory of a GPU, and of all the memory of a machine.
_GPU_SHARE, _MACHINE_SHARE = 0.8, 0.5


@dataclass(frozen=True)
class ModeTrial:
    """What one mode was seen to do.

    Attributes:
        mode: The mode.
        error: The largest difference from autograd's gradients of each image alone, relative, in
            float64; NaN if it refused or was not tried.
        seconds: Of one step on the batch; NaN if it was not timed.
        peak_bytes: Estimate of the memory that such a step takes beside the model.
        note: Why a figure is missing; empty if none is.
    """

    mode: GradSampleMode
    error: float = math.nan
    seconds: float = math.nan
    peak_bytes: int = 0
    note: str = ""

    @property
    def exact(self) -> bool:
        """Whether the mode's gradients are right."""
        return self.error <= EXACT


@dataclass(frozen=True)
class ModeChoice:
    """The mode that a run trains in, and why.

    Attributes:
        mode: The choice.
        reason: One line for the report.
        trials: Of every mode that was considered; empty if none was measured.
    """

    mode: GradSampleMode
    reason: str
    trials: tuple[ModeTrial, ...] = ()


def choose_mode(
    model: nn.Module,
    crop: tuple[int, int],
    classes: int,
    batch: int,
    *,
    default: GradSampleMode,
    device: torch.device,
    seconds: float = 10.0,
    memory: int | None = None,
    modes: Sequence[GradSampleMode] = ALL_MODES,
) -> ModeChoice:
    """Chooses the fastest mode that is exact for ``model`` and fits the memory.

    Args:
        model: In training mode, not under Opacus; it is copied and not changed.
        crop: Height and width of the images, in pixels.
        classes: Number of classes, K.
        batch: Images that pass through the model at once.
        default: The recipe's mode: taken where nothing can be measured, or nothing is clearly
            faster.
        device: Where the run trains.
        seconds: About how long to measure; 0 for not at all.
        memory: Bytes that a step may take beside the model; unless given, four fifths of what is
            free on a GPU, or half of the machine's.
        modes: Those to choose from.

    Raises:
        InputError: If no mode gives the right gradients.
    """
    require(batch >= 1, "batch", "at least 1", batch)
    require(default in modes, "default", f"one of {', '.join(modes)}", default)
    if seconds <= 0:
        return ModeChoice(default, "the recipe's mode; none was measured")
    deadline = time.perf_counter() + seconds
    room = _room(device) if memory is None else memory
    twin = copy.deepcopy(model).to(device).train()
    bench = _Bench(twin, crop, classes, batch, device, deadline, room)
    forward = _forward_seconds(bench)
    if _CHECK_COST * forward > seconds:
        words = f"one forward pass of one image takes {forward:.1g} s"
        return ModeChoice(default, f"the recipe's mode; none was measured, as {words}")
    trials = _checked(bench, (default, *(mode for mode in modes if mode != default)))
    if not any(trial.exact for trial in trials):
        words = "; ".join(f"{t.mode}: {t.note or f'off by {t.error:.1g}'}" for t in trials)
        raise InputError(f"model must be one with exact per-sample gradients, got {words}")
    return _decided(_raced(bench, trials), room)


@dataclass(frozen=True, eq=False)
class _Bench:
    """What all trials share; ``room`` in bytes, ``deadline`` on the performance counter."""

    model: nn.Module
    crop: tuple[int, int]
    classes: int
    batch: int
    device: torch.device
    deadline: float
    room: int

    def images(self, count: int, dtype: torch.dtype = torch.float32) -> Images:
        return drawn(count, self.crop, self.classes, dtype=dtype, device=self.device)

    def left(self) -> float:
        return self.deadline - time.perf_counter()


def _checked(bench: _Bench, order: Sequence[GradSampleMode]) -> list[ModeTrial]:
    """Compares each mode with autograd and estimates its memory."""
    precise = copy.deepcopy(bench.model).double()
    images = bench.images(2, torch.float64)
    right = truth(precise, images)
    trials: list[ModeTrial] = []
    for mode in order:
        if trials and bench.left() < 0:
            trials.append(ModeTrial(mode, note="not tried: the time was up"))
            continue
        try:
            error = distance(take(precise, mode, images, right.bound), right.taken)
            one, two = (peak_bytes(bench.model, mode, bench.images(n)) for n in (1, 2))
        except Exception as refusal:  # Opacus and torch refuse in many ways.
            trials.append(ModeTrial(mode, note=refusal_words(refusal)))
            continue
        peak = one + (bench.batch - 1) * max(0, two - one)
        trials.append(ModeTrial(mode, error, peak_bytes=peak))
    return trials


def _raced(bench: _Bench, trials: Sequence[ModeTrial]) -> list[ModeTrial]:
    """Times the exact modes that fit, all on one number of images, at most the batch."""
    runners = {t.mode for t in trials if t.exact and t.peak_bytes <= bench.room}
    count = 0
    raced = []
    for trial in trials:
        if trial.mode not in runners:
            raced.append(trial)
            continue
        if not count:
            count = _affordable(bench, trial.mode, len(runners))
        seconds = timed(bench.model, trial.mode, bench.images(count)) * bench.batch / count
        raced.append(replace(trial, seconds=seconds))
    return raced


def _affordable(bench: _Bench, mode: GradSampleMode, runners: int) -> int:
    """Returns how many images each mode can be timed on, twice, before the deadline."""
    single = timed(bench.model, mode, bench.images(1), repeats=1)
    return min(bench.batch, max(1, int(bench.left() / (2 * runners * single))))


def _decided(trials: Sequence[ModeTrial], room: int) -> ModeChoice:
    exact = [trial for trial in trials if trial.exact]
    timed_ones = [trial for trial in exact if not math.isnan(trial.seconds)]
    if not timed_ones:
        least = min(exact, key=lambda trial: trial.peak_bytes)
        words = f"exact, and takes the least memory of all: {_gib(least.peak_bytes)}"
        return ModeChoice(least.mode, f"{words}; none fits {_gib(room)}", tuple(trials))
    first, best = timed_ones[0], min(timed_ones, key=lambda trial: trial.seconds)
    # The recipe's mode is the first, and near ties are its own, so that repeats seldom differ.
    chosen = best if best.seconds < _CLEARLY_FASTER * first.seconds else first
    others = ", ".join(f"{t.mode} {t.seconds:.2g} s" for t in timed_ones if t is not chosen)
    words = f"exact, {chosen.seconds:.2g} s a step and {_gib(chosen.peak_bytes)}"
    return ModeChoice(
        chosen.mode, f"{words}; {others or 'no other is exact and fits'}", tuple(trials)
    )


def _forward_seconds(bench: _Bench) -> float:
    """Returns the time of one image's forward pass; the first one of two warms up."""
    images = bench.images(1)
    seconds = math.inf
    with torch.no_grad():
        for _ in range(2):
            start = time.perf_counter()
            float(bench.model(images.pixels).sum())  # waits for a GPU to finish
            seconds = min(seconds, time.perf_counter() - start)
    return seconds


def _room(device: torch.device) -> int:
    if device.type == "cuda":
        return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_MACHINE_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _gib(count: int) -> str:
    return f"{count / 2**30:.2g} GiB"
