"""How likely a random window is to meet a patch, for every place of the patch.

Assumes a window that is drawn without a look at the pixels, anew for each record and step, and a
patch that lies within the image. Under `Crop` the probabilities are exact for any shape and any
padding: what a window reads is a product of two intervals, so that windows are counted by the part
of the patch that they read, axis by axis, and these few parts are looked up in the mask. Under
`ResizedCrop` they are exact for rectangles, and upper bounds elsewhere; every result says which.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.counts import averaged
from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.footprints import ClippedFootprints, axis_footprints, clipped, hits
from cropaudit.accounting.geometry import Crop, Patch, Rectangle, Several, Size
from cropaudit.accounting.patch_pairs import two_rectangles
from cropaudit.accounting.resized import resized_caveats, resized_map
from cropaudit.errors import InputError, require

__all__ = ["Inclusion", "averaged", "inclusion", "inclusion_map", "worst_inclusion"]


@dataclass(frozen=True)
class Inclusion:
    """The worst case over all places of a patch.

    Attributes:
        probability: Largest probability that the window meets the patch, or an upper bound on it.
        position: Row and column of the patch's top left there (the first of equals).
        image: The image size for which it holds.
        exact: Whether the probability is exact, not an upper bound.
        how: How it was found, and why it is no more than a bound where it is one.
        patch: The patch, in words.
    """

    probability: float
    position: tuple[int, int]
    image: Size
    exact: bool = True
    how: str = "exact count"
    patch: str = ""


def inclusion_map(image: Size, crop: CropLaw, patch: Patch | Several) -> NDArray[np.float64]:
    """Returns the inclusion probability rho(z) for every place of the patch.

    Args:
        image: Size of the image before padding.
        crop: The law of the windows.
        patch: Rectangle or pixel mask; a mask is first trimmed to its bounding box.

    Returns:
        Array of shape (H - h + 1, W - w + 1); entry (i, j) is for the patch's top left at (i, j).
        Upper bounds where `inclusion` says so.

    Raises:
        InputError: If the window or the patch does not fit, or there are several patches: they have
            no common place.

    >>> rho = inclusion_map(Size(4, 4), Crop(Size(2, 2)), Rectangle(Size(1, 1)))
    >>> float(rho[0, 0]), float(rho[1, 1])
    (0.1111111111111111, 0.4444444444444444)
    """
    if isinstance(patch, Several):
        raise InputError(f"inclusion map must be of one patch, which has one place, got {patch}")
    match crop:
        case Crop():
            return _crop_map(image, crop, patch)
        case ResizedCrop():
            return resized_map(image, crop, _placed(image, patch))
        case WholeImage():
            height, width = _placed(image, patch).shape
            return np.ones((image.height - height + 1, image.width - width + 1))


def inclusion(image: Size, crop: CropLaw, patch: Patch | Several) -> Inclusion:
    """Returns the worst case of `inclusion_map`, or of all places of several patches.

    Raises:
        InputError: If the window or the patch does not fit.

    >>> found = inclusion(Size(9, 9), Crop(Size(3, 3)), Several(Rectangle(Size(1, 1)), 2))
    >>> round(found.probability, 4), found.exact
    (0.3673, True)
    """
    if isinstance(patch, Several):
        return _several(image, crop, patch)
    rho = inclusion_map(image, crop, patch)
    row, column = np.unravel_index(int(np.argmax(rho)), rho.shape)
    how, caveats = "exact count", tuple[str, ...]()
    if isinstance(crop, ResizedCrop):
        how = "exact sum over window sizes"
        caveats = resized_caveats(image, crop, _placed(image, patch))
    found = Inclusion(float(rho[row, column]), (int(row), int(column)), image, patch=str(patch))
    return _described(found, how, caveats)


def worst_inclusion(
    images: Iterable[Size],
    crop: CropLaw,
    patch: Patch | Several | Sequence[Patch | Several],
) -> Inclusion:
    """Returns the worst case over images of different sizes: the claim must cover each of them.

    Args:
        images: The sizes.
        crop: The law of the windows.
        patch: One patch, or several alternatives of which one may change.

    Raises:
        InputError: If there is no image or no patch, or a window or a patch does not fit.
    """
    patches = patch if isinstance(patch, Sequence) else [patch]
    require(bool(patches), "patches", "at least one", 0)
    sizes = sorted(set(images))
    require(bool(sizes), "images", "at least one", 0)
    found = [inclusion(size, crop, item) for size in sizes for item in patches]
    return max(found, key=lambda item: item.probability)


def _described(found: Inclusion, how: str, caveats: tuple[str, ...]) -> Inclusion:
    if caveats:
        return replace(found, exact=False, how=f"upper bound: {'; '.join(caveats)}")
    return replace(found, exact=True, how=how)


def _several(image: Size, crop: CropLaw, group: Several) -> Inclusion:
    """Returns the exact value for two rectangles under a plain crop, else the union bound."""
    one = replace(inclusion(image, crop, group.patch), patch=str(group))
    if group.count == 1 or (one.exact and one.probability == 1.0):
        return one
    pixels = _placed(image, group.patch)
    if isinstance(crop, Crop) and group.count == 2 and pixels.all():
        pair = two_rectangles(image, crop, Size(*pixels.shape))
        if pair is not None:
            how = "exact count: two rectangles, the worst places of both"
            return replace(one, probability=pair[0], position=pair[1], how=how)
    bound = replace(one, probability=min(1.0, group.count * one.probability))
    caveats = () if one.exact else (one.how.removeprefix("upper bound: "),)
    return _described(bound, "", ("the sum over the copies", *caveats))


def _placed(image: Size, patch: Patch) -> NDArray[np.bool_]:
    """Returns the patch's pixels, trimmed.

    Raises:
        InputError: If they do not fit the image.
    """
    if isinstance(patch, Rectangle):
        _require_fit(patch.size, image)
        return patch.mask()
    pixels = patch.mask()
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    _require_fit(Size(*pixels.shape), image)
    return pixels


def _require_fit(patch: Size, image: Size) -> None:
    fits = patch.height <= image.height and patch.width <= image.width
    require(fits, "patch", f"at most the image {image}", patch)


def _crop_map(image: Size, crop: Crop, patch: Patch) -> NDArray[np.float64]:
    rows, columns = axis_footprints(image, crop)
    origins = rows.origins * columns.origins
    if isinstance(patch, Rectangle):
        _require_fit(patch.size, image)
        height, width = patch.size.height, patch.size.width
        return np.multiply.outer(hits(rows, height), hits(columns, width)) / origins
    pixels = _placed(image, patch)
    down, across = clipped(rows, pixels.shape[0]), clipped(columns, pixels.shape[1])
    return np.asarray(down.counts @ (_meets(pixels, down, across) @ across.counts.T) / origins)


def _meets(
    pixels: NDArray[np.bool_], rows: ClippedFootprints, columns: ClippedFootprints
) -> NDArray[np.float64]:
    """Returns whether the mask is true anywhere in a row interval times a column interval."""
    table = np.pad(pixels.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    strips = table[rows.last + 1] - table[rows.first]
    found = strips[:, columns.last + 1] - strips[:, columns.first]
    return np.asarray((found > 0).astype(np.float64))
