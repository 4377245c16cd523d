"""What a run leaves for `cropaudit certify`: its noise as it was added, its batches and windows.

Noise is what a run's noisy sums hold beside the clipped gradients, in some coordinates that are
chosen at random: not what the transcript says was drawn, so that a wrong transcript hides nothing.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry.shapes import Patch, Size
from cropaudit.certificate.run_logs import InclusionLog, NoiseLog, Trial
from cropaudit.errors import require
from cropaudit.training.crops.cutting import shows
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.dpsgd.loop import DpSgdSpec, StepView
from cropaudit.training.dpsgd.replay import ClipRule, clean_sum
from cropaudit.training.sampling.samplers import Poisson
from cropaudit.training.transcript.transcript import Transcript

__all__ = ["PatchPlace", "ResidualNoise", "inclusion_bytes", "inclusion_log", "trials"]

_COORDINATES = 64
_FEWEST = 4  # coordinates, however many steps
_NUMBERS = 2**18  # of a log at most, about: a megabyte
_LEGAL = "one, or under Poisson sampling any number in different records"


class ResidualNoise:
    """Watches a run and logs its noise: pass it as the observer of `train`."""

    def __init__(
        self,
        spec: DpSgdSpec,
        data: SegmentationData | None = None,
        *,
        coordinates: int | None = None,
        seed: int = 0,
    ) -> None:
        """Prepares to watch.

        Args:
            spec: Of the run: its steps, its crop, its clip and its crops an image.
            data: As trained on, to take every gradient a second time, apart from the code that
                trains; the run then takes about twice as long. Without it the sum of clipped
                gradients is the optimiser's own.
            coordinates: How many are logged, the same in all steps; 64 unless given, or as many as
                a megabyte holds.
            seed: Of their choice.
        """
        fitting = max(_FEWEST, min(_COORDINATES, _NUMBERS // spec.steps))
        self._data, self._rule = data, ClipRule.of(spec)
        self._coordinates, self._seed = coordinates or fitting, seed
        self._steps: list[NDArray[np.float32]] = []

    def __call__(self, view: StepView) -> None:
        """Logs one step."""
        left = (view.noisy_sum.double() - self._clean(view).double()).cpu()
        stream = torch.Generator().manual_seed(self._seed)
        chosen = torch.randperm(left.numel(), generator=stream)[: self._coordinates]
        self._steps.append((left[chosen] / self._rule.max_grad_norm).float().numpy())

    def _clean(self, view: StepView) -> Tensor:
        if self._data is not None:
            return clean_sum(view.model, self._data, self._rule, view.indices, view.windows)
        assert view.clipped_sum is not None  # training tells every observer
        return view.clipped_sum()

    def log(self) -> NoiseLog:
        """Returns what was logged so far."""
        return NoiseLog.of(np.stack(self._steps))

    def data(self) -> bytes:
        """Returns the bytes of the ``.npy`` file that `NoiseLog.read` reads."""
        buffer = io.BytesIO()
        np.save(buffer, np.stack(self._steps), allow_pickle=False)
        return buffer.getvalue()


@dataclass(frozen=True)
class PatchPlace:
    """Where a patch stands, chosen without a look at the transcript.

    Attributes:
        record: Index of the image.
        row: Of the patch's top left.
        column: Likewise.
    """

    record: int
    row: int
    column: int


def trials(
    transcript: Transcript, places: Sequence[PatchPlace], sizes: Sequence[Size], patch: Patch
) -> list[Trial]:
    """Returns every step of every place.

    Args:
        transcript: Of the run.
        places: Where the patch stands; several only under Poisson sampling, and in different
            records, for others depend on one another.
        sizes: Of each image of the data set.
        patch: The patch.

    Raises:
        InputError: If trials would depend on one another, or a patch leaves its image.
    """
    records = {place.record for place in places}
    independent = len(places) == 1 or isinstance(transcript.facts.sampling, Poisson)
    require(independent and len(records) == len(places) > 0, "places", _LEGAL, len(places))
    return [trial for place in places for trial in _of_place(transcript, place, sizes, patch)]


def inclusion_log(transcript: Transcript, found: Sequence[Trial]) -> InclusionLog:
    """Returns the log of some trials of a transcript."""
    return InclusionLog.of(found, _crops(transcript))


def inclusion_bytes(found: Sequence[Trial]) -> bytes:
    """Returns the CSV file of some trials, which `InclusionLog.read` reads."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("step", "record", "included", "met"))
    writer.writerows((x.step, x.record, int(x.included), x.met) for x in found)
    return table.getvalue().encode()


def _crops(transcript: Transcript) -> int:
    """Returns the windows that one inclusion draws, as the accountant counts them."""
    return transcript.facts.crops_per_image if transcript.facts.clipped == "apart" else 1


def _of_place(
    transcript: Transcript, place: PatchPlace, sizes: Sequence[Size], patch: Patch
) -> list[Trial]:
    facts, name = transcript.facts, str(place.record)
    pixels, crops = _pixels(place, sizes[place.record], patch), transcript.facts.crops_per_image
    found = []
    for step in range(transcript.steps):
        batch, met = transcript.batch(step), 0
        included = place.record in batch
        if included:
            first = batch.index(place.record) * crops
            windows = transcript.windows_of(step)[first : first + crops]
            met = sum(shows(window, facts.crop, pixels) for window in windows)
        # Of crops whose gradients are averaged it counts whether any met the patch.
        found.append(Trial(step, included, min(met, _crops(transcript)), name))
    return found


def _pixels(place: PatchPlace, size: Size, patch: Patch) -> Tensor:
    """Returns which pixels of the image may differ, shape (H, W)."""
    mask = torch.from_numpy(patch.mask().copy())
    height, width = mask.shape
    fits = 0 <= place.row <= size.height - height and 0 <= place.column <= size.width - width
    require(fits, "patch place", f"within the image {size}", (place.row, place.column))
    pixels = torch.zeros(size.height, size.width, dtype=torch.bool)
    pixels[place.row : place.row + height, place.column : place.column + width] = mask
    return pixels
