"""Check 6: records join batches as the claimed sampler draws them.

Tests are conditional on how many records came, so that they judge the kind of sampling alone;
its rate is judged by the check of steps and rate. Assumes batches in the order of training.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.checks.exact import (
    FOUND,
    SMALL,
    expected_share,
    log_choose,
    monte_carlo,
)
from cropaudit.audit.conformance.checks.orders import (
    complete,
    fresh,
    once_an_epoch,
    same_each_epoch,
    split,
)
from cropaudit.audit.conformance.checks.subsets import closest, favoured, halves, neighbours
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

NAME = "batch law"
_SEED = 60
_CELLS = 20_000_000  # of the table of batches and records
_WORK = 10_000_000  # random sizes of batches in one test
_LEAST_DRAWS = 1_999
_LEAST_STEPS = 2
_RANDOM = ("poisson", "fixed")


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the batches against the claimed sampler."""
    batches = seen.batches
    if batches is None:
        return Outcome(NAME, skipped="no loader and no pipeline was given")
    if batches.unread:
        read = len(batches.record)
        words = (
            f"of {read + batches.unread} images that were loaded, the record of {batches.unread} "
            "could not be told, so that the batches are not known; return masks uninterpolated"
        )
        return Outcome(NAME, undecided=words, where=batches.where)
    if batches.steps < _LEAST_STEPS or not len(batches.record):
        words = f"{batches.steps} batches with {len(batches.record)} records are too few"
        return Outcome(NAME, undecided=words, where=batches.where)
    counts = batches.counts(_CELLS)
    members = counts > 0
    tests = [_once(counts, claimed.crops), *_of_sampler(batches, members, claimed)]
    sizes = members.sum(axis=1)
    return Outcome(
        NAME,
        tests=tuple(tests),
        evidence=_evidence(batches, members, counts, claimed),
        power=_power(members, claimed),
        undecided=_too_little(batches, members, claimed),
        where=batches.where,
        figures={
            "batches": float(len(members)),
            "records": float(batches.records),
            "mean batch": float(sizes.mean()),
            "deviation of the batch": float(sizes.std()),
            "most in a batch of one record": float(counts.max()),
        },
    )


def _of_sampler(batches: Batches, members: Flags, claimed: Claimed) -> list[Tested]:
    if claimed.sampler in _RANDOM:
        sizes = _poisson_sizes if claimed.sampler == "poisson" else _fixed_sizes
        rng = np.random.default_rng(_SEED)
        return [
            favoured(members),
            halves(members, rng),
            sizes(members, rng),
            neighbours(members),
            closest(members),
        ]
    if claimed.sampler == "full":
        return [complete(members)]
    epochs = split(batches, members)
    first = once_an_epoch(epochs, claimed.batch)
    second = same_each_epoch(epochs) if claimed.sampler == "cyclic" else fresh(epochs)
    return [first] if second is None else [first, second]


def _once(counts: Integers, crops: int) -> Tested:
    null = f"a record is in a batch {'once' if crops == 1 else f'{crops} times'} at most"
    step, record = np.unravel_index(int(counts.argmax()), counts.shape)
    most = int(counts[step, record])
    if most <= crops:
        return Tested(null, 1.0, f"no record is in a batch more than {crops} times")
    repeated = float((counts > crops).sum() / max((counts > 0).sum(), 1))
    words = (
        f"record {record} is {most} times in batch {step}, where {crops} is claimed "
        f"({repeated:.0%} of all participations are like that): {most} crops of an image are "
        f"accounted as {crops}, or it is listed more than once; claim that many crops, or draw "
        "each record once a batch"
    )
    return Tested(null, 0.0, words)


