"""Batches as random subsets: given their sizes, each is uniform and independent of the others.

This is what Poisson and fixed-size batches have in common. All tests are conditional on the sizes,
so that they need no sampling rate, and a wrong rate is left to the check that looks at it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cropaudit.audit.conformance.checks.exact import (
    hypergeometric_sum,
    monte_carlo,
    poisson_binomial,
    tails,
)
from cropaudit.audit.conformance.outcome import Tested

__all__ = ["closest", "favoured", "halves", "neighbours", "overlaps"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_STEPS = 2_000  # of the tests of pairs of batches, and likewise records: 4 million pairs
_CLEAR = 1e-4  # p-value at which batches that come back are certain
_CELLS = 2_000_000  # random numbers at a time


def favoured(members: Flags) -> Tested:
    """Tests that no record comes too often or too seldom: exact, over all records.

    Args:
        members: Whether a record is in a batch, shape (steps, records).
    """
    steps, records = members.shape
    counts = members.sum(axis=0)
    law = poisson_binomial(members.sum(axis=1) / records)
    often, seldom = int(counts.argmax()), int(counts.argmin())
    above, below = tails(law, int(counts[often]))[1], tails(law, int(counts[seldom]))[0]
    mean = float(counts.mean())
    missing = int((counts == 0).sum())
    if above <= below:
        words = (
            f"record {often} is in {counts[often]} of {steps} batches, where {mean:.1f} are due: "
            "it is favoured, and its own rate is what the accountant must be given; draw all "
            "records alike, without weights and with each listed once"
        )
    elif missing:
        words = (
            f"{missing} of {records} records, such as record {seldom}, are in none of {steps} "
            f"batches, where {mean:.1f} are due: they are dropped, and the others come more often "
            "than the number of records says; sample from all of them, or account for fewer"
        )
    else:
        words = (
            f"record {seldom} is in {counts[seldom]} of {steps} batches, where {mean:.1f} are "
            "due: records are not drawn alike; draw all with the same probability"
        )
    null = "every record joins batches as often as any other"
    return Tested(null, min(1.0, 2 * records * min(above, below)), words)


def halves(members: Flags, rng: np.random.Generator) -> Tested:
    """Tests that being drawn often in even batches says nothing of the odd ones.

    Records are exchangeable, and the two halves independent: a permutation test of the products.
    It sees many records that are favoured a little, which the extremes do not show.
    """
    even, odd = members[::2].sum(axis=0), members[1::2].sum(axis=0)
    a, b = even - even.mean(), odd - odd.mean()
    product = float(a @ b)

    def draw(size: int) -> Floats:
        rows = max(_CELLS // len(b), 1)
        parts = [
            np.abs(rng.permuted(np.tile(b, (min(rows, size - done), 1)), axis=1) @ a)
            for done in range(0, size, rows)
        ]
        return np.concatenate(parts)

    scale = float(np.sqrt((a @ a) * (b @ b)))
    correlation = product / scale if scale else 0.0
    cause = (
        "some records are drawn more often than others; draw all alike"
        if correlation > 0
        else "records take turns, as in epochs over a shuffled list; draw each batch afresh, or "
        "account for shuffled batches"
    )
    words = (
        f"how often records come in even batches and in odd ones is correlated by "
        f"{correlation:.2f}, where 0 is due: {cause}"
    )
    null = "records have no lasting preference and no turns"
    return Tested(null, monte_carlo(abs(product), draw) if scale else 1.0, words)


def neighbours(members: Flags) -> Tested:
    """Tests that a batch shares as many records with the one before as chance makes it: exact."""
    part = members[:MOST_STEPS]
    steps, records = part.shape
    sizes = part.sum(axis=1)
    shared = int((part[1:] & part[:-1]).sum())
    expected = float((sizes[1:] * sizes[:-1]).sum() / records)
    lower, upper = tails(hypergeometric_sum(records, sizes[1:], sizes[:-1]), shared)
    cause = (
        "a record does not come back soon after it was drawn, as in epochs over a shuffled list; "
        "draw each batch afresh from all records (Opacus' DPDataLoader does), or account for "
        "shuffled batches"
        if lower < upper
        else "batches repeat records of the batch before; draw each batch afresh from all records"
    )
    words = (
        f"neighbouring batches share {shared} records in all over {steps} batches, where "
        f"{expected:.1f} are due: {cause}"
    )
    null = "batches are drawn independently of the one before"
    return Tested(null, min(1.0, 2 * lower, 2 * upper), words)


def closest(members: Flags) -> Tested:
    """Tests that no two batches, and no two records, have too much in common: exact."""
    kept = members[:MOST_STEPS, :MOST_STEPS]
    of_batches, batches, same = _closest_batches(members[:MOST_STEPS], members.shape[1])
    of_records, records = _closest_records(kept, members.sum(axis=1), members.shape[1])
    null = "which records share a batch is drawn afresh for each batch"
    # Records of batches that come back travel together as well: the cause is named first.
    again = same and of_batches <= _CLEAR
    words = batches if again or of_batches <= of_records else records
    return Tested(null, min(1.0, 2 * of_batches, 2 * of_records), words)


def overlaps(members: Flags, allowed: Flags, records: int) -> tuple[float, int, int]:
    """Returns the p-value of the two batches that share most, over all allowed pairs, and which.

    Args:
        members: Shape (steps, records).
        allowed: Pairs whose overlap is hypergeometric, shape (steps, steps).
        records: Size of the population.
    """
    pairs = np.argwhere(np.triu(allowed, 1))
    if not len(pairs):
        return 1.0, 0, 0
    values = members.astype(np.float32)
    shared = np.rint((values @ values.T)[pairs[:, 0], pairs[:, 1]]).astype(np.int64)
    sizes = members.sum(axis=1)
    low = np.minimum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    high = np.maximum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    # One number for each kind of pair: there are few kinds and many pairs.
    base = records + 1
    kinds, first = np.unique((shared * base + low) * base + high, return_index=True)
    chances = stats.hypergeom.sf(kinds // base**2 - 1, records, kinds % base, kinds // base % base)
    chances = np.where(kinds // base**2 == 0, 1.0, np.clip(np.nan_to_num(chances, nan=1.0), 0, 1))
    best = int(np.argmin(chances))
    one, other = pairs[first[best]]
    return min(1.0, len(pairs) * float(chances[best])), int(one), int(other)


def _closest_batches(members: Flags, records: int) -> tuple[float, str, bool]:
    steps = len(members)
    p_value, one, other = overlaps(members, np.ones((steps, steps), dtype=np.bool_), records)
    shared = int((members[one] & members[other]).sum())
    words = (
        f"batches {one} and {other} share {shared} of their {members[one].sum()} and "
        f"{members[other].sum()} records: batches come back instead of being drawn afresh; do not "
        "form them once, and do not seed the sampler again"
    )
    return p_value, words, bool(np.array_equal(members[one], members[other]))


def _closest_records(members: Flags, sizes: Integers, records: int) -> tuple[float, str]:
    kept = members.shape[1]
    values = members.astype(np.float32)
    together = np.triu(values.T @ values, 1)
    if kept < 2 or records < 2:
        return 1.0, ""
    one, other = np.unravel_index(int(np.argmax(together)), together.shape)
    count = round(float(together[one, other]))
    sizes = sizes[: len(members)]
    law = poisson_binomial(sizes * (sizes - 1) / (records * (records - 1)))
    chance = tails(law, count)[1]
    words = (
        f"records {one} and {other} share {count} batches of {len(members)}, where "
        f"{float(together.sum()) / (kept * (kept - 1) / 2):.1f} are due: records travel together; "
        "draw each record on its own, not in groups"
    )
    return min(1.0, kept * (kept - 1) / 2 * chance), words
