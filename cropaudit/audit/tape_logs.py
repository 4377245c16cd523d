"""From a run's tape to the logs that `cropaudit certify` reads: its noise, batches and windows.

Two kinds of noise logs: what the tape says was drawn (`noise_log`), and what was found in the noisy
sums once the clipped gradients were taken off (`ResidualNoise`), which a wrong tape cannot hide.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Patch, Size
from cropaudit.audit.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.errors import require
from cropaudit.training.atomic import write_atomic
from cropaudit.training.cutting import shows
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView
from cropaudit.training.replay import ClipRule, clean_sum
from cropaudit.training.samplers import Poisson
from cropaudit.training.tape import Tape

__all__ = ["PatchPlace", "ResidualNoise", "Trial", "inclusion_log", "noise_log", "trials"]
__all__ += ["write_logs"]

_COORDINATES = 64


@dataclass(frozen=True)
class PatchPlace:
    """Where a patch stands, chosen without a look at the tape.

    Attributes:
        record: Index of the image.
        row: Of the patch's top left.
        column: Likewise.
    """

    record: int
    row: int
    column: int


@dataclass(frozen=True)
class Trial:
    """One step of one place.

    Attributes:
        step: From 0.
        included: Whether the batch held the record.
        met: Windows that met the patch; 0 or 1, whether any did, where the crops' gradients are
            averaged.
        record: Index of the image.
    """

    step: int
    included: bool
    met: int
    record: int = 0


def trials(
    tape: Tape, places: Sequence[PatchPlace], sizes: Sequence[Size], patch: Patch
) -> list[Trial]:
    """Returns every step of every place.

    Args:
        tape: Of the run.
        places: Where the patch stands; several only under Poisson sampling, and in different
            records, for others depend on one another.
        sizes: Of each image of the data set.
        patch: The patch.

    Raises:
        InputError: If trials would depend on one another, or a patch leaves its image.
    """
    records = {place.record for place in places}
    independent = len(places) == 1 or isinstance(tape.facts.sampling, Poisson)
    require(independent and len(records) == len(places) > 0, "places", _LEGAL, len(places))
    return [trial for place in places for trial in _of_place(tape, place, sizes, patch)]


def inclusion_log(tape: Tape, found: Sequence[Trial]) -> InclusionLog:
    """Returns the counts of some trials of a tape."""
    included = sum(trial.included for trial in found)
    drawn = included * _crops(tape)
    windows = Tally(sum(trial.met for trial in found), drawn) if drawn else None
    return InclusionLog(Tally(included, len(found)), windows)


def noise_log(
    tape: Tape, shapes: Sequence[torch.Size], *, coordinates: int = _COORDINATES, seed: int = 0
) -> NoiseLog:
    """Draws a tape's noise again, in some coordinates that are chosen at random.

    Args:
        tape: Of the run.
        shapes: Of the trainable parameters, in their order.
        coordinates: How many, the same in all steps.
        seed: Of their choice.
    """
    chosen = _chosen(sum(shape.numel() for shape in shapes), coordinates, seed)
    steps = [
        torch.cat([part.flatten() for part in tape.noise(step, shapes)]).cpu()[chosen].numpy()
        for step in range(tape.steps)
    ]
    return NoiseLog.of(np.stack(steps), tape.facts.max_grad_norm)


class ResidualNoise:
    """Watches a run and logs what its noisy sums hold beside the clipped gradients.

    Pass it as the observer of `train`. It takes every gradient a second time, so that the run takes
    about twice as long.
    """

    def __init__(
        self,
        data: SegmentationData,
        spec: DpSgdSpec,
        *,
        coordinates: int = _COORDINATES,
        seed: int = 0,
    ) -> None:
        """Prepares to watch.

        Args:
            data: As trained on.
            spec: Of the run: its crop, its clip and its crops an image.
            coordinates: How many are logged, chosen at random, the same in all steps.
            seed: Of their choice.
        """
        self._data, self._rule = data, ClipRule.of(spec)
        self._coordinates, self._seed = coordinates, seed
        self._steps: list[NDArray[np.float64]] = []

    def __call__(self, view: StepView) -> None:
        """Logs one step."""
        clean = clean_sum(view.model, self._data, self._rule, view.indices, view.windows)
        left = (view.noisy_sum.double() - clean.double()).cpu()
        chosen = _chosen(left.numel(), self._coordinates, self._seed)
        self._steps.append(left[chosen].numpy())

    def log(self) -> NoiseLog:
        """Returns what was logged so far."""
        return NoiseLog.of(np.stack(self._steps), self._rule.max_grad_norm)


def write_logs(folder: Path, noise: NoiseLog, found: Sequence[Trial]) -> tuple[Path, Path]:
    """Writes ``noise.npy`` and ``inclusion.csv``, as ``cropaudit certify`` reads them.

    Returns:
        The two paths. The noise is in units of the clipping norm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    array, table = io.BytesIO(), io.StringIO()
    np.save(array, noise.samples, allow_pickle=False)
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("step", "record", "included", "met"))
    writer.writerows((x.step, x.record, int(x.included), x.met) for x in found)
    paths = folder / "noise.npy", folder / "inclusion.csv"
    write_atomic(paths[0], array.getvalue())
    write_atomic(paths[1], table.getvalue().encode())
    return paths


_LEGAL = "one, or under Poisson sampling any number in different records"


def _crops(tape: Tape) -> int:
    """Returns the windows that one inclusion draws, as the accountant counts them."""
    return tape.facts.crops_per_image if tape.facts.clipped == "apart" else 1


def _of_place(tape: Tape, place: PatchPlace, sizes: Sequence[Size], patch: Patch) -> list[Trial]:
    crops, size = tape.facts.crops_per_image, sizes[place.record]
    pixels = _pixels(place, size, patch)
    found = []
    for step in range(tape.steps):
        batch = tape.batch(step)
        if place.record not in batch:
            found.append(Trial(step, False, 0, place.record))
            continue
        first = batch.index(place.record) * crops
        windows = tape.windows_of(step)[first : first + crops]
        met = sum(shows(window, tape.facts.crop, pixels) for window in windows)
        found.append(Trial(step, True, min(met, _crops(tape)), place.record))
    return found


def _pixels(place: PatchPlace, size: Size, patch: Patch) -> Tensor:
    """Returns which pixels of the image may differ, shape (H, W)."""
    mask = patch.mask()
    height, width = mask.shape
    fits = 0 <= place.row <= size.height - height and 0 <= place.column <= size.width - width
    require(fits, "patch place", f"within the image {size}", (place.row, place.column))
    pixels = torch.zeros(size.height, size.width, dtype=torch.bool)
    pixels[place.row : place.row + height, place.column : place.column + width] = torch.from_numpy(
        mask
    )
    return pixels


def _chosen(count: int, coordinates: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:coordinates]
