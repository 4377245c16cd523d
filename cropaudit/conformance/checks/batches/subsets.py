"""Batches as random subsets: given their sizes, each is uniform and independent of the others.

This is what Poisson and fixed-size batches have in common. All tests are conditional on the sizes,
so that they need no sampling rate, and a wrong rate is left to the check that looks at it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.conformance.check import Tested, Words
from cropaudit.conformance.exact import (
    hypergeometric_sum,
    log_choose,
    monte_carlo,
    permuted_p_value,
    poisson_binomial,
    tails,
)

__all__ = ["MOST_STEPS", "overlaps", "subset_tests"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_STEPS = 2_000  # of the tests of pairs of batches, and likewise records: 4 million pairs
_CLEAR = 1e-4  # p-value at which batches that come back are certain
_WORK = 10_000_000  # random sizes of batches in one test
_LEAST_DRAWS = 1_999

say = Words("""
alike?: every record joins batches as often as any other
favoured: record {record} is in {count} of {steps} batches, where {mean:.1f} are due: it is
  favoured, and its own rate is what the accountant must be given; draw all records alike, without
  weights and with each listed once
missing: {missing} of {records} records, such as record {record}, are in none of {steps} batches,
  where {mean:.1f} are due: they are dropped, and the others come more often than the number of
  records says; sample from all of them, or account for fewer
seldom: record {record} is in {count} of {steps} batches, where {mean:.1f} are due: records are not
  drawn alike; draw all with the same probability
lasting?: records have no lasting preference and no turns
preferred: how often records come in even batches and in odd ones is correlated by
  {correlation:.2f}, where 0 is due: some records are drawn more often than others; draw all alike
turns: how often records come in even batches and in odd ones is correlated by {correlation:.2f},
  where 0 is due: records take turns, as in epochs over a shuffled list; draw each batch afresh, or
  account for shuffled batches
poisson?: batch sizes vary as Poisson sampling makes them
poisson: the sizes of {steps} batches have a deviation of {spread:.2f} about {mean:.1f}, where
  Poisson sampling gives {due:.2f}: {cause}
