"""The law of windows that checks hold draws against: the claimed one, or the one that is seen.

Without a claim the window is the one that is read off, and each border is as wide as windows reach
beyond the image. That decides what rho is; whether the origins are uniform is tested all the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, Size
from cropaudit.accounting.names import PadMode
from cropaudit.accounting.window_sizes import size_law
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import PADDING_MODES, Draws

__all__ = ["DEPENDENT", "MOVING", "Law", "law_of", "mean_size", "reach", "short_of", "well_read"]

# What makes tests of the windows' law void, each with the check that finds it.
DEPENDENT = "windows are not independent (see independence)"
MOVING = "what is shown moves the window (see non-interference)"
_READ = 0.98  # of the windows, at least, for their law to be that of all
_UNSEEN = 10  # of R origins the outermost 10 R / n are all missed by n draws with exp(-10)


@dataclass(frozen=True)
class Law:
    """A law of windows.

    Attributes:
        crop: The law; none if windows of varying size were seen and nothing was claimed.
        claimed: Whether it was claimed, and not read off.
        borders: By which windows may leave the image.
    """

    crop: CropLaw | None
    claimed: bool
    borders: Borders

    @property
    def words(self) -> str:
        """The law in words."""
        origin = "claimed" if self.claimed else "read off, for no crop was claimed"
        match self.crop:
            case Crop(size=size, mode=mode):
                padding = "" if str(self.borders) == "0" else f", {mode} padding {self.borders}"
                return f"windows of {size}{padding} ({origin})"
            case ResizedCrop():
                return f"windows of random size and shape ({origin})"
            case WholeImage():
                return f"the whole image ({origin})"
            case None:
                return "windows of varying size, of which nothing was claimed"


def law_of(draws: Draws, near: Draws | None, claimed: Claimed) -> Law:
    """Returns the law that these draws are held against."""
    image = Size(draws.image_height, draws.image_width)
    match claimed.crop:
        case Crop() as crop:
            return Law(crop, True, crop.borders(image))
        case ResizedCrop() | WholeImage():
            return Law(claimed.crop, True, Borders())
        case None:
            return _seen(draws, near)


def well_read(draws: Draws) -> bool:
    """Returns whether all but a few windows were read off.

    Which ones are not may depend on where they are, so that those that are read have another law.
    """
    return bool(len(draws)) and float((draws.decoded | draws.blank).mean()) >= _READ


def short_of(draws: Draws) -> str:
    """Returns how many windows are missing of those that were to be drawn; "" if none is."""
    if len(draws) >= draws.wanted:
        return ""
    return (
        f"{len(draws)} of {draws.wanted} windows were drawn before the time was up: let it run on "
        "a machine that is less busy, or make the transform faster"
    )


def mean_size(image: Size, crop: ResizedCrop) -> tuple[float, float]:
    """Returns the mean height and width of the windows."""
    law = size_law(image, crop)
    rest = law.fallback_probability
    height = float(law.probability.sum(axis=1) @ law.heights) + rest * law.fallback.height
    width = float(law.probability.sum(axis=0) @ law.widths) + rest * law.fallback.width
    return height, width


def _seen(draws: Draws, near: Draws | None) -> Law:
    kept = draws.decoded & ~draws.skewed
    if not kept.any():
        return Law(None, False, Borders())
    borders = Borders(*_furthest(draws, near))
    sizes = np.unique(np.stack([draws.height[kept], draws.width[kept]]), axis=1)
    if sizes.shape[1] > 1:
        return Law(None, False, borders)
    size = Size(int(sizes[0, 0]), int(sizes[1, 0]))
    return Law(Crop(size, borders, _mode(draws.padding[kept])), False, borders)


def _furthest(draws: Draws, near: Draws | None) -> tuple[int, int, int, int]:
    """Returns how far windows reach beyond images: as small ones show, if large ones may agree.

    There each origin comes up many times. Where windows of large images never come near that far,
    the padding depends on the size of the image.
    """
    seen = reach(draws)
    if near is None:
        return seen
    most = reach(near)
    spare = _UNSEEN * max(draws.image_height, draws.image_width) / max(len(draws), 1) + 1
    alike = all(0 <= far - known <= spare for far, known in zip(most, seen, strict=True))
    return most if alike else seen


def _mode(seen: NDArray[np.int64]) -> PadMode:
    """Returns the one mode that copies the image, if that is all that pads; else constant."""
    modes = {PADDING_MODES[i] for i in np.unique(seen) if i}
    copying: tuple[PadMode, ...] = ("edge", "reflect", "symmetric")
    found = [mode for mode in copying if modes == {mode}]
    return found[0] if found else "constant"


def reach(draws: Draws) -> tuple[int, int, int, int]:
    """Returns how far windows reach beyond the image: top, bottom, left, right."""
    kept = draws.decoded & ~draws.skewed
    top, left = draws.top[kept], draws.left[kept]
    bottom = top + draws.height[kept] - draws.image_height
    right = left + draws.width[kept] - draws.image_width
    ends = (-top.min(initial=0), bottom.max(initial=0), -left.min(initial=0), right.max(initial=0))
    up, down, before, after = (max(int(value), 0) for value in ends)
    return up, down, before, after
