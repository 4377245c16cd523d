"""The pipeline probe: the strongest adversary, through the real sampler, crop, clipping and noise.

A slot is a record whose patch holds content A or B by a fair coin. Each slot has its own direction
in parameter space, and the probe model's per-sample gradient along it is large and points up if the
window shows A, down if it shows B, and to ``miss_gradient`` if the window misses the patch: the
worst case of the bounds. Of several crops that are averaged, one that shows the patch outweighs all
that do not. Opacus clips it, sums, and adds noise; the adversary sees every noisy sum
and adds up the log-likelihood ratios of the steps. Under Poisson sampling the slots of one run are
independent of each other, for coins, batches, windows and noise are drawn apart for each of them;
under the other samplers every slot has a data set and a sampler of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Patch, Size
from cropaudit.accounting.names import Clipped
from cropaudit.accounting.privacy_loss.dominating_pairs import MixturePair, StepPair
from cropaudit.attacks.base import Game
from cropaudit.errors import require
from cropaudit.training.canaries import trimmed
from cropaudit.training.crops.cutting import random_crop
from cropaudit.training.dpsgd.private_step import average_crops, quiet_backward
from cropaudit.training.sampling.samplers import (
    Cyclic,
    FixedSize,
    Poisson,
    Sampling,
    Shuffle,
    batches,
)
from cropaudit.training.streams import spawn_seeds

__all__ = ["PROBE", "Probe", "ProbeScores", "run_probe"]

_BLOCK = 500  # slots that share one parameter vector; bounds memory, changes no law
_GAIN = 10.0  # gradient norm over the clip, so that clipping is at work in every row


@dataclass(frozen=True)
class Probe:
    """What a probe plays.

    Attributes:
        image: Size of the slots' images.
        position: Row and column of the patch's top left.
        patch: What differs between the worlds.
        crop: The law of the windows.
        sampling: The sampler under audit.
        records: Images in the audited data set.
        steps: Optimiser steps.
        noise_multiplier: What the optimiser is given; 0 for none.
        max_grad_norm: Clipping norm C.
        pairs: One-step pairs; the adversary scores every slot by the likelihood ratio of each.
        slots: Coins to draw.
        seed: Of all randomness.
        miss_gradient: Projection of a crop that misses, 0 or -1; -1 is the worst case.
        different: Whether A differs from B; if not, this is a null control.
        crops_per_image: Crops of one record in one step, K.
        clipped: How they are clipped.
    """

    image: Size
    position: tuple[int, int]
    patch: Patch
    crop: CropLaw
    sampling: Sampling
    records: int
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    pairs: tuple[StepPair | MixturePair, ...]
    slots: int
    seed: int
    miss_gradient: float = -1.0
    different: bool = True
    crops_per_image: int = 1
    clipped: Clipped = "together"

    def __post_init__(self) -> None:
        require(self.slots >= 20, "probe slots", "at least 20", self.slots)
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        height, width = trimmed(self.patch).shape
        row, column = self.position
        fits = 0 <= row <= self.image.height - height and 0 <= column <= self.image.width - width
        require(fits, "patch position", f"within the image {self.image}", self.position)
        legal = self.miss_gradient in (-1.0, 0.0)
        require(legal, "miss gradient", "0 or -1", self.miss_gradient)

    @property
    def averaged(self) -> int:
        """How many crops' gradients are averaged into one before it is clipped."""
        return self.crops_per_image if self.clipped == "together" else 1


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """The scores of every slot.

    Attributes:
        scores: Sums of per-step log-likelihood ratios, shape (pairs, slots).
        member: Whether the slot held A, shape (slots,).
        hits: Steps in which the slot was drawn and a window of it met the patch, shape (slots,).
    """

    scores: NDArray[np.float64]
    member: NDArray[np.bool_]
    hits: NDArray[np.int64]


def run_probe(spec: Probe, progress: Callable[[int], None] | None = None) -> ProbeScores:
    """Plays all slots.

    Args:
        spec: The game.
        progress: Called with the number of slots done.
    """
    with _one_thread():
        return _play(spec, progress)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to one thread: these tensors are so small that a second one only slows it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _play(spec: Probe, progress: Callable[[int], None] | None) -> ProbeScores:
    blocks = []
    for start in range(0, spec.slots, _BLOCK):
        slots = min(_BLOCK, spec.slots - start)
        blocks.append(_Block(spec, slots, np.random.SeedSequence([spec.seed, start])).play())
        if progress is not None:
            progress(start + slots)
    return ProbeScores(
        np.concatenate([block.scores for block in blocks], axis=1),
        np.concatenate([block.member for block in blocks]),
        np.concatenate([block.hits for block in blocks]),
    )


