"""Check 5, label alignment: the window of the mask is the window of the image.

Null hypothesis: read off apart, both windows are the same, pixel for pixel; and labels explain the
colours of their own pixels better than those of pixels beside them. A sound pipeline fails neither,
so that one counter-example decides the first; the second asks for half of the states, since noise
or blur may hide colours in some.
"""

import numpy as np

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

_NAME = "label alignment"
_FIT = 0.3  # share of the colours that aligned labels explain at least
_MARGIN = 0.05


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Compares both windows, and labels with their pixels."""
    draws = seen.windows
    if draws is None:
        return Outcome(_NAME, skipped="no transform and no loader was given")
    both = draws.decoded & draws.label_decoded & (draws.from_image or draws.label_shift > 0)
    fits = _fits(seen.pairs)
    if not draws.label_decoded.any() and not len(fits):
        words = (
            "no mask came back" if seen.contract.style in ("v1", "kornia") else "masks say nothing"
        )
        return Outcome(
            _NAME, skipped=f"{words}, so no label can be out of place", where=draws.where
        )
    tests = [_window_test(draws, both)]
    if len(fits):
        tests.append(_fit_test(fits))
    good = float(np.median(fits[:, 0])) if len(fits) else float("nan")
    return Outcome(
        check=_NAME,
        tests=tuple(tests),
        evidence=_evidence(draws, both, good),
        power="one window of the mask that is off by a pixel is found, where both can be read; "
        "masks that are off by 2 pixels or more in most crops are found elsewhere",
        undecided=_undecided(draws, both, good),
        where=draws.where,
        figures={"windows": float(both.sum()), "explained": good} if good == good else {},
    )


def _fits(pairs: Pairs | None) -> np.ndarray:
    if pairs is None:
        return np.zeros((0, 2))
    return np.asarray(pairs.fit[np.isfinite(pairs.fit).all(axis=1)])


def _window_test(draws: Draws, both: np.ndarray) -> Tested:
    null = "the window of the mask is the window of the image"
    off = both & (draws.label_shift > 0)
    if not off.any():
        return Tested(null, 1.0, "all are")
    worst = int(draws.label_shift[off].max())
    words = (
        f"the mask is cut elsewhere than the image in {int(off.sum())} of {int(both.sum())} crops, "
        f"by up to {worst} pixels: cut both by one window"
    )
    return Tested(null, 0.0, words)


def _fit_test(fits: np.ndarray) -> Tested:
    beside = fits[:, 1] > fits[:, 0] + _MARGIN
    share = float(beside.mean())
    words = (
        f"in {share:.0%} of the crops labels fit the pixels some way off better than their own "
        f"({np.median(fits[:, 1]):.0%} of the colours against {np.median(fits[:, 0]):.0%})"
    )
    return Tested("labels fit their own pixels best", 0.0 if share > 0.5 else 1.0, words)


def _evidence(draws: Draws, both: np.ndarray, good: float) -> str:
    parts = []
    if both.any() and draws.from_image:
        parts.append(f"{int(both.sum())} windows of image and mask are the same")
    if good == good:
        parts.append(f"labels explain {good:.0%} of their pixels' colours")
    return "; ".join(parts)


def _undecided(draws: Draws, both: np.ndarray, good: float) -> str:
    if draws.from_image and both.any():
        return ""
    if good != good:
        return "neither codes nor colours of the image survive, so its window is not known"
    if good < _FIT:
        return (
            f"labels explain only {good:.0%} of the colours, in place or beside it: image and mask "
            "are cut apart, or colours do not survive"
        )
    return ""
