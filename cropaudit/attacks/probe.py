"""The pipeline probe: the strongest adversary, through the real sampler, crop, clipping and noise.

A slot is a record whose patch holds content A or B by a fair coin. Each slot has its own direction
in parameter space, and the probe model's per-sample gradient along it is large and points up if the
window shows A, down if it shows B, and to ``miss_gradient`` if the window misses the patch: the
worst case of the bounds. Opacus clips it, sums, and adds noise; the adversary sees every noisy sum
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

from cropaudit.accounting.geometry import Crop, Patch, Size
from cropaudit.accounting.pairs import StepPair
from cropaudit.errors import require
from cropaudit.training.canaries import trimmed
from cropaudit.training.crops import JointRandomCrop
from cropaudit.training.private_step import quiet_backward
from cropaudit.training.samplers import Cyclic, FixedSize, Poisson, Sampling, Shuffle, batches
from cropaudit.training.streams import spawn_seeds

__all__ = ["Probe", "ProbeScores", "run_probe"]

_BLOCK = 500  # slots that share one parameter vector; bounds memory, changes no law
_GAIN = 10.0  # gradient norm over the clip, so that clipping is at work in every row
_CODE_A, _CODE_B = 2, 1


@dataclass(frozen=True)
class Probe:
    """What a probe plays.

    Attributes:
        image: Size of the slots' images.
        position: Row and column of the patch's top left.
        patch: What differs between the worlds.
        crop: Window and padding.
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
    """

    image: Size
    position: tuple[int, int]
    patch: Patch
    crop: Crop
    sampling: Sampling
    records: int
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    pairs: tuple[StepPair, ...]
    slots: int
    seed: int
    miss_gradient: float = -1.0
    different: bool = True

    def __post_init__(self) -> None:
        require(self.slots >= 20, "probe slots", "at least 20", self.slots)
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        height, width = trimmed(self.patch).shape
        row, column = self.position
        fits = 0 <= row <= self.image.height - height and 0 <= column <= self.image.width - width
        require(fits, "patch position", f"within the image {self.image}", self.position)
        legal = self.miss_gradient in (-1.0, 0.0)
        require(legal, "miss gradient", "0 or -1", self.miss_gradient)


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """The scores of every slot.

    Attributes:
        scores: Sums of per-step log-likelihood ratios, shape (pairs, slots).
        member: Whether the slot held A, shape (slots,).
        hits: Steps in which the slot's window was drawn and met the patch, shape (slots,).
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
        self.crop = JointRandomCrop(spec.crop)
        self.worlds = [_slot_image(spec, code) for code in (_CODE_B, _CODE_A)]
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
        if not indices:
            return torch.zeros(0), torch.zeros(0, dtype=torch.long)
        members = self.member[indices].tolist()
        windows = []
        for member in members:
            image, mask = self.worlds[int(member and self.spec.different)]
            windows.append(self.crop(image, mask, self.crops)[0])
        shown = torch.stack(windows).amax(dim=(1, 2, 3))
        values = torch.tensor([self.spec.miss_gradient, -1.0, 1.0])
        return values[shown.long()], (shown > 0).long()

    def _with_substitutes(self, slots: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Fills fixed-size batches: where a slot's record is absent another one gives -1.

        The other B - 1 records give -1 as well, in both worlds alike: a constant that the adversary
        knows and takes off, so their rows are left out.
        """
        if not isinstance(self.spec.sampling, FixedSize):
            return slots, signal
        rows = torch.full((self.slots,), -1.0)
        rows[slots] = signal
        return torch.arange(self.slots), rows

    def _noisy_sum(self, slots: Tensor, signal: Tensor) -> Tensor:
        """Does one private step; returns each slot's coordinate of the sum, in units of C."""
        spec = self.spec
        self.optimizer.zero_grad(set_to_none=True)
        weight = next(self.model.parameters())
        if len(slots) == 0:
            weight.grad_sample = weight.new_zeros((0, *weight.shape))  # type: ignore[attr-defined]
        else:
            inputs = torch.zeros(len(slots), self.slots)
            inputs[torch.arange(len(slots)), slots] = signal * (_GAIN * spec.max_grad_norm)
            with quiet_backward():
                torch.autograd.backward(self.model(inputs).sum())
        self.optimizer.step()
        assert weight.grad is not None
        seen: Tensor = weight.grad[0].detach() / spec.max_grad_norm
        return seen * float(self.optimizer.expected_batch_size)


def _slot_image(spec: Probe, code: int) -> tuple[Tensor, Tensor]:
    """Returns an image that is empty but for the patch, and its mask."""
    image = torch.zeros(1, spec.image.height, spec.image.width, dtype=torch.uint8)
    row, column = spec.position
    pixels = trimmed(spec.patch).to(torch.uint8) * code
    height, width = pixels.shape
    image[0, row : row + height, column : column + width] = pixels
    return image, image[0].clone()


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
