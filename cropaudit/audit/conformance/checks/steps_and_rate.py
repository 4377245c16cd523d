"""Check 11: as many steps, and as large an expected batch, as the accountant was told.

Only what is above the claim is a failure: fewer steps or smaller batches lose less privacy than
was accounted, and are told. Assumes that the claimed rate is the batch over the records.
"""

from scipy import stats

from cropaudit.audit.conformance.checks.exact import FOUND, SMALL
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "steps and rate"
_CELLS = 20_000_000
_LEVEL = 0.05  # of the interval that is told
_ROUNDING = 1e-9


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the number of steps and the rate against what is claimed."""
    batches = seen.batches
    if batches is None:
        return Outcome(NAME, skipped="no loader and no pipeline was given")
    rate = None if claimed.batch is None else min(claimed.batch / batches.records, 1.0)
    tests: list[Tested] = []
    told: list[str] = []
    for found, words in (
        _steps(batches, claimed),
        _records(batches, claimed),
        _stated(batches, claimed, rate),
        _measured(batches, claimed, rate),
    ):
        tests.extend([] if found is None else [found])
        told.extend([words] if words else [])
    return Outcome(
        NAME,
        tests=tuple(tests),
        evidence="; ".join(told),
        power=_power(batches, claimed, rate),
        unmeasured=_unmeasured(batches),
        undecided=_undecided(batches, claimed),
        skipped="" if tests or batches.unread else "no steps, batch or records were claimed",
        where=batches.where,
        figures=_figures(batches),
    )


def _steps(batches: Batches, claimed: Claimed) -> tuple[Tested | None, str]:
    """Compares the steps of a run, or those of an epoch times the epochs."""
    null = "there are no more optimiser steps than the accountant was told"
    steps, how = batches.updates, "the run made"
    if batches.source != "pipeline":
        if claimed.epochs is None or not batches.whole_epochs:
            return None, ""
        longest = int(batches.epoch_steps[: batches.whole_epochs].max())
        steps = longest * claimed.epochs
        how = f"the {claimed.epochs} epochs that are claimed, of {longest} batches, would make"
    if claimed.steps is None:
        return None, f"{how} {steps} steps; none were claimed" if steps >= 0 else ""
    if steps < 0:
        words = "no optimiser of torch was seen to step, so that the steps were counted by batches"
        steps = batches.steps
        how = f"{words}: the run made"
    if steps <= claimed.steps:
        less = "" if steps == claimed.steps else ", fewer than claimed, which is safe"
        return Tested(null, 1.0, f"{how} {steps} steps"), f"{how} {steps} steps{less}"
    words = (
        f"{how} {steps} optimiser steps, where the accountant was told {claimed.steps} "
        f"({steps - claimed.steps} more): an epoch too many, or epochs of more batches than "
        "records over batch; account for all of them, or stop earlier"
    )
    return Tested(null, 0.0, words), ""


def _records(batches: Batches, claimed: Claimed) -> tuple[Tested | None, str]:
    """Compares the size of a data set that is the user's own."""
    if batches.ours:
        apart = claimed.records is not None and claimed.records != batches.records
        return None, f"probed with {batches.records} records" if apart else ""
    if claimed.records is None:
        return None, ""
    null = "the data set has at least as many records as claimed"
    if batches.records >= claimed.records:
        told = f"{batches.records} records"
        return Tested(null, 1.0, told), told
    words = (
        f"the loader draws from {batches.records} records, where {claimed.records} are claimed: "
        "each comes more often than was accounted for; claim the records that are there"
    )
    return Tested(null, 0.0, words), ""


