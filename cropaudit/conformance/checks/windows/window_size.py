"""The sizes of windows against the claimed ones, which shrinking and warping may hide in part.

Null hypotheses: every window has the claimed size, of which one that has not decides; or sizes have
the claimed law, by Hoeffding's inequality on their means. A crop of random size takes one window
more, where none of its tries fits: torchvision, timm and albumentations, and so the accountant
(`inclusion.window_sizes`), take the largest of a legal shape in the middle of the image; kornia
takes it anywhere. Null: of the windows of its size as many lie in the middle as the law has it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.inclusion.window_sizes import SizeLaw, size_law
from cropaudit.conformance.check import Tested, Words
from cropaudit.conformance.checks.windows.laws import DEPENDENT, MOVING, Law, mean_size
from cropaudit.conformance.observations.draws import Draws

__all__ = ["fallback_test", "may_be_fallback", "placed", "size_test"]

Flags = NDArray[np.bool_]

say = Words("""
size?: windows have the claimed size
size: {wrong} of {read} windows are not of {size}, e.g. {height}x{width}: {cause}
warped: the image is turned or warped before it is cropped
scaled: the image is scaled before it is cropped, or the crop is scaled after
other: another size is cropped than is claimed
sizes?: window sizes have the claimed law
sizes: windows have {rows}; {columns}
mean: {low:.1f} to {high:.1f} {name} on average, {due:.1f} expected
middle?: the window that is taken where none fits lies in the middle
middle: of {n} windows of {size}, the size that is taken where no drawn window fits, {found} lie in
  the middle of the image, where at least {share:.1%} are due: they lie anywhere, as kornia has it
  and torchvision, whose law is claimed and accounted for, has not; crop with torchvision's or
  albumentations' RandomResizedCrop, or narrow its scale and ratio until every window fits these
  images
""")


def size_test(draws: Draws, law: Law) -> Tested | None:
    """Returns the test of sizes, where a law is claimed that has any."""
    read = draws.decoded
    match law.crop:
        case Crop(size=size) if law.claimed and read.any():
            tall, wide = (
                _off(draws.height, size.height, draws),
                _off(draws.width, size.width, draws),
            )
            wrong = np.flatnonzero(read & (tall | wide))
            if not wrong.size:
                return say.test("size", 1.0)
            i = int(wrong[0])
            cause = "warped" if draws.skewed[i] else "scaled" if draws.slack[i] else "other"
            return say.test(
                "size",
                0.0,
                wrong=wrong.size,
                read=int(read.sum()),
                size=size,
                height=draws.height[i],
                width=draws.width[i],
                cause=say(cause),
            )
        case ResizedCrop() as crop if read.any():
            return _mean_size_test(draws, crop)
    return None


def placed(draws: Draws, law: Law) -> Flags:
    """Returns which windows tell their origin.

    Where some outputs are warped, the few that happen to stand upright are magnified windows that
    show a part of what was cut; and of few upright ones the origins say little of the rest.
    """
    kept = draws.decoded & ~draws.skewed
    if not draws.skewed.any():
        return kept
    if 2 * kept.sum() < len(draws):
        return np.zeros_like(kept)
    if isinstance(law.crop, Crop) and law.claimed:
        size = law.crop.size
        kept &= ~_short(draws.height, size.height, draws)
        kept &= ~_short(draws.width, size.width, draws)
    return kept


def may_be_fallback(draws: Draws, law: Law) -> Flags:
    """Returns which windows may be the one that is taken where none fits, by their size.

    The size alone decides: of the other windows the origins are then uniform whatever it is.
    """
    sizes = _sizes(draws, law.crop) if isinstance(law.crop, ResizedCrop) else None
    if sizes is None or not sizes.fallback_probability:
        return np.zeros(len(draws), dtype=np.bool_)
    last, most = sizes.fallback, 2 * draws.slack
    tall = (draws.height <= last.height) & (last.height <= draws.height + most)
    return np.asarray(tall & (draws.width <= last.width) & (last.width <= draws.width + most))


def fallback_test(draws: Draws, law: Law, last: Flags) -> Tested | None:
    """Tests that windows of that size, ``last``, lie in the middle as often as they should."""
    if not isinstance(law.crop, ResizedCrop) or not last.any():
        return None
    sizes = _sizes(draws, law.crop)
    share = _least_share(sizes, int(draws.slack[last].max()))
    top, left = sizes.fallback_origin
    slack = draws.slack + 1
    middle = last & (np.abs(draws.top - top) <= slack) & (np.abs(draws.left - left) <= slack)
    n, found = int(last.sum()), int(middle.sum())
    return say.test(
        "middle",
        float(bdtr(found, n, share)),
        void_if=(DEPENDENT, MOVING),
        n=n,
        size=sizes.fallback,
        found=found,
        share=share,
    )


def _off(found: NDArray[np.int64], wanted: int, draws: Draws) -> Flags:
    # A warp shows less than was cut, but never more.
    short = _short(found, wanted, draws) & (not draws.skewed.any())
    return np.asarray((found > wanted) | short)


def _short(found: NDArray[np.int64], wanted: int, draws: Draws) -> Flags:
    return np.asarray(found + 2 * draws.slack < wanted)


def _mean_size_test(draws: Draws, crop: ResizedCrop) -> Tested:
    """Holds mean height and width against their exact means, by Hoeffding's inequality."""
    image = Size(draws.image_height, draws.image_width)
    kept = draws.decoded & ~draws.skewed
    sides = {"rows": (draws.height, image.height), "columns": (draws.width, image.width)}
    p_values, words = [1.0], {}
    for (name, (seen, side)), due in zip(sides.items(), mean_size(image, crop), strict=True):
        low = float(seen[kept].mean())
        high = low + 2 * float(draws.slack[kept].mean())
        gap = max(due - high, low - due, 0.0) / side
        p_values.append(min(1.0, 2 * float(np.exp(-2 * int(kept.sum()) * gap**2))))
        words[name] = say("mean", low=low, high=high, name=name, due=due)
    return say.test("sizes", min(1.0, 2 * min(p_values)), void_if=(DEPENDENT, MOVING), **words)


def _sizes(draws: Draws, crop: ResizedCrop) -> SizeLaw:
    return size_law(Size(draws.image_height, draws.image_width), crop)


def _least_share(sizes: SizeLaw, slack: int) -> float:
    """Returns a share that is in the middle at least, of what reads as that size."""
    rows = np.abs(sizes.heights - sizes.fallback.height) <= 2 * slack
    columns = np.abs(sizes.widths - sizes.fallback.width) <= 2 * slack
    drawn = float(sizes.probability[np.ix_(rows, columns)].sum())
    return sizes.fallback_probability / (sizes.fallback_probability + drawn)
