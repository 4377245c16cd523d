"""Records join batches as the claimed sampler draws them.

Tests are conditional on how many records came, so that they judge the kind of sampling alone;
its rate is judged by the check of steps and rate. Assumes batches in the order of training.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.batches.fixed_orders import (
    complete,
    fresh,
    once_an_epoch,
    same_each_epoch,
    split,
)
from cropaudit.conformance.checks.batches.subsets import subset_tests
from cropaudit.conformance.exact import FOUND, SMALL, expected_share
from cropaudit.conformance.observations.batches import Batches

__all__ = ["check"]

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

_SEED = 60
_CELLS = 20_000_000  # of the table of batches and records
_LEAST_STEPS = 2
_RANDOM = ("poisson", "fixed")

say = Words("""
asks: records join batches as the claimed sampler draws them
catches: shuffling passed off as Poisson, dropped, repeated or favoured records
crops?: a record is in a batch {often} at most
crops: record {record} is {most} times in batch {step}, where {crops} is claimed ({repeated:.0%} of
  all participations are like that): {most} crops of an image are accounted as {crops}, or it is
  listed more than once; claim that many crops, or draw each record once a batch
seen: {steps} batches of {least} to {most} out of {records} records; each record in {fewest} to
  {often} of them, at most {crops} times in one; claimed: {sampler}
seen.endless: ; the loader does not end: a pass ends where a record of it comes again
seen.indices: ; the loader has its own data, so that only the indices were seen
power.order: a record that comes twice or is left out, or a batch that comes back, is found whenever
  it is seen; {steps} batches were
power: in {steps} batches, a record that is drawn {favour} is found at p < {small} with probability
  {found}; one that is never drawn, from {missing} batches on; a shuffled list because neighbouring
  batches would share {due:.0f} records by chance, and its own share few
power.favour: {times:.1f} times as often as the others
power.always: in every batch
unread: of {loaded} images that were loaded, the record of {unread} could not be told, so that the
  batches are not known; return masks uninterpolated
few: {steps} batches with {records} records are too few
cut: the loader took so long that it was stopped after {steps} batches, too few to tell
one epoch: one epoch does not show whether the next one is drawn afresh; iterate more epochs
short: {steps} batches are too few to tell a record that is never drawn: {needed} are needed;
  iterate more epochs, or probe with fewer records, of which more are drawn
""")


def _read(batches: Batches, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests the batches against the claimed sampler."""
    read = len(batches.record)
    if batches.unread:
        return Outcome(undecided=say("unread", loaded=read + batches.unread, unread=batches.unread))
    if batches.steps < _LEAST_STEPS or not read:
        return Outcome(undecided=say("few", steps=batches.steps, records=read))
    counts = batches.counts(_CELLS)
    members = counts > 0
    sizes = members.sum(axis=1)
    return Outcome(
        tests=(_crops(counts, claimed.crops), *_of_sampler(batches, members, claimed)),
        evidence=_evidence(batches, members, counts, claimed),
        power=_power(members, claimed),
        undecided=_too_little(batches, members, claimed),
        figures={
            "batches": float(len(members)),
            "records": float(batches.records),
            "mean batch": float(sizes.mean()),
            "deviation of the batch": float(sizes.std()),
            "most in a batch of one record": float(counts.max()),
        },
    )


def _of_sampler(batches: Batches, members: Flags, claimed: PipelineClaim) -> list[Tested]:
    if claimed.sampler in _RANDOM:
        poisson = claimed.sampler == "poisson"
        return subset_tests(members, poisson, np.random.default_rng(_SEED))
    if claimed.sampler == "full":
        return [complete(members)]
    epochs = split(batches, members)
    second = same_each_epoch(epochs) if claimed.sampler == "cyclic" else fresh(epochs)
    first = once_an_epoch(epochs, claimed.batch)
    return [first] if second is None else [first, second]


def _crops(counts: Integers, crops: int) -> Tested:
    step, record = np.unravel_index(int(counts.argmax()), counts.shape)
    most = int(counts[step, record])
    return say.test(
        "crops",
        float(most <= crops),
        often="once" if crops == 1 else f"{crops} times",
        record=record,
        most=most,
        step=step,
        crops=crops,
        repeated=float((counts > crops).sum() / max((counts > 0).sum(), 1)),
    )


def _evidence(batches: Batches, members: Flags, counts: Integers, claimed: PipelineClaim) -> str:
    per_record, sizes = members.sum(axis=0), members.sum(axis=1)
    words = say(
        "seen",
        steps=len(members),
        least=sizes.min(),
        most=sizes.max(),
        records=batches.records,
        fewest=per_record.min(),
        often=per_record.max(),
        crops=counts.max(),
        sampler=claimed.sampler,
    )
    endless = say("seen.endless") if batches.endless else ""
    return words + endless + ("" if batches.ours else say("seen.indices"))


def _power(members: Flags, claimed: PipelineClaim) -> str:
    steps, records = members.shape
    rate, sizes = float(members.mean()), members.sum(axis=1).astype(np.float64)
    if claimed.sampler not in _RANDOM:
        return say("power.order", steps=steps)
    share = expected_share(steps, rate, 2 * records)
    favour = say("power.favour", times=share / rate) if share < 1 else say("power.always")
    return say(
        "power",
        steps=steps,
        favour=favour,
        small=SMALL,
        found=FOUND,
        missing=_steps_for_missing(rate, records),
        due=float((sizes[1:] * sizes[:-1]).sum() / records),
    )


def _steps_for_missing(rate: float, records: int) -> int:
    """Returns after how many batches a record that never came has a p-value of `SMALL`."""
    if rate >= 1:
        return 1
    return math.ceil(math.log(SMALL / (2 * records)) / math.log1p(-rate))


def _too_little(batches: Batches, members: Flags, claimed: PipelineClaim) -> str:
    steps, records = members.shape
    if batches.cut:
        return say("cut", steps=steps)
    if claimed.sampler == "full":
        return ""
    if claimed.sampler not in _RANDOM:
        return "" if len(batches.epoch_steps) > 1 else say("one epoch")
    needed = _steps_for_missing(float(members.mean()), records)
    enough = steps >= needed or members.mean() >= 1
    return "" if enough else say("short", steps=steps, needed=needed)


check = Check("batch law", say, {"batches": _read, "trained_batches": _read})
