"""As many steps, and as large an expected batch, as the accountant was told.

Only what is above the claim is a failure: fewer steps or smaller batches lose less privacy than
was accounted, and are told. Assumes that the claimed rate is the batch over the records.
"""

from typing import Any

from cropaudit.certificate.run_logs import Tally
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.exact import FOUND, SMALL, expected_share
from cropaudit.conformance.observations.batches import Batches
from cropaudit.conformance.words import joined

__all__ = ["check"]

_CELLS = 20_000_000
_LEVEL = 0.05  # of the interval that is told
_ROUNDING = 1e-9

say = Words("""
asks: as many steps, and as large an expected batch, as the accountant was told
catches: one epoch too many, a wrong sampling rate
steps?: there are no more optimiser steps than the accountant was told
steps: {how} {steps} optimiser steps, where the accountant was told {claimed} ({more} more): an
  epoch too many, or epochs of more batches than records over batch; account for all of them, or
  stop earlier
run: the run made
epochs: the {epochs} epochs that are claimed, of {longest} batches, would make
uncounted: no optimiser of torch was seen to step, so that the steps were counted by batches: the
  run made
steps.open: {how} {steps} steps; none were claimed
steps.seen: {how} {steps} steps{less}
steps.less: , fewer than claimed, which is safe
probed: probed with {records} records
records?: the data set has at least as many records as claimed
records: the loader draws from {records} records, where {claimed} are claimed: each comes more often
  than was accounted for; claim the records that are there
records.seen: {records} records
stated?: the rate that the loader states is at most batch over records
stated: the loader states a sampling rate of {stated:.6g}, where a batch of {batch} out of {records}
  records is {rate:.6g}: Opacus samples at one over the number of batches, which is more with
  drop_last or another batch size; account for that rate
stated.seen: the loader states a rate of {stated:.6g}
size?: batches are no larger, on average, than claimed
size: {seen}, where {batch} are claimed, so that a record is drawn {times:.2f} times as often as was
  accounted for; give the accountant the batch that is drawn, or draw smaller ones
largest: a batch holds {most} records, where {batch} are claimed: the rate is higher than was
  accounted for
size.seen: {steps} batches of {mean:.2f} records on average
size.interval:  (95% interval {low:.2f} to {high:.2f})
size.claimed: {seen}; claimed {batch}
size.most: {seen}, at most {most}
none: no batch was seen
open: no steps, batch or records were claimed
unstepped: the number of steps: no optimiser of torch stepped, and no weight moved by hand
loader: the number of steps: a loader does not show how often it is gone through; --pipeline runs a
  whole training
unread: the records of {unread} images that were loaded could not be told, so that the size of
  batches is not known: see batch law
power: one step too many, or a stated rate that is too high, is found whenever it is there
power.size: {sure}; batches {times:.2f} times as large as claimed are found in {steps} of them at p
  < {small} with probability {found}
""")

_Told = tuple[Tested | None, str]
_NOTHING: _Told = (None, "")


