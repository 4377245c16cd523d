"""Non-interference: a crop that misses the patch does not know what the patch shows.

Null hypothesis: in one random state, two images that differ in the patch alone give the same
output, bit for bit, whenever the window misses the patch; and the window is the same whatever is
shown. In a sound pipeline neither can fail, so that one counter-example decides. Where the state
cannot be replayed (a transform that seeds itself from the system's entropy) outputs of two runs are
compared in law: numbers that sum them up, among windows that miss the patch in the first.

Windows that were shrunk are known up to their slack; patches within it are left out of judgement.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.windows.laws import MOVING
from cropaudit.conformance.observations.replays import Pairs
from cropaudit.conformance.observations.training import Replayed
from cropaudit.conformance.outcome import Leak
from cropaudit.conformance.words import Said

__all__ = ["blind_replay", "check"]

_FEWEST = 40  # replays that miss the patch, of which one leak in 13 shows with 95%
_NEARBY = 16
_TELLING = 0.2  # of the crops as near: fewer leaks may have another cause than that they are near

say = Words("""
asks: a crop that misses the patch is bit for bit the same whatever the patch shows
catches: normalisation before the crop, resize bleed, rotation, blur, copied borders, crops chosen
  by content
blind: a loader of coded images does not show whether a crop is chosen by content, or whether the
  whole image is normalised before it: give the crop as --transform, or --pipeline
same?: a crop that misses the patch is the same whatever the patch shows
same: {leaks} of {misses} crops that miss the patch change with it: the window of rows {top} to
  {bottom} and columns {left} to {right} is {distance} pixels from the patch at ({patch_top},
  {patch_left}), yet its {what} differs; {cause}
copied: all of these windows reach into padding that copies the image: state the padding and its
  mode, so that rho counts the copies, or pad with a constant
moving: what is shown moves the window
rare: so few of {within} crops whose patch is as near do not tell the cause: {cause} before the
  crop, or a window that is chosen by what is shown
rare.near: a filter or interpolation
rare.far: a statistic of the image
near: only patches close by act: interpolation or a filter before the crop reads over the edge of
  the window; do it after the crop
far: far patches act as well: something is computed over the whole image before the crop
  (normalisation, equalisation, compression, a mix of images); do it after the crop
still?: the window does not move with what the image or its labels show
still: the window moves with the content: in {moved} of {states} random states another image or mask
  gave another window, so that the patch can move every crop; account for it as no crop (rho = 1)
law?: crops that miss the patch have the same law whatever the patch shows
law: outputs of both worlds differ in law (p = {p:.1e}): the patch acts on crops at large
law.seen: the transform cannot be replayed (equal states gave unequal outputs: it draws from the
  clock or the system), so {count} outputs of each world were compared in law
law.power: only leaks that shift the mean, spread or corners of most crops are found
law.short: the transform draws from the clock or the system's entropy and cannot be replayed:
  outputs were compared in law only, which small leaks pass; hand it a generator
seen: {missed} crops that miss the patch, {near} of them by at most {most} pixels, are bit for bit
  the same whatever it shows
slack: ; windows are shrunk and known up to {slack} pixels, so that a leak of the patch from within
  these is not seen
power: a leak into {least:.1%} of the crops that miss the patch is found with 95%{shown}
power.shown: , for contents as were shown: {contents}
caption: The window (blue) of rows {top} to {bottom} and columns {left} to {right} is {distance}
  pixels from the patch (red) at ({patch_top}, {patch_left}); of its crop {share:.0%} of the pixels
  (red, last) change with the patch. Above both images, below both crops.
power.none: no leak is found: no crop is known to miss the patch
time: {made} of {wanted} replays were made before the time was up: let it run on a machine that is
  less busy, or make the transform faster
unread: no window could be read off the outputs, so that none is known to miss the patch
unshown: no output ever showed the patch, even where the window meets it
few: only {missed} of {count} crops missed the patch, and {fewest} are needed: use larger images or
  a smaller patch
worlds.still?: windows and batches do not depend on the content of patches
worlds.still: the window moves with the content: in {moved} of {images} cases another content of the
  patches gave another window or record from the same random state: the patch can move every crop;
  account for it as no crop (rho = 1)
worlds.same?: crops that miss the patch are the same whatever it shows
worlds.same: {differs} of {missed} images whose window misses the patch change with it: something is
  computed over the whole image before the crop (normalisation, equalisation, a resize), or images
  are mixed; do it after the crop
worlds.seen: {missed} images whose window misses the patch are the same, bit for bit, in a second
  training with other patches ({hit} others show a part of it)
worlds.power: anything before the crop that a patch of black or white, ignored or of another class
  changes in what the training was shown is found for sure; other contents were not tried
worlds.few: only {missed} of {fewest} images missed the patch
worlds.unread: no window could be read off the images that the model was shown: they are resized,
  turned or blurred; put the crop to the test as --transform
worlds.chance: the training does not repeat itself from the same seeds of random, numpy and torch,
  so that two worlds cannot be compared; draw from these, or give --transform
""")


def _of_transform(pairs: Pairs, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Looks for one crop that misses the patch and differs all the same."""
    misses = pairs.decoded & ~pairs.meets & (pairs.distance >= pairs.slack)
    missed, leaks = int(misses.sum()), misses & _differs(pairs)
    figures = {"replays": float(len(pairs)), "missed": float(missed), "leaks": float(leaks.sum())}
    if not pairs.replayable:
        return Outcome(
            tests=_in_law(pairs, misses),
            evidence=say("law.seen", count=len(pairs)),
            power=say("law.power"),
            undecided=say("law.short"),
            figures=figures,
        )
    moved = int(pairs.moved.sum())
    still = say.test("still", 0.0 if moved else 1.0, shows=MOVING, moved=moved, states=len(pairs))
    return Outcome(
        tests=(_same(pairs, leaks, misses), still),
        evidence=_evidence(pairs, misses),
        power=_power(pairs, missed),
        undecided=_undecided(pairs, missed),
        figures=figures,
        leaks=tuple(_leak(pairs, k, claimed.patch.size) for k in range(len(pairs.shown))),
    )


