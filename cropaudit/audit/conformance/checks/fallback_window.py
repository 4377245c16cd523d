"""The window that a crop of random size takes where none of its tries fits.

torchvision, timm and albumentations take the largest window of a legal shape in the middle of the
image, and so does the accountant (`cropaudit.accounting.window_sizes`); kornia takes it anywhere.
Null hypothesis: of the windows of its size as many lie in the middle as the law has it, or more.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.window_sizes import SizeLaw, size_law
from cropaudit.audit.conformance.checks.laws import DEPENDENT, MOVING, Law
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Tested

__all__ = ["fallback_test", "may_be_fallback"]

Flags = NDArray[np.bool_]


def may_be_fallback(draws: Draws, law: Law) -> Flags:
    """Returns which windows may be the one that is taken where none fits, by their size.

    The size alone decides: of the other windows the origins are then uniform whatever it is.
    """
    if not isinstance(law.crop, ResizedCrop):
        return np.zeros(len(draws), dtype=np.bool_)
    sizes = _sizes(draws, law.crop)
    if not sizes.fallback_probability:
        return np.zeros(len(draws), dtype=np.bool_)
    tall = _may_be(draws.height, sizes.fallback.height, draws)
    return np.asarray(tall & _may_be(draws.width, sizes.fallback.width, draws))


def fallback_test(draws: Draws, law: Law, last: Flags) -> Tested | None:
    """Tests that windows of that size lie in the middle as often as they should.

    Args:
        draws: The windows.
        law: The claimed law.
        last: Which of them may be that one, from `may_be_fallback`.
    """
    if not isinstance(law.crop, ResizedCrop) or not last.any():
        return None
    sizes = _sizes(draws, law.crop)
    share = _least_share(sizes, int(draws.slack[last].max()))
    top, left = sizes.fallback_origin
    slack = draws.slack + 1
    middle = last & (np.abs(draws.top - top) <= slack) & (np.abs(draws.left - left) <= slack)
    n, found = int(last.sum()), int(middle.sum())
    words = (
        f"of {n} windows of {sizes.fallback}, the size that is taken where no drawn window fits, "
        f"{found} lie in the middle of the image, where at least {share:.1%} are due: they lie "
        "anywhere, as kornia has it and torchvision, whose law is claimed and accounted for, has "
        "not; crop with torchvision's or albumentations' RandomResizedCrop, or narrow its scale "
        "and ratio until every window fits these images"
    )
    null = "the window that is taken where none fits lies in the middle"
    return Tested(null, float(bdtr(found, n, share)), words, void_if=(DEPENDENT, MOVING))


def _sizes(draws: Draws, crop: ResizedCrop) -> SizeLaw:
    return size_law(Size(draws.image_height, draws.image_width), crop)


def _may_be(length: NDArray[np.int64], wanted: int, draws: Draws) -> Flags:
    return np.asarray((length <= wanted) & (wanted <= length + 2 * draws.slack))


def _least_share(sizes: SizeLaw, slack: int) -> float:
    """Returns a share that is in the middle at least, of what reads as that size."""
    rows = np.abs(sizes.heights - sizes.fallback.height) <= 2 * slack
    columns = np.abs(sizes.widths - sizes.fallback.width) <= 2 * slack
    drawn = float(sizes.probability[np.ix_(rows, columns)].sum())
    return sizes.fallback_probability / (sizes.fallback_probability + drawn)
