"""The models beside the private one: without noise, and without credit for the crop.

Both see the batches and the windows of the private run, so that their mIoU differs from its by what
noise costs, and by what accounting for the crop is worth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from cropaudit.accounting.accountant import calibrate_noise, epsilon_at
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.errors import require
from cropaudit.training.data import SegmentationData
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec, Trained, train
from cropaudit.training.utility import IntersectionOverUnion, mean_iou

__all__ = ["Twin", "Twins", "train_twins", "uncredited_noise"]

_NO_CLIP = 1e30  # above every norm, and far enough below what float32 holds


@dataclass(frozen=True, eq=False)
class Twin:
    """A model beside the private one.

    Attributes:
        spec: How it was trained.
        trained: The model.
        utility: On the held-out images.
    """

    spec: DpSgdSpec
    trained: Trained
    utility: IntersectionOverUnion


@dataclass(frozen=True, eq=False)
class Twins:
    """The models beside the private one.

    Attributes:
        quiet: Without noise, so without privacy.
        uncredited: With the noise that the same epsilon takes if crops are given no credit; none
            if that was not asked for.
    """

    quiet: Twin
    uncredited: Twin | None


def uncredited_noise(mechanism: PatchMechanism, delta: float) -> float:
    """Returns the noise multiplier that a claim takes without its crop.

    Args:
        mechanism: With its crop: its epsilon is the claim.
        delta: Of the claim.
    """
    return calibrate_noise(mechanism.without_crop(), delta, epsilon_at(mechanism, delta))


def train_twins(
    data: SegmentationData,
    spec: DpSgdSpec,
    validation: SegmentationData,
    *,
    uncredited: float | None = None,
    clip_quiet: bool = True,
    device: torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> Twins:
    """Trains the models beside a private one, on the same batches and windows.

    Args:
        data: As the private one is trained on.
        spec: Of the private run.
        validation: Held-out images.
        uncredited: Noise multiplier of the model without credit for the crop; see
            `uncredited_noise`. None to leave that model out.
        clip_quiet: Whether the model without noise clips gradients nevertheless.
        device: As for `train`.
        progress: Called after each step with the number of steps done, of all models together.

    Raises:
        InputError: If the noise without credit is below the private run's.
    """
    if uncredited is not None:
        least = spec.noise_multiplier
        require(uncredited >= least, "uncredited", f"at least the run's {least}", uncredited)
    clip = spec.max_grad_norm if clip_quiet else _NO_CLIP

    def twin(chosen: DpSgdSpec, before: int) -> Twin:
        report = None if progress is None else (lambda done: progress(before + done))
        with named_run(f"twin of noise multiplier {chosen.noise_multiplier:g}"):
            trained = train(data, chosen, device=device, progress=report)
        return Twin(chosen, trained, mean_iou(trained.model, validation))

    quiet = twin(replace(spec, noise_multiplier=0.0, max_grad_norm=clip), 0)
    if uncredited is None:
        return Twins(quiet, None)
    return Twins(quiet, twin(replace(spec, noise_multiplier=uncredited), spec.steps))