def _stated(batches: Batches, claimed: Claimed, rate: float | None) -> tuple[Tested | None, str]:
    """Compares the rate that a loader itself states; Opacus' is one over its number of batches."""
    stated = batches.stated_rate
    if stated < 0 or rate is None or claimed.sampler != "poisson":
        return None, ""
    null = "the rate that the loader states is at most batch over records"
    if stated <= rate * (1 + _ROUNDING):
        return Tested(null, 1.0, f"rate {stated:.6g}"), f"the loader states a rate of {stated:.6g}"
    words = (
        f"the loader states a sampling rate of {stated:.6g}, where a batch of {claimed.batch} out "
        f"of {batches.records} records is {rate:.6g}: Opacus samples at one over the number of "
        "batches, which is more with drop_last or another batch size; account for that rate"
    )
    return Tested(null, 0.0, words), ""


def _measured(batches: Batches, claimed: Claimed, rate: float | None) -> tuple[Tested | None, str]:
    """Compares the batches that were seen: exact binomial, or a bound that none may pass."""
    if not batches.steps:
        return None, "no batch was seen"
    if batches.unread:
        return None, ""
    counts = batches.counts(_CELLS) > 0
    seen, cells = int(counts.sum()), counts.size
    mean = seen / len(counts)
    told = f"{len(counts)} batches of {mean:.2f} records on average"
    if claimed.sampler == "poisson":
        low, high = _interval(seen, cells)
        told += f" (95% interval {low * batches.records:.2f} to {high * batches.records:.2f})"
    if rate is None or claimed.batch is None or claimed.sampler == "full":
        return None, told
    null = "batches are no larger, on average, than claimed"
    if claimed.sampler != "poisson":
        largest = int(counts.sum(axis=1).max())
        if largest <= claimed.batch:
            return Tested(null, 1.0, told), f"{told}, at most {largest}"
        words = f"a batch holds {largest} records, where {claimed.batch} are claimed"
        return Tested(null, 0.0, f"{words}: the rate is higher than was accounted for"), ""
    p_value = float(stats.binom.sf(seen - 1, cells, rate))
    words = (
        f"{told}, where {claimed.batch} are claimed, so that a record is drawn "
        f"{mean / claimed.batch:.2f} times as often as was accounted for; give the accountant the "
        "batch that is drawn, or draw smaller ones"
    )
    return Tested(null, p_value, words), f"{told}; claimed {claimed.batch}"


def _unmeasured(batches: Batches) -> str:
    if batches.source == "pipeline":
        if batches.updates >= 0:
            return ""
        return "the number of steps: no optimiser of torch stepped, and no weight moved by hand"
    return (
        "the number of steps: a loader does not show how often it is gone through; --pipeline runs "
        "a whole training"
    )


def _undecided(batches: Batches, claimed: Claimed) -> str:
    if not batches.unread or claimed.batch is None:
        return ""
    return (
        f"the records of {batches.unread} images that were loaded could not be told, so that the "
        "size of batches is not known: see batch law"
    )


def _interval(seen: int, cells: int) -> tuple[float, float]:
    found = stats.binomtest(seen, cells).proportion_ci(1 - _LEVEL, method="exact")
    return float(found.low), float(found.high)


def _power(batches: Batches, claimed: Claimed, rate: float | None) -> str:
    words = "one step too many, or a stated rate that is too high, is found whenever it is there"
    cells = batches.steps * batches.records
    if rate is None or claimed.sampler != "poisson" or not cells or rate >= 1:
        return words
    # The first count of participations that is rarer than SMALL at the claimed rate.
    critical = int(stats.binom.isf(SMALL, cells, rate)) + 1
    if critical > cells:
        return words
    found = float(stats.beta.ppf(FOUND, critical, cells - critical + 1))
    return (
        f"{words}; batches {found / rate:.2f} times as large as claimed are found in "
        f"{batches.steps} of them at p < {SMALL} with probability {FOUND}"
    )


def _figures(batches: Batches) -> dict[str, float]:
    figures = {"batches": float(batches.steps), "records": float(batches.records)}
    if batches.updates >= 0:
        figures["updates"] = float(batches.updates)
    if batches.stated_rate >= 0:
        figures["stated rate"] = batches.stated_rate
    if batches.expected_batch >= 0:
        figures["stated expected batch"] = batches.expected_batch
    if batches.steps:
        figures["mean batch"] = len(batches.record) / batches.steps
    return figures
