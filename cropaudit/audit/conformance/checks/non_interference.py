"""Check 1, non-interference: a crop that misses the patch does not know what the patch shows.

Null hypothesis: in one random state, two images that differ in the patch alone give the same
output, bit for bit, whenever the window misses the patch; and the window is the same whatever is
shown. In a sound pipeline neither can fail, so that one counter-example decides. Where the state
cannot be replayed (a transform that seeds itself from the system's entropy) outputs of two runs are
compared in law: numbers that sum them up, among windows that miss the patch in the first.

Windows that were shrunk are known up to their slack; patches within it are left out of judgement.
"""

import numpy as np
from scipy.stats import mannwhitneyu

from cropaudit.audit.conformance.checks.counter_examples import drawn
from cropaudit.audit.conformance.checks.laws import MOVING
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

_NAME = "non-interference"
_FEWEST = 40  # replays that miss the patch, of which one leak in 13 shows with 95%
_SAME = "a crop that misses the patch is the same whatever the patch shows"
_STILL = "the window does not move with what the image or its labels show"
_LAW = "crops that miss the patch have the same law whatever the patch shows"


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Looks for one crop that misses the patch and differs all the same."""
    pairs = seen.pairs
    if pairs is None:
        return Outcome(_NAME, skipped="no transform was replayed")
    misses = pairs.decoded & ~pairs.meets & (pairs.distance >= pairs.slack)
    missed = int(misses.sum())
    tests = _replayed(pairs, misses) if pairs.replayable else _in_law(pairs, misses)
    figures = {"replays": float(len(pairs)), "missed": float(missed)}
    return Outcome(
        check=_NAME,
        tests=tests,
        evidence=_evidence(pairs, misses),
        power=_power(pairs, missed),
        undecided=_undecided(pairs, missed),
        where=pairs.where,
        figures=figures | {"leaks": float((misses & _differs(pairs)).sum())},
        pictures=drawn(pairs, claimed.patch.size) if pairs.replayable else (),
    )


def _differs(pairs: Pairs) -> np.ndarray:
    return np.asarray(pairs.image_differs | pairs.mask_differs)


def _replayed(pairs: Pairs, misses: np.ndarray) -> tuple[Tested, ...]:
    leaks = misses & _differs(pairs)
    moved = pairs.moved
    return (
        Tested(_SAME, 0.0 if leaks.any() else 1.0, _leak_words(pairs, leaks, misses)),
        Tested(
            _STILL,
            0.0 if moved.any() else 1.0,
            f"the window moves with the content: in {int(moved.sum())} of {len(pairs)} random "
            "states another image or mask gave another window, so that the patch can move every "
            "crop; account for it as no crop (rho = 1)",
            shows=MOVING,
        ),
    )


def _leak_words(pairs: Pairs, leaks: np.ndarray, misses: np.ndarray) -> str:
    if not leaks.any():
        return "no crop that misses the patch differs"
    i = int(np.flatnonzero(leaks)[np.argmax(pairs.distance[leaks])])
    bottom, right = pairs.top[i] + pairs.height[i], pairs.left[i] + pairs.width[i]
    what = " and ".join(
        name
        for name, differs in (("image", pairs.image_differs[i]), ("mask", pairs.mask_differs[i]))
        if differs
    )
    return (
        f"{int(leaks.sum())} of {int(misses.sum())} crops that miss the patch change with it: the "
        f"window of rows {pairs.top[i]} to {bottom} and columns {pairs.left[i]} to {right} is "
        f"{pairs.distance[i]} pixels from the patch at ({pairs.patch_top[i]}, "
        f"{pairs.patch_left[i]}), yet its {what} differs; {_cause(pairs, leaks, misses)}"
    )


def _cause(pairs: Pairs, leaks: np.ndarray, misses: np.ndarray) -> str:
    if pairs.copied[leaks].all():
        return (
            "all of these windows reach into padding that copies the image: state the padding and "
            "its mode, so that rho counts the copies, or pad with a constant"
        )
    if pairs.moved.any():
        return "what is shown moves the window"
    reach = int(pairs.distance[leaks].max())
    within = int((misses & (pairs.distance <= reach)).sum())
    if leaks.sum() < _TELLING * within:
        cause = "a filter or interpolation" if reach <= _NEARBY else "a statistic of the image"
        return (
            f"so few of {within} crops whose patch is as near do not tell the cause: {cause} "
            "before the crop, or a window that is chosen by what is shown"
        )
    if reach <= _NEARBY:
        return (
            "only patches close by act: interpolation or a filter before the crop reads over the "
            "edge of the window; do it after the crop"
        )
    return (
        "far patches act as well: something is computed over the whole image before the crop "
        "(normalisation, equalisation, compression, a mix of images); do it after the crop"
    )


_NEARBY = 16
_TELLING = 0.2  # of the crops as near: fewer leaks may have another cause than that they are near


def _in_law(pairs: Pairs, misses: np.ndarray) -> tuple[Tested, ...]:
    """Compares sums of both worlds; the windows of the second are other draws of the same law."""
    one, other = pairs.features[:, 0], pairs.features[:, 1]
    kept = misses if misses.sum() >= _FEWEST else np.ones(len(pairs), dtype=np.bool_)
    p_values = [
        float(mannwhitneyu(one[kept, k], other[kept, k]).pvalue)
        for k in range(one.shape[1])
        if len(np.unique(np.concatenate([one[kept, k], other[kept, k]]))) > 1
    ]
    p = min(1.0, len(p_values) * min(p_values)) if p_values else 1.0
    words = f"outputs of both worlds differ in law (p = {p:.1e}): the patch acts on crops at large"
    return (Tested(_LAW, p, words),)


def _evidence(pairs: Pairs, misses: np.ndarray) -> str:
    if not pairs.replayable:
        return (
            f"the transform cannot be replayed (equal states gave unequal outputs: it draws from "
            f"the clock or the system), so {len(pairs)} outputs of each world were compared in law"
        )
    slack = int(pairs.slack.max(initial=0))
    near = int((misses & (pairs.distance <= slack + 3)).sum())
    words = (
        f"{int(misses.sum())} crops that miss the patch, {near} of them by at most {slack + 3} "
        "pixels, are bit for bit the same whatever it shows"
    )
    if slack:
        words += (
            f"; windows are shrunk and known up to {slack} pixels, so that a leak of the patch "
            "from within these is not seen"
        )
    return words


def _power(pairs: Pairs, missed: int) -> str:
    if not pairs.replayable:
        return "only leaks that shift the mean, spread or corners of most crops are found"
    if not missed:
        return "no leak is found: no crop is known to miss the patch"
    least = 1 - 0.05 ** (1 / missed)
    shown = f", for contents as were shown: {pairs.contents}" if pairs.contents else ""
    return f"a leak into {least:.1%} of the crops that miss the patch is found with 95%{shown}"


def _undecided(pairs: Pairs, missed: int) -> str:
    if not pairs.replayable:
        return (
            "the transform draws from the clock or the system's entropy and cannot be replayed: "
            "outputs were compared in law only, which small leaks pass; hand it a generator"
        )
    if len(pairs) < pairs.wanted:
        return (
            f"{len(pairs)} of {pairs.wanted} replays were made before the time was up: let it run "
            "on a machine that is less busy, or make the transform faster"
        )
    if not pairs.decoded.any():
        return "no window could be read off the outputs, so that none is known to miss the patch"
    inside = pairs.meets & (pairs.distance == 0)
    if inside.any() and not _differs(pairs)[inside].any():
        return "no output ever showed the patch, even where the window meets it"
    if missed < _FEWEST:
        return (
            f"only {missed} of {len(pairs)} crops missed the patch, and {_FEWEST} are needed: use "
            "larger images or a smaller patch"
        )
    return ""
