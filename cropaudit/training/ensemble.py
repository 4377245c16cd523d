"""Many small models trained at once: stacked parameters, one vectorised gradient for all.

Member m is distributed exactly as the single run ``train(pool.take(variants[m]), spec)`` at the
seed ``seeds[m]``: it has streams of its own for weights, batches, windows and noise, drawn in the
same order, so that it repeats that run up to the rounding of float32. What is shared is arithmetic
only: the images of all batches of a step are differentiated together, each at its own parameters.

Assumes a uniform crop, one crop an image, and SGD on the noisy mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import InputError, require
from cropaudit.training.crops import JointRandomCrop, Window
from cropaudit.training.data import SegmentationData
from cropaudit.training.divergence import require_finite_rows
from cropaudit.training.dpsgd import DpSgdSpec, pick_device
from cropaudit.training.models import build_model
from cropaudit.training.pool import ImagePool
from cropaudit.training.samplers import batches, expected_batch
from cropaudit.training.schedules import learning_rates
from cropaudit.training.stacked import StackedModels
from cropaudit.training.streams import spawn_seeds, step_seed

__all__ = ["EnsembleStep", "Members", "TrainedEnsemble", "train_ensemble"]


@dataclass(frozen=True, eq=False)
class Members:
    """What each model trains on: records chosen from one pool, so that worlds share images.

    Attributes:
        pool: All images that any member may hold.
        variants: Index into the pool of every member's every record, shape (M, N).
        seeds: Of all draws of each member, M of them.
        first: The number of the first member, where these are some of many.
    """

    pool: SegmentationData
    variants: NDArray[np.int64]
    seeds: Sequence[int]
    first: int = 0

    def __post_init__(self) -> None:
        shape = self.variants.shape
        require(len(shape) == 2 and shape[0] >= 1, "variants", "of shape (members, records)", shape)
        require(len(self.seeds) == shape[0], "seeds", f"{shape[0]}, one a member", len(self.seeds))
        low, high = int(self.variants.min()), int(self.variants.max())
        legal = f"indices below the pool's {len(self.pool)} images"
        require(low >= 0 and high < len(self.pool), "variants", legal, (low, high))

    def __len__(self) -> int:
        return len(self.variants)

    def part(self, chosen: slice) -> "Members":
        """Returns some of the members; ``chosen`` has a step of 1."""
        first = self.first + chosen.indices(len(self))[0]
        kept = self.variants[chosen], self.seeds[chosen]
        return replace(self, variants=kept[0], seeds=kept[1], first=first)


@dataclass(frozen=True, eq=False)
class EnsembleStep:
    """One step of all members, as an observer sees it before the update.

    Attributes:
        step: From 0.
        parameters: Shape (M, P), before the update; to be read only.
        noisy_sum: Sums of clipped gradients plus noise, shape (M, P).
        member: Which model each row of a batch belongs to, shape (R,).
        record: Its record, shape (R,).
        windows: Its window, R of them.
        clipped: Its clipped gradient, shape (R, P).
    """

    step: int
    parameters: Tensor
    noisy_sum: Tensor
    member: Tensor
    record: Tensor
    windows: tuple[Window, ...]
    clipped: Tensor


@dataclass(frozen=True, eq=False)
class TrainedEnsemble:
    """The result of a run.

    Attributes:
        models: The architecture, to be called at any parameters.
        parameters: Final ones, shape (M, P).
        initial: Those at the start, shape (M, P).
    """

    models: StackedModels
    parameters: Tensor
    initial: Tensor

    def model(self, member: int) -> nn.Module:
        """Returns one member as a module in evaluation mode; the next call changes it again."""
        self.models.load(self.parameters[member])
        return self.models.skeleton.eval()


def train_ensemble(
    members: Members,
    spec: DpSgdSpec,
    *,
    device: torch.device | None = None,
    observe: Callable[[EnsembleStep], None] | None = None,
    progress: Callable[[int], None] | None = None,
    initial: Tensor | None = None,
) -> TrainedEnsemble:
    """Trains all members together.

    Args:
        members: What they train on, and their seeds.
        spec: The run, but for its seed.
        device: `pick_device` unless given.
        observe: Called in each step, before the update.
        progress: Called after each step with the number of steps done.
        initial: Initial parameters of all members, shape (P,) or (M, P); drawn from each member's
            own seed unless given.

    Raises:
        InputError: If the crop does not fit an image, the batch the data, or the run is of a kind
            that is not vectorised.
        Diverged: If a member's sum, weights or answers are no longer finite.
    """
    run = _Run(members, spec, device or pick_device(), initial)
    start = run.parameters.clone()
    for step in range(spec.steps):
        run.step(step, observe)
        if progress is not None:
            progress(step + 1)
    return TrainedEnsemble(run.models, run.parameters, start)


class _Run:
    """The state of all members."""

    def __init__(
        self, members: Members, spec: DpSgdSpec, device: torch.device, initial: Tensor | None
    ) -> None:
        self.members, self.spec, self.device = members, spec, device
        crop = _uniform_crop(spec)
        self.pool, self.crop = ImagePool(members.pool, crop), JointRandomCrop(crop)
        self.rates = learning_rates(spec.schedule, spec.learning_rate, spec.steps)
        records = members.variants.shape[1]
        spawned = (spawn_seeds(np.random.SeedSequence(seed), 4) for seed in members.seeds)
        weights, samplers, crops, self.noise_seeds = map(list, zip(*spawned, strict=True))
        self.plans = [
            batches(spec.sampling, records, spec.steps, torch.Generator().manual_seed(seed))
            for seed in samplers
        ]
        self.windows = [torch.Generator().manual_seed(seed) for seed in crops]
        self.expected = expected_batch(spec.sampling, records)
        self.models, self.parameters = self._build(weights, initial)
        self.velocity = torch.zeros_like(self.parameters) if spec.momentum else None
        self._shown: Tensor | None = None

    def _build(self, seeds: list[int], initial: Tensor | None) -> tuple[StackedModels, Tensor]:
        classes = len(self.members.pool.classes)
        models = StackedModels(self._model(classes, seeds[0]).to(self.device))
        if initial is not None:
            rows = initial.to(self.device).expand(len(self.members), models.size).clone()
            return models, rows
        drawn = (self._model(classes, seed) for seed in seeds)
        return models, torch.stack([models.flatten(model) for model in drawn]).to(self.device)

    def _model(self, classes: int, seed: int) -> nn.Module:
        spec = self.spec
        return build_model(spec.model, classes, seed, norm=spec.norm, weights=spec.weights)

    def step(self, step: int, observe: Callable[[EnsembleStep], None] | None) -> None:
        """Does one update of every member."""
        member, record, windows = self._draw()
        images, masks = self.pool.cut(self.members.variants[member, record], windows)
        rows = torch.from_numpy(member).to(self.device)
        clipped = self.models.clipped(self.parameters[rows], images, masks, self.spec.max_grad_norm)
        noisy = self._noise(step).index_add_(0, rows, clipped)
        self._require_finite(noisy, "the noisy sum is", step)
        if observe is not None:
            shown = torch.from_numpy(record).to(self.device)
            observe(EnsembleStep(step, self.parameters, noisy, rows, shown, windows, clipped))
        self._update(noisy / self.expected, self.rates[step])
        self._require_finite(self.parameters, "the weights are", step)
        self._shown = images[:1] if len(images) else self._shown
        if step + 1 == self.spec.steps and self._shown is not None:
            # Weights that are just finite: what they answer need not be.
            shown = self._shown.expand(len(self.parameters), -1, -1, -1)
            answers = self.models.logits(self.parameters, shown)
            self._require_finite(answers, "the trained model's answers are", step)

    def _require_finite(self, values: Tensor, what: str, step: int) -> None:
        """Raises if a member's values are not finite."""
        rate, clip = self.rates[step], self.spec.max_grad_norm
        run = step, self.spec.steps
        require_finite_rows(values, what, *run, rate=rate, clip=clip, first=self.members.first)

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Window, ...]]:
        """Returns the step's rows: member, record and window of each image that takes part."""
        member: list[int] = []
        record: list[int] = []
        windows: list[Window] = []
        for number, plan in enumerate(self.plans):
            drawn = next(plan)
            member += [number] * len(drawn)
            record += drawn
            stream, variants = self.windows[number], self.members.variants[number]
            windows += [self.crop.window(self.pool.sizes[variants[one]], stream) for one in drawn]
        return np.array(member, dtype=np.int64), np.array(record, dtype=np.int64), tuple(windows)

    def _noise(self, step: int) -> Tensor:
        """Draws every member's noise as a single run does: parameter by parameter, in order."""
        noise = torch.zeros(self.parameters.shape, device=self.device)
        deviation = self.spec.noise_multiplier * self.spec.max_grad_norm
        if deviation == 0:
            return noise
        stream = torch.Generator(self.device)
        pieces = list(self.models.pieces(noise).values())
        for number, seed in enumerate(self.noise_seeds):
            stream.manual_seed(step_seed(seed, step))
            for piece in pieces:
                piece[number].normal_(0, deviation, generator=stream)
        return noise

    def _update(self, mean: Tensor, rate: float) -> None:
        if self.spec.weight_decay:
            mean = mean + self.spec.weight_decay * self.parameters
        if self.velocity is not None:
            # As torch.optim.SGD: the first velocity is the first gradient itself.
            mean = self.velocity.mul_(self.spec.momentum).add_(mean)
        self.parameters.sub_(mean, alpha=rate)


def _uniform_crop(spec: DpSgdSpec) -> Crop:
    """Returns the crop of a run that can be vectorised."""
    crop = spec.crop
    if not isinstance(crop, Crop):
        raise InputError(f"crop must be uniform in an ensemble, got {crop}")
    require(spec.crops_per_image == 1, "crops_per_image", "1 in an ensemble", spec.crops_per_image)
    require(spec.precision == "float32", "precision", "float32 in an ensemble", spec.precision)
    return crop