def _read(batches: Batches, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests the number of steps and the rate against what is claimed."""
    rate = None if claimed.batch is None else min(claimed.batch / batches.records, 1.0)
    told = (
        _steps(batches, claimed),
        _records(batches, claimed),
        _stated(batches, claimed, rate),
        _measured(batches, claimed, rate),
    )
    tests = tuple(test for test, _ in told if test is not None)
    unmeasured: str = say("loader")
    if batches.source == "pipeline":
        unmeasured = say("unstepped") if batches.updates < 0 else ""
    lost = batches.unread and claimed.batch is not None
    return Outcome(
        tests=tests,
        evidence=joined(words for _, words in told),
        power=_power(batches, claimed, rate),
        unmeasured=unmeasured,
        undecided=say("unread", unread=batches.unread) if lost else "",
        skipped="" if tests or batches.unread else say("open"),
        figures=_figures(batches),
    )


def _steps(batches: Batches, claimed: PipelineClaim) -> _Told:
    """Compares the steps of a run, or those of an epoch times the epochs."""
    steps, how = batches.updates, say("run")
    if batches.source != "pipeline":
        if claimed.epochs is None or not batches.whole_epochs:
            return _NOTHING
        longest = int(batches.epoch_steps[: batches.whole_epochs].max())
        steps = longest * claimed.epochs
        how = say("epochs", epochs=claimed.epochs, longest=longest)
    if claimed.steps is None:
        return None, say("steps.open", how=how, steps=steps) if steps >= 0 else ""
    if steps < 0:
        steps, how = batches.steps, say("uncounted")
    more = steps - claimed.steps
    test = say.test(
        "steps", float(more <= 0), how=how, steps=steps, claimed=claimed.steps, more=more
    )
    less = say("steps.less") if more < 0 else ""
    return test, say("steps.seen", how=how, steps=steps, less=less) if more <= 0 else ""


def _records(batches: Batches, claimed: PipelineClaim) -> _Told:
    """Compares the size of a data set that is the user's own."""
    records = batches.records
    if batches.ours:
        apart = claimed.records is not None and claimed.records != records
        return None, say("probed", records=records) if apart else ""
    if claimed.records is None:
        return _NOTHING
    enough = records >= claimed.records
    test = say.test("records", float(enough), records=records, claimed=claimed.records)
    return test, say("records.seen", records=records) if enough else ""


def _stated(batches: Batches, claimed: PipelineClaim, rate: float | None) -> _Told:
    """Compares the rate that a loader itself states; Opacus' is one over its number of batches."""
    stated = batches.stated_rate
    if stated < 0 or rate is None or claimed.sampler != "poisson":
        return _NOTHING
    sound = stated <= rate * (1 + _ROUNDING)
    known: dict[str, Any] = {
        "stated": stated,
        "batch": claimed.batch,
        "records": batches.records,
        "rate": rate,
    }
    return say.test("stated", float(sound), **known), say("stated.seen", **known) if sound else ""


def _measured(batches: Batches, claimed: PipelineClaim, rate: float | None) -> _Told:
    """Compares the batches that were seen: exact binomial, or a bound that none may pass."""
    from scipy.stats import binom

    if not batches.steps:
        return None, say("none")
    if batches.unread:
        return _NOTHING
    counts = batches.counts(_CELLS) > 0
    seen, cells = int(counts.sum()), counts.size
    mean = seen / len(counts)
    told: str = say("size.seen", steps=len(counts), mean=mean)
    if claimed.sampler == "poisson":
        low, _, high = (end * batches.records for end in Tally(seen, cells).limits(_LEVEL / 2))
        told += f" {say('size.interval', low=low, high=high)}"
    batch = claimed.batch
    if rate is None or batch is None or claimed.sampler == "full":
        return None, told
    if claimed.sampler != "poisson":
        most = int(counts.sum(axis=1).max())
        test = say.test("size", float(most <= batch), "largest", most=most, batch=batch)
        return test, say("size.most", seen=told, most=most) if most <= batch else ""
    p_value = float(binom.sf(seen - 1, cells, rate))
    test = say.test("size", p_value, seen=told, batch=batch, times=mean / batch)
    return test, say("size.claimed", seen=told, batch=batch)


def _power(batches: Batches, claimed: PipelineClaim, rate: float | None) -> str:
    sure, cells = say("power"), batches.steps * batches.records
    if rate is None or claimed.sampler != "poisson" or not cells or rate >= 1:
        return sure
    found = expected_share(cells, rate)
    if found >= 1:
        return sure
    return say(
        "power.size", sure=sure, times=found / rate, steps=batches.steps, small=SMALL, found=FOUND
    )


def _figures(batches: Batches) -> dict[str, float]:
    known = {
        "updates": float(batches.updates),
        "stated rate": batches.stated_rate,
        "stated expected batch": batches.expected_batch,
        "mean batch": len(batches.record) / batches.steps if batches.steps else -1.0,
    }
    figures = {"batches": float(batches.steps), "records": float(batches.records)}
    return figures | {name: value for name, value in known.items() if value >= 0}


check = Check("steps and rate", say, {"batches": _read, "trained_batches": _read})