def _differs(pairs: Pairs) -> NDArray[np.bool_]:
    return np.asarray(pairs.image_differs | pairs.mask_differs)


def _same(pairs: Pairs, leaks: NDArray[np.bool_], misses: NDArray[np.bool_]) -> Tested:
    if not leaks.any():
        return say.test("same", 1.0)
    i = int(np.flatnonzero(leaks)[np.argmax(pairs.distance[leaks])])
    differs = {"image": pairs.image_differs[i], "mask": pairs.mask_differs[i]}
    return say.test(
        "same",
        0.0,
        leaks=int(leaks.sum()),
        misses=int(misses.sum()),
        what=" and ".join(name for name, odd in differs.items() if odd),
        cause=_cause(pairs, leaks, misses),
        **_place(pairs, i),
    )


def _place(pairs: Pairs, i: int) -> dict[str, Any]:
    """Returns where window and patch of a replay are."""
    names = ("top", "left", "height", "width", "distance", "patch_top", "patch_left")
    found: dict[str, Any] = {name: int(getattr(pairs, name)[i]) for name in names}
    bottom, right = found["top"] + found["height"], found["left"] + found["width"]
    return found | {"bottom": bottom, "right": right}


def _cause(pairs: Pairs, leaks: NDArray[np.bool_], misses: NDArray[np.bool_]) -> Said:
    if pairs.copied[leaks].all():
        return say("copied")
    if pairs.moved.any():
        return say("moving")
    reach = int(pairs.distance[leaks].max())
    within = int((misses & (pairs.distance <= reach)).sum())
    place = "near" if reach <= _NEARBY else "far"
    if leaks.sum() < _TELLING * within:
        return say("rare", within=within, cause=say(f"rare.{place}"))
    return say(place)


def _leak(pairs: Pairs, k: int, patch: Size) -> Leak:
    """Returns the counter-example of which picture ``k`` was kept."""
    at = _place(pairs, int(pairs.shown[k]))
    return Leak(
        say("caption", share=float(pairs.leaked[k].mean()), **at),
        (at["top"], at["left"], at["height"], at["width"]),
        (at["patch_top"], at["patch_left"], patch.height, patch.width),
        (pairs.before[k], pairs.after[k]),
        (pairs.out_before[k], pairs.out_after[k]),
        pairs.leaked[k],
    )


def _in_law(pairs: Pairs, misses: NDArray[np.bool_]) -> tuple[Tested, ...]:
    """Compares sums of both worlds; the windows of the second are other draws of the same law."""
    from scipy.stats import mannwhitneyu

    one, other = pairs.features[:, 0], pairs.features[:, 1]
    kept = misses if misses.sum() >= _FEWEST else np.ones(len(pairs), dtype=np.bool_)
    p_values = [
        float(mannwhitneyu(one[kept, k], other[kept, k]).pvalue)
        for k in range(one.shape[1])
        if len(np.unique(np.concatenate([one[kept, k], other[kept, k]]))) > 1
    ]
    p = min(1.0, len(p_values) * min(p_values)) if p_values else 1.0
    return (say.test("law", p, p=p),)


def _evidence(pairs: Pairs, misses: NDArray[np.bool_]) -> str:
    slack = int(pairs.slack.max(initial=0))
    near = int((misses & (pairs.distance <= slack + 3)).sum())
    words = say("seen", missed=int(misses.sum()), near=near, most=slack + 3)
    return words + say("slack", slack=slack) if slack else words


def _power(pairs: Pairs, missed: int) -> Said:
    if not missed:
        return say("power.none")
    shown = say("power.shown", contents=pairs.contents) if pairs.contents else ""
    return say("power", least=1 - 0.05 ** (1 / missed), shown=shown)


def _undecided(pairs: Pairs, missed: int) -> str:
    if len(pairs) < pairs.wanted:
        return say("time", made=len(pairs), wanted=pairs.wanted)
    if not pairs.decoded.any():
        return say("unread")
    inside = pairs.meets & (pairs.distance == 0)
    if inside.any() and not _differs(pairs)[inside].any():
        return say("unshown")
    return say("few", missed=missed, count=len(pairs), fewest=_FEWEST) if missed < _FEWEST else ""


def blind_replay(found: Replayed) -> str:
    """Says why two trainings cannot be compared; "" if they can."""
    if not found.images:
        return say("worlds.unread")
    return "" if found.replayable else say("worlds.chance")


def _of_worlds(found: Replayed, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests that what misses the patch is the same in both worlds."""
    blind = blind_replay(found)
    if blind:
        return Outcome(unmeasured=blind)
    known: dict[str, Any] = {"moved": found.moved, "images": found.images, "missed": found.missed}
    few = found.missed < _FEWEST
    return Outcome(
        tests=(
            say.test("worlds.still", 0.0 if found.moved else 1.0, **known),
            say.test("worlds.same", 0.0 if found.differs else 1.0, differs=found.differs, **known),
        ),
        evidence=say("worlds.seen", missed=found.missed, hit=found.hit),
        power=say("worlds.power"),
        undecided=say("worlds.few", missed=found.missed, fewest=_FEWEST) if few else "",
        figures={"images that miss the patch": float(found.missed)},
    )


check = Check("non-interference", say, {"pairs": _of_transform, "replayed": _of_worlds})
