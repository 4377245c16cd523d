"""A training pipeline as its user describes it, and the mechanism that it amounts to.

The description holds what privacy depends on: images, crop, patch, sampler, batches, steps. What
one crop shows (`inclusion`), several crops, and Gaussian noise on the pixels come together in one
inclusion probability.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import get_args

from cropaudit.accounting.counts import Rates, averaged
from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop
from cropaudit.accounting.geometry import Crop, Patch, Rectangle, Several, Size
from cropaudit.accounting.inclusion import Inclusion, worst_inclusion
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.names import Clipped, SamplerName
from cropaudit.accounting.registry import patch_mechanism, sampler_names
from cropaudit.errors import InputError, require

__all__ = ["Pipeline", "augmentation_distance"]

_CHANNELS, _RANGE = 3, 255.0


@dataclass(frozen=True)
class Pipeline:
    """A training pipeline, as far as its privacy goes.

    Attributes:
        images: The distinct image sizes.
        crop: The law of the windows.
        patch: What may differ between neighbours; of several any one may.
        sampler: How batches are drawn.
        batch: Batch size in images, expected under Poisson sampling.
        records: Images in the data set.
        steps: Optimiser steps, or none when epochs are given.
        epochs: Epochs, each of ceil(records / batch) steps, or of floor with ``drop_last``, as
            Opacus' DPDataLoader takes them; ceil never understates.
        drop_last: Whether the loader drops the last short batch. It decides how often a record
            takes part in a fixed order, and the rate at which Opacus' DPDataLoader samples: one
            over the loader's length.
        crops_per_image: Crops of one image in one step, K.
        clipped: Whether the K crops' gradients are averaged and then clipped ("together"), or
            clipped one by one and summed ("apart").
        augmentation: Deviation of Gaussian noise added to pixels of range 0 to 255, afresh in each
            step, or none. It hides the pixels of a patch, not its labels.
    """

    images: tuple[Size, ...]
    crop: CropLaw
    patch: Patch | Several | tuple[Patch | Several, ...]
    sampler: SamplerName
    batch: int
    records: int
    steps: int | None = None
    epochs: int | None = None
    drop_last: bool = False
    crops_per_image: int = 1
    clipped: Clipped = "together"
    augmentation: float | None = None

    def __post_init__(self) -> None:
        legal = sampler_names()
        require(self.sampler in legal, "sampler", f"one of {', '.join(legal)}", self.sampler)
        ways = get_args(Clipped)
        require(self.clipped in ways, "clipped", f"one of {', '.join(ways)}", self.clipped)
        require(self.crops_per_image >= 1, "crops per image", "at least 1", self.crops_per_image)
        if self.clipped == "apart" and self.crops_per_image > 1:
            # Crops that share one flip do not meet the patch independently of each other; where
            # borders are equal a flip makes no difference to any of them.
            alike = not _lopsided(self.crop, self.images)
            words = "0 where borders differ and several crops of an image are clipped apart"
            require(alike, "flip", words, "more")
        if self.augmentation is not None:
            given = self.augmentation
            require(0 < given < math.inf, "augmentation noise", "positive and finite", given)
            # Noise after padding or resizing falls afresh on every copy of a pixel, and an
            # adversary who averages copies sees through more of it than TV of one copy allows.
            copies = isinstance(self.crop, ResizedCrop)
            copies = copies or (isinstance(self.crop, Crop) and self.crop.mode != "constant")
            words = "left out where padding or resizing copies pixels"
            require(not copies, "augmentation noise", words, given)

    def steps_per_epoch(self) -> int:
        """Returns the batches of an epoch.

        Raises:
            InputError: If the batch does not fit the records.
        """
        require(self.records >= 1, "records", "at least 1", self.records)
        legal = f"between 1 and the {self.records} records"
        require(1 <= self.batch <= self.records, "batch", legal, self.batch)
        return self.records // self.batch if self.drop_last else -(-self.records // self.batch)

    def total_steps(self) -> int:
        """Returns the number of steps.

        Raises:
            InputError: If not exactly one of steps and epochs is given, or it is below 1.
        """
        if (self.steps is None) == (self.epochs is None):
            raise InputError("steps or epochs must be given, and not both")
        per_epoch = self.steps_per_epoch()
        if self.epochs is not None:
            require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
            return self.epochs * per_epoch
        assert self.steps is not None
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        return self.steps

    def epochs_begun(self) -> int:
        """Returns how many epochs begin: as often a record can take part in a fixed order."""
        return -(-self.total_steps() // self.steps_per_epoch())

    def worst(self) -> Inclusion:
        """Returns the worst case of one crop, over places, images and patches.

        Of alternative patches a rectangle that is larger than an image is cut to it there, as the
        box of an object in a larger image would be; it must fit one of the images.
        """
        return _worst(tuple(self.images), self.crop, self.patch)

    @property
    def patches(self) -> tuple[Patch | Several, ...]:
        """The patches of which any one may differ."""
        return self.patch if isinstance(self.patch, tuple) else (self.patch,)

    def shown(self, rho: Rates) -> Rates:
        """Returns the inclusion probability that the mechanism takes, from that of one crop.

        The patch matters if a crop shows it and noise on the pixels, if any, lets it through.

        Args:
            rho: Inclusion probabilities, one or an array.
        """
        if self.augmentation is not None:
            rho = rho * max(augmentation_distance(p, self.augmentation) for p in self.patches)
        return averaged(rho, self.crops_per_image if self.clipped == "together" else 1)

    def mechanism(self, noise_multiplier: float, rho: float | None = None) -> PatchMechanism:
        """Returns what this pipeline is.

        Args:
            noise_multiplier: In units of the clipping norm.
            rho: Inclusion probability of one crop; the worst case if none.
        """
        return patch_mechanism(
            self.sampler,
            noise_multiplier=noise_multiplier,
            batch=self.batch,
            records=self.records,
            inclusion=self.shown(self.worst().probability if rho is None else rho),
            steps=self.total_steps(),
            epochs=self.epochs_begun(),
            crops=1 if self.clipped == "together" else self.crops_per_image,
            drop_last=self.drop_last,
        )

    def with_changes(self, **changes: object) -> "Pipeline":
        """Returns the same pipeline but for some attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]


