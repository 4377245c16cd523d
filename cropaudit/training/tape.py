"""The tape of a run: what was drawn in every step, and how to draw its noise again.

Assumes that the noise of a step comes from a generator seeded with `step_seed` just before it, on
the run's device, parameter after parameter: any step's noise can then be drawn again alone. A tape
is for the auditor: whoever holds it and the weights can undo the privacy of the run.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.names import Clipped
from cropaudit.training.crops import Window
from cropaudit.training.samplers import Sampling
from cropaudit.training.streams import step_seed

__all__ = ["RunSeeds", "Tape", "TapeFacts", "TapeWriter", "names_digest"]


@dataclass(frozen=True)
class RunSeeds:
    """Seeds of a run's independent streams: initial weights, batches, windows, noise."""

    weights: int
    sampler: int
    crops: int
    noise: int


@dataclass(frozen=True)
class TapeFacts:
    """What is the same in all steps of a run.

    Attributes:
        seeds: Of its streams.
        sampling: How batches are drawn.
        crop: The law of the windows.
        records: Images in the data set.
        names: Digest of the images' names, in their order; see `names_digest`.
        expected_batch: Divisor of the noisy sums.
        noise_multiplier: In units of ``max_grad_norm``.
        max_grad_norm: C.
        learning_rates: Of every step.
        crops_per_image: K.
        clipped: How K crops of an image are clipped.
        device: Kind of the device that drew the noise: "cpu" or "cuda". Others draw other numbers.
    """

    seeds: RunSeeds
    sampling: Sampling
    crop: CropLaw
    records: int
    names: str
    expected_batch: float
    noise_multiplier: float
    max_grad_norm: float
    learning_rates: tuple[float, ...]
    crops_per_image: int
    clipped: Clipped
    device: str

    def noise_seed(self, step: int) -> int:
        """Returns the seed of one step's noise."""
        return step_seed(self.seeds.noise, step)


@dataclass(frozen=True, eq=False)
class Tape:
    """What a run drew.

    Attributes:
        facts: What is the same in all steps.
        offsets: Step t holds the images ``offsets[t]`` to ``offsets[t + 1] - 1``, shape (T + 1,).
        indices: The record of each, shape (n,).
        windows: Top, left, height and width of each window, shape (n, K, 4).
        flips: Whether the image's rows and columns were reversed first, shape (n, K, 2).
    """

    facts: TapeFacts
    offsets: NDArray[np.int64]
    indices: NDArray[np.int64]
    windows: NDArray[np.int64]
    flips: NDArray[np.bool_]

    @property
    def steps(self) -> int:
        """Number of steps, also of those over an empty batch."""
        return len(self.offsets) - 1

    def batch(self, step: int) -> tuple[int, ...]:
        """Returns the records of one step, in the order of its windows."""
        return tuple(self.indices[self._of(step)].tolist())

    def windows_of(self, step: int) -> tuple[Window, ...]:
        """Returns one step's windows, all K of the first record, then those of the next."""
        boxes = self.windows[self._of(step)].reshape(-1, 4).tolist()
        flips = self.flips[self._of(step)].reshape(-1, 2).tolist()
        return tuple(
            Window(top, left, rows, columns, Size(height, width))
            for (top, left, height, width), (rows, columns) in zip(boxes, flips, strict=True)
        )

    def noise(self, step: int, shapes: Sequence[torch.Size]) -> list[Tensor]:
        """Draws one step's noise again, as it was added to the sum of clipped gradients.

        Args:
            step: From 0.
            shapes: Of the trainable parameters, in their order.

        Returns:
            float32 tensors of these shapes, on the kind of device that drew them.
        """
        deviation = self.facts.noise_multiplier * self.facts.max_grad_norm
        generator = torch.Generator(self.facts.device).manual_seed(self.facts.noise_seed(step))
        where = generator.device
        if deviation == 0:
            return [torch.zeros(shape, device=where) for shape in shapes]
        return [
            torch.normal(0.0, deviation, shape, generator=generator, device=where)
            for shape in shapes
        ]

    def _of(self, step: int) -> slice:
        return slice(int(self.offsets[step]), int(self.offsets[step + 1]))


class TapeWriter:
    """Collects a tape, step by step."""

    def __init__(self, facts: TapeFacts) -> None:
        self._facts = facts
        self._offsets = [0]
        self._indices: list[int] = []
        self._boxes: list[tuple[int, int, int, int]] = []
        self._flips: list[tuple[bool, bool]] = []

    def add(self, indices: Sequence[int], windows: Sequence[Window]) -> None:
        """Adds one step: its records, and all their windows in that order, with their sizes."""
        self._indices.extend(indices)
        self._offsets.append(len(self._indices))
        for window in windows:
            assert window.size is not None
            self._boxes.append((window.top, window.left, window.size.height, window.size.width))
            self._flips.append((window.flipped_rows, window.flipped_columns))

    def tape(self) -> Tape:
        """Returns what was collected."""
        count, crops = len(self._indices), self._facts.crops_per_image
        return Tape(
            self._facts,
            np.array(self._offsets, dtype=np.int64),
            np.array(self._indices, dtype=np.int64),
            np.array(self._boxes, dtype=np.int64).reshape(count, crops, 4),
            np.array(self._flips, dtype=np.bool_).reshape(count, crops, 2),
        )


def names_digest(names: Sequence[str]) -> str:
    """Returns the SHA-256 of the images' names in their order, in hexadecimal digits.

    >>> names_digest(["a", "b"]) == names_digest(["b", "a"])
    False
    """
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
