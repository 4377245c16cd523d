"""The sizes of windows against the claimed ones, which shrinking and warping may hide in part.

Null hypotheses: every window has the claimed size, of which one that has not decides; or sizes have
the claimed law, by Hoeffding's inequality on their means.
"""

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.checks.laws import DEPENDENT, MOVING, Law, mean_size
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Tested

__all__ = ["placed", "size_test"]


def size_test(draws: Draws, law: Law) -> Tested | None:
    """Returns the test of sizes, where a law is claimed that has any."""
    null = "windows have the claimed size"
    read = draws.decoded
    match law.crop:
        case Crop(size=size) if law.claimed and read.any():
            wrong = read & (
                _off(draws.height, size.height, draws) | _off(draws.width, size.width, draws)
            )
            if not wrong.any():
                return Tested(null, 1.0, "all windows have it")
            i = int(np.flatnonzero(wrong)[0])
            words = (
                f"{int(wrong.sum())} of {int(read.sum())} windows are not of {size}, e.g. "
                f"{draws.height[i]}x{draws.width[i]}: {_why(draws, i)}"
            )
            return Tested(null, 0.0, words)
        case ResizedCrop() as crop if read.any():
            return _mean_size_test(draws, crop)
    return None


def placed(draws: Draws, law: Law) -> NDArray[np.bool_]:
    """Returns which windows tell their origin.

    Where some outputs are warped, the few that happen to stand upright are magnified windows that
    show a part of what was cut; and of few upright ones the origins say little of the rest.
    """
    kept = draws.decoded & ~draws.skewed
    if not draws.skewed.any():
        return kept
    if 2 * kept.sum() < len(draws):
        return np.zeros_like(kept)
    match law.crop:
        case Crop(size=size) if law.claimed:
            short = _short(draws.height, size.height, draws) | _short(
                draws.width, size.width, draws
            )
            return np.asarray(kept & ~short)
        case _:
            return kept


def _off(found: NDArray[np.int64], wanted: int, draws: Draws) -> NDArray[np.bool_]:
    # A warp shows less than was cut, but never more.
    short = _short(found, wanted, draws) & (not draws.skewed.any())
    return np.asarray((found > wanted) | short)


def _short(found: NDArray[np.int64], wanted: int, draws: Draws) -> NDArray[np.bool_]:
    return np.asarray(found + 2 * draws.slack < wanted)


def _why(draws: Draws, i: int) -> str:
    if draws.skewed[i]:
        return "the image is turned or warped before it is cropped"
    if draws.slack[i]:
        return "the image is scaled before it is cropped, or the crop is scaled after"
    return "another size is cropped than is claimed"


def _mean_size_test(draws: Draws, crop: ResizedCrop) -> Tested:
    """Holds mean height and width against their exact means, by Hoeffding's inequality."""
    image = Size(draws.image_height, draws.image_width)
    kept = draws.decoded & ~draws.skewed
    n = int(kept.sum())
    p_values, words = [1.0], []
    for name, seen, side, mean in (
        ("rows", draws.height, image.height, mean_size(image, crop)[0]),
        ("columns", draws.width, image.width, mean_size(image, crop)[1]),
    ):
        low = float(seen[kept].mean())
        high = low + 2 * float(draws.slack[kept].mean())
        gap = max(mean - high, low - mean, 0.0) / side
        p_values.append(min(1.0, 2 * float(np.exp(-2 * n * gap**2))))
        words.append(f"{low:.1f} to {high:.1f} {name} on average, {mean:.1f} expected")
    p = min(1.0, 2 * min(p_values))
    null = "window sizes have the claimed law"
    return Tested(null, p, f"windows have {'; '.join(words)}", void_if=(DEPENDENT, MOVING))