def _lopsided(crop: CropLaw, images: tuple[Size, ...]) -> bool:
    """Whether flips before the crop change how likely a window is to meet a place."""
    if not isinstance(crop, Crop):
        return False
    borders = [crop.borders(image) for image in images]
    across = crop.horizontal_flip > 0 and any(item.left != item.right for item in borders)
    return across or (crop.vertical_flip > 0 and any(b.top != b.bottom for b in borders))


# A sweep or a search asks many pipelines with the same images, crop and patch.
@lru_cache(maxsize=64)
def _worst(
    images: tuple[Size, ...],
    crop: CropLaw,
    patch: Patch | Several | tuple[Patch | Several, ...],
) -> Inclusion:
    if not isinstance(patch, tuple):
        return worst_inclusion(images, crop, patch)
    for one in patch:
        if not any(_cut(one, image) == one for image in images):
            largest = max(images, key=lambda image: image.height * image.width)
            require(False, "patch", f"at most the image {largest}", one)
    found = [
        worst_inclusion([image], crop, [_cut(one, image) for one in patch]) for image in images
    ]
    return max(found, key=lambda item: item.probability)


def _cut(patch: Patch | Several, image: Size) -> Patch | Several:
    if not isinstance(patch, Rectangle):
        return patch
    size = Size(min(patch.size.height, image.height), min(patch.size.width, image.width))
    return Rectangle(size)


def augmentation_distance(patch: Patch | Several, deviation: float) -> float:
    """Returns the total variation between any two contents of a patch under Gaussian noise.

    With probability one less that, noisy pixels can be coupled to be alike in both worlds: the
    second baseline of Durmaz et al. (2026), after Schuchardt et al. (2025).

    Args:
        patch: Which pixels may differ, each in 3 channels from 0 to 255.
        deviation: Of the noise, in the same units.

    >>> from cropaudit.accounting.geometry import Rectangle
    >>> round(augmentation_distance(Rectangle(Size(10, 10)), 2000.0), 6)
    0.730486
    """
    one, count = (patch.patch, patch.count) if isinstance(patch, Several) else (patch, 1)
    pixels = count * int(one.mask().sum())
    distance = _RANGE * math.sqrt(_CHANNELS * pixels)
    # 2 Phi(x) - 1 without the subtraction, and a few last digits up.
    return min(1.0, math.erf(distance / (math.sqrt(8) * deviation)) * (1 + 1e-15))