class _Block:
    """Slots that share one parameter vector, one coordinate each."""

    def __init__(self, spec: Probe, slots: int, seed: np.random.SeedSequence) -> None:
        self.spec, self.slots = spec, slots
        coins, sampler, crops, noise = (
            torch.Generator().manual_seed(value) for value in spawn_seeds(seed, 4)
        )
        self.member = torch.randint(2, (slots,), generator=coins).bool()
        self.sampler, self.crops = sampler, crops
        self.worlds = [_slot_image(spec, channel) for channel in (1, 0)]
        self.model, self.optimizer = _private_probe(spec, slots, noise)

    def play(self) -> ProbeScores:
        seen = np.zeros((self.spec.steps, self.slots))
        present = np.zeros((self.spec.steps, self.slots), dtype=bool)
        hits = torch.zeros(self.slots, dtype=torch.long)
        for step, indices in enumerate(self._participations()):
            slots = torch.tensor(indices, dtype=torch.long)
            signal, met = self._gradients(indices)
            hits[slots] += met
            present[step, indices] = True
            seen[step] = self._noisy_sum(*self._with_substitutes(slots, signal)).numpy()
        if not isinstance(self.spec.sampling, Shuffle | Cyclic):
            present[:] = True  # only a public order tells the adversary which steps count
        sums = [(pair.log_ratio(seen) * present).sum(axis=0) for pair in self.spec.pairs]
        return ProbeScores(np.stack(sums), self.member.numpy(), hits.numpy())

    def _participations(self) -> Iterator[list[int]]:
        """Returns, step by step, the slots whose record was drawn."""
        spec = self.spec
        if isinstance(spec.sampling, Poisson):
            yield from batches(spec.sampling, self.slots, spec.steps, self.sampler)
            return
        drawn = np.zeros((spec.steps, self.slots), dtype=bool)
        for slot in range(self.slots):  # record 0 of a data set and a sampler of its own
            plan = batches(spec.sampling, spec.records, spec.steps, self.sampler)
            drawn[:, slot] = [0 in batch for batch in plan]
        for row in drawn:
            yield np.flatnonzero(row).tolist()

    def _gradients(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Crops the drawn slots; returns their gradients' signs and whether the windows met."""
        crops = self.spec.crops_per_image
        if not indices:
            return torch.zeros(0, crops), torch.zeros(0, dtype=torch.long)
        windows = []
        for member in self.member[indices].tolist():
            world = self.worlds[int(member and self.spec.different)]
            for _ in range(crops):
                windows.append(random_crop(*world, self.spec.crop, self.crops)[0])
        # Whether each window reads A's pixels or B's, however faintly once they are resized.
        in_a, in_b = (torch.stack(windows).abs().amax(dim=(2, 3)) > 0).unbind(dim=1)
        met = in_a | in_b
        values = torch.where(met, 1.0 * in_a - 1.0 * in_b, self.spec.miss_gradient)
        return values.reshape(-1, crops), met.reshape(-1, crops).any(dim=1).long()

    def _with_substitutes(self, slots: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Fills fixed-size batches: where a slot's record is absent another one gives -1.

        The other B - 1 records give -1 as well, in both worlds alike: a constant that the adversary
        knows and takes off, so their rows are left out.
        """
        if not isinstance(self.spec.sampling, FixedSize):
            return slots, signal
        rows = torch.full((self.slots, self.spec.crops_per_image), -1.0)
        rows[slots] = signal
        return torch.arange(self.slots), rows

    def _noisy_sum(self, slots: Tensor, signal: Tensor) -> Tensor:
        """Does one private step; returns each slot's coordinate of the sum, in units of C."""
        spec, crops = self.spec, self.spec.crops_per_image
        self.optimizer.zero_grad(set_to_none=True)
        weight = next(self.model.parameters())
        if len(slots) == 0:
            weight.grad_sample = weight.new_zeros((0, *weight.shape))  # type: ignore[attr-defined]
        else:
            # In a mean over crops one that shows A outweighs all others, and none is lost.
            k = spec.averaged
            larger = torch.where(signal > 0, 2.0 * k * k, 1.0 * k) if k > 1 else torch.ones(())
            inputs = torch.zeros(signal.numel(), self.slots)
            rows = torch.arange(len(inputs))
            values = (signal * larger).flatten() * (_GAIN * spec.max_grad_norm)
            inputs[rows, slots.repeat_interleave(crops)] = values
            with quiet_backward():
                torch.autograd.backward(self.model(inputs).sum())
            average_crops([weight], spec.averaged)
        self.optimizer.step()
        assert weight.grad is not None
        seen: Tensor = weight.grad[0].detach() / spec.max_grad_norm
        return seen * float(self.optimizer.expected_batch_size)


def _slot_image(spec: Probe, channel: int) -> tuple[Tensor, Tensor]:
    """Returns an image (2, H, W) whose one channel shows the patch, and an empty mask."""
    image = torch.zeros(2, spec.image.height, spec.image.width)
    row, column = spec.position
    pixels = trimmed(spec.patch)
    height, width = pixels.shape
    image[channel, row : row + height, column : column + width] = pixels.float()
    return image, torch.zeros(image.shape[1:], dtype=torch.uint8)


def _private_probe(
    spec: Probe, slots: int, noise: torch.Generator
) -> tuple[nn.Module, DPOptimizer]:
    """Returns the probe model under Opacus: its per-sample gradient is its input."""
    model = nn.Linear(slots, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    wrapped = wrap_model(model, "hooks", loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1e-3),
        noise_multiplier=spec.noise_multiplier,
        max_grad_norm=spec.max_grad_norm,
        expected_batch_size=1,
        loss_reduction="mean",
        generator=noise,
    )
    return wrapped, optimizer


PROBE = Game(
    name="probe",
    title="Pipeline probe",
    adversary="sees every noisy sum of the real sampler, crop, clipping and noise, with gradients "
    "at the worst case of the bound",
    model="the pipeline (real sampler, crop, clipping and noise) with worst-case gradients in "
    "place of a model's",
    cost=lambda work: 0.0,
)