def _poisson_sizes(members: Flags, rng: np.random.Generator) -> Tested:
    """Given how many came in all, Poisson sizes are multivariate hypergeometric: Monte Carlo."""
    steps, records = members.shape
    sizes = members.sum(axis=1)
    total = int(sizes.sum())
    mean = total / steps
    cells = steps * records
    due = mean * (1 - 1 / steps) * (cells - total) / max(cells - 1, 1)

    def spread(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        # Both too even and too uneven sizes are odd: the ratio to what is due, either way up.
        logs: NDArray[np.float64] = np.log(((drawn - mean) ** 2).mean(axis=-1) + 1)
        return np.abs(logs - math.log(due + 1))

    def draw(size: int) -> NDArray[np.float64]:
        drawn = rng.multivariate_hypergeometric([records] * steps, total, size, method="marginals")
        return spread(drawn)

    draws = int(np.clip(_WORK // steps, _LEAST_DRAWS, 9_999))
    # Even sizes are tested on their own, exactly, and by far more surely: half the level for each.
    even = _even_chance(steps, records, total)
    if sizes.max() - sizes.min() <= 1 and even < 1 / draws:
        p_value = min(1.0, 2 * even)
    else:
        p_value = min(1.0, 2 * monte_carlo(float(spread(sizes)), draw, draws))
    deviation = math.sqrt(max(due, 0.0))
    words = (
        f"the sizes of {steps} batches have a deviation of {sizes.std():.2f} about {mean:.1f}, "
        f"where Poisson sampling gives {deviation:.2f}: "
    )
    words += (
        "batches are of a fixed size, as a plain DataLoader's are; draw them by Poisson sampling "
        "(Opacus' DPDataLoader), or claim the sampler that is used"
        if sizes.std() < deviation
        else "records join batches together and not one by one; draw each on its own"
    )
    return Tested("batch sizes vary as Poisson sampling makes them", p_value, words)


def _even_chance(steps: int, records: int, total: int) -> float:
    """Returns the probability that no two Poisson sizes of this total differ by more than one."""
    size, more = divmod(total, steps)
    log = log_choose(steps, more) + (steps - more) * log_choose(records, size)
    log += more * log_choose(records, size + 1) if more else 0.0
    return math.exp(min(log - log_choose(steps * records, total), 0.0))


def _fixed_sizes(members: Flags, rng: np.random.Generator) -> Tested:
    sizes = members.sum(axis=1)
    null = "all batches are of one size"
    if sizes.min() == sizes.max():
        return Tested(null, 1.0, f"all batches hold {sizes[0]} records")
    words = (
        f"batches hold {sizes.min()} to {sizes.max()} records: they are of no fixed size; drop no "
        "record and draw each batch afresh, or claim the sampler that is used"
    )
    return Tested(null, 0.0, words)


def _evidence(batches: Batches, members: Flags, counts: Integers, claimed: Claimed) -> str:
    per_record, sizes = members.sum(axis=0), members.sum(axis=1)
    words = (
        f"{len(members)} batches of {sizes.min()} to {sizes.max()} out of {batches.records} "
        f"records; each record in {per_record.min()} to {per_record.max()} of them, at most "
        f"{counts.max()} times in one; claimed: {claimed.sampler}"
    )
    if batches.endless:
        words += "; the loader does not end: a pass ends where a record of it comes again"
    if not batches.ours:
        words += "; the loader has its own data, so that only the indices were seen"
    return words


def _power(members: Flags, claimed: Claimed) -> str:
    steps, records = members.shape
    rate = float(members.mean())
    if claimed.sampler not in _RANDOM:
        return (
            "a record that comes twice or is left out, or a batch that comes back, is found "
            f"whenever it is seen; {steps} batches were"
        )
    share = expected_share(steps, rate, 2 * records)
    favour = f"{share / rate:.1f} times as often as the others" if share < 1 else "in every batch"
    return (
        f"in {steps} batches, a record that is drawn {favour} is found at p < {SMALL} with "
        f"probability {FOUND}; one that is never drawn, from {_steps_for_missing(rate, records)} "
        f"batches on; a shuffled list because neighbouring batches would share {_due(members):.0f} "
        "records by chance, and its own share few"
    )


def _due(members: Flags) -> float:
    sizes = members.sum(axis=1).astype(np.float64)
    return float((sizes[1:] * sizes[:-1]).sum() / members.shape[1])


def _steps_for_missing(rate: float, records: int) -> int:
    """Returns after how many batches a record that never came has a p-value of `SMALL`."""
    if rate >= 1:
        return 1
    return math.ceil(math.log(SMALL / (2 * records)) / math.log1p(-rate))


def _too_little(batches: Batches, members: Flags, claimed: Claimed) -> str:
    steps, records = members.shape
    if batches.cut:
        return f"the loader took so long that it was stopped after {steps} batches, too few to tell"
    if claimed.sampler == "full":
        return ""
    if claimed.sampler not in _RANDOM:
        if len(batches.epoch_steps) > 1:
            return ""
        return "one epoch does not show whether the next one is drawn afresh; iterate more epochs"
    needed = _steps_for_missing(float(members.mean()), records)
    if steps >= needed or members.mean() >= 1:
        return ""
    return (
        f"{steps} batches are too few to tell a record that is never drawn: {needed} are needed; "
        "iterate more epochs, or probe with fewer records, of which more are drawn"
    )