even: batches are of a fixed size, as a plain DataLoader's are; draw them by Poisson sampling
  (Opacus' DPDataLoader), or claim the sampler that is used
uneven: records join batches together and not one by one; draw each on its own
fixed?: all batches are of one size
fixed: batches hold {least} to {most} records: they are of no fixed size; drop no record and draw
  each batch afresh, or claim the sampler that is used
before?: batches are drawn independently of the one before
before: neighbouring batches share {shared} records in all over {steps} batches, where {due:.1f} are
  due: {cause}
before.less: a record does not come back soon after it was drawn, as in epochs over a shuffled list;
  draw each batch afresh from all records (Opacus' DPDataLoader does), or account for shuffled
  batches
before.more: batches repeat records of the batch before; draw each batch afresh from all records
together?: which records share a batch is drawn afresh for each batch
batches: batches {one} and {other} share {shared} of their {first} and {second} records: batches
  come back instead of being drawn afresh; do not form them once, and do not seed the sampler again
records: records {one} and {other} share {shared} batches of {steps}, where {due:.1f} are due:
  records travel together; draw each record on its own, not in groups
""")


def subset_tests(members: Flags, poisson: bool, rng: np.random.Generator) -> list[Tested]:
    """Tests batches that are drawn afresh.

    Args:
        members: Whether a record is in a batch, shape (steps, records).
        poisson: Whether sizes vary as those of Poisson sampling; else they are all the same.
        rng: Of the Monte Carlo tests.
    """
    return [
        _favoured(members),
        _halves(members, rng),
        _poisson_sizes(members, rng) if poisson else _fixed_sizes(members),
        _neighbours(members),
        _closest(members),
    ]


def _favoured(members: Flags) -> Tested:
    """Tests that no record comes too often or too seldom: exact, over all records."""
    steps, records = members.shape
    counts = members.sum(axis=0)
    law = poisson_binomial(members.sum(axis=1) / records)
    often, seldom = int(counts.argmax()), int(counts.argmin())
    above, below = tails(law, int(counts[often]))[1], tails(law, int(counts[seldom]))[0]
    missing = int((counts == 0).sum())
    cause = "favoured" if above <= below else "missing" if missing else "seldom"
    record = often if above <= below else seldom
    return say.test(
        "alike",
        min(1.0, 2 * records * min(above, below)),
        cause,
        record=record,
        count=counts[record],
        steps=steps,
        records=records,
        mean=float(counts.mean()),
        missing=missing,
    )


def _halves(members: Flags, rng: np.random.Generator) -> Tested:
    """Tests that being drawn often in even batches says nothing of the odd ones.

    Records are exchangeable, and the two halves independent: a permutation test of the products.
    It sees many records that are favoured a little, which the extremes do not show.
    """
    even, odd = members[::2].sum(axis=0), members[1::2].sum(axis=0)
    a, b = even - even.mean(), odd - odd.mean()
    product, scale = float(a @ b), float(np.sqrt((a @ a) * (b @ b)))
    p_value = 1.0
    if scale:
        p_value = permuted_p_value(abs(product), b, lambda rows: np.abs(rows @ a), rng)
    correlation = product / scale if scale else 0.0
    cause = "preferred" if correlation > 0 else "turns"
    return say.test("lasting", p_value, cause, correlation=correlation)


def _poisson_sizes(members: Flags, rng: np.random.Generator) -> Tested:
    """Given how many came in all, Poisson sizes are multivariate hypergeometric: Monte Carlo."""
    steps, records = members.shape
    sizes = members.sum(axis=1)
    total, cells = int(sizes.sum()), steps * records
    mean = total / steps
    due = mean * (1 - 1 / steps) * (cells - total) / max(cells - 1, 1)

    def spread(drawn: Integers) -> Floats:
        # Both too even and too uneven sizes are odd: the ratio to what is due, either way up.
        logs: Floats = np.log(((drawn - mean) ** 2).mean(axis=-1) + 1)
        return np.abs(logs - math.log(due + 1))

    def draw(size: int) -> Floats:
        drawn = rng.multivariate_hypergeometric([records] * steps, total, size, method="marginals")
        return spread(drawn)

    draws = int(np.clip(_WORK // steps, _LEAST_DRAWS, 9_999))
    # Even sizes are tested on their own, exactly, and by far more surely: half the level for each.
    p_value = _even_chance(steps, records, total)
    if sizes.max() - sizes.min() > 1 or p_value >= 1 / draws:
        p_value = monte_carlo(float(spread(sizes)), draw, draws)
    deviation = math.sqrt(max(due, 0.0))
    cause = say("even" if sizes.std() < deviation else "uneven")
    known = {"steps": steps, "spread": sizes.std(), "mean": mean, "due": deviation}
    return say.test("poisson", min(1.0, 2 * p_value), cause=cause, **known)


def _even_chance(steps: int, records: int, total: int) -> float:
    """Returns the probability that no two Poisson sizes of this total differ by more than one."""
    size, more = divmod(total, steps)
    log = log_choose(steps, more) + (steps - more) * log_choose(records, size)
    log += more * log_choose(records, size + 1) if more else 0.0
    return math.exp(min(log - log_choose(steps * records, total), 0.0))


def _fixed_sizes(members: Flags) -> Tested:
    sizes = members.sum(axis=1)
    least, most = sizes.min(), sizes.max()
    return say.test("fixed", float(least == most), least=least, most=most)


def _neighbours(members: Flags) -> Tested:
    """Tests that a batch shares as many records with the one before as chance makes it: exact."""
    part = members[:MOST_STEPS]
    steps, records = part.shape
    sizes = part.sum(axis=1)
    shared = int((part[1:] & part[:-1]).sum())
    due = float((sizes[1:] * sizes[:-1]).sum() / records)
    lower, upper = tails(hypergeometric_sum(records, sizes[1:], sizes[:-1]), shared)
    cause = say("before.less" if lower < upper else "before.more")
    p_value = min(1.0, 2 * lower, 2 * upper)
    return say.test("before", p_value, shared=shared, steps=steps, due=due, cause=cause)


def _closest(members: Flags) -> Tested:
    """Tests that no two batches, and no two records, have too much in common: exact."""
    part, records = members[:MOST_STEPS], members.shape[1]
    pairs = np.ones((len(part), len(part)), dtype=np.bool_)
    of_batches, one, other = overlaps(part, pairs, records)
    of_records, words = _closest_records(part[:, :MOST_STEPS], members.sum(axis=1), records)
    # Records of batches that come back travel together as well: the cause is named first.
    again = np.array_equal(part[one], part[other]) and of_batches <= _CLEAR
    if again or of_batches <= of_records:
        words = say(
            "batches",
            one=one,
            other=other,
            shared=int((part[one] & part[other]).sum()),
            first=part[one].sum(),
            second=part[other].sum(),
        )
    return say.test("together", min(1.0, 2 * of_batches, 2 * of_records), words)


def overlaps(members: Flags, allowed: Flags, records: int) -> tuple[float, int, int]:
    """Returns the p-value of the two batches that share most, over all allowed pairs, and which.

    Args:
        members: Shape (steps, records).
        allowed: Pairs whose overlap is hypergeometric, shape (steps, steps).
        records: Size of the population.
    """
    from scipy.stats import hypergeom

    pairs = np.argwhere(np.triu(allowed, 1))
    if not len(pairs):
        return 1.0, 0, 0
    values = members.astype(np.float32)
    shared = np.rint((values @ values.T)[pairs[:, 0], pairs[:, 1]]).astype(np.int64)
    both = np.sort(members.sum(axis=1)[pairs], axis=1)
    # One number for each kind of pair: there are few kinds and many pairs.
    base = records + 1
    kinds, first = np.unique((shared * base + both[:, 0]) * base + both[:, 1], return_index=True)
    chances = hypergeom.sf(kinds // base**2 - 1, records, kinds % base, kinds // base % base)
    chances = np.where(kinds // base**2 == 0, 1.0, np.clip(np.nan_to_num(chances, nan=1.0), 0, 1))
    best = int(np.argmin(chances))
    one, other = pairs[first[best]]
    return min(1.0, len(pairs) * float(chances[best])), int(one), int(other)


def _closest_records(members: Flags, sizes: Integers, records: int) -> tuple[float, str]:
    kept = members.shape[1]
    values = members.astype(np.float32)
    together = np.triu(values.T @ values, 1)
    if kept < 2 or records < 2:
        return 1.0, ""
    one, other = np.unravel_index(int(np.argmax(together)), together.shape)
    shared, pairs = round(float(together[one, other])), kept * (kept - 1) / 2
    sizes = sizes[: len(members)]
    law = poisson_binomial(sizes * (sizes - 1) / (records * (records - 1)))
    due = float(together.sum()) / pairs
    words = say("records", one=one, other=other, shared=shared, steps=len(members), due=due)
    return min(1.0, pairs * tails(law, shared)[1]), words
