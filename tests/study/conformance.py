"""Score of the conformance battery: planted faults found, false alarms, and transforms in use.

Faults: each is run as ``cropaudit conform --mutant NAME`` runs it, and held against every check.
False alarms: each sound pipeline is run many times, quickly; the share of runs in which any check
fails stands beside the level, with its exact 95% interval. The tables replace what stands between
the markers of docs/conformance.md.
"""

import time
from collections.abc import Callable, Sequence

from cropaudit.audit.conformance.battery import LEVEL, Battery, run_battery
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.registry import clean_pipelines, faults
from cropaudit.audit.run_logs import Tally
from tests.study.forked_runs import PAIRS, SHARE, Alarms, alarms
from tests.study.guide import guide_table, versions
from tests.study.mistakes import mistakes_part

__all__ = ["PARTS"]

Tick = Callable[[str], None]
_MARKS = {
    "fail": "x",
    "differs": "≠",
    "inconclusive": "?",
    "not measured": "?",
    "pass": "",
    "skipped": "·",
}
_OUTER = 0.025  # each end of a 95% interval


def matrix_part(seeds: int, tick: Tick) -> str:
    """Runs every planted fault at full size; returns the matrix of faults and checks."""
    del seeds
    return matrix([(fault, *_timed(fault, tick)) for fault in faults()])


def alarms_part(seeds: int, tick: Tick) -> str:
    """Runs every sound pipeline once for each seed; returns the table of false alarms."""
    found = []
    for pipeline in clean_pipelines():
        tick(f"Sound: {pipeline.name}")
        found.append(alarms(pipeline, range(seeds)))
    return alarms_table(found)


def guide_part(seeds: int, tick: Tick) -> str:
    """Runs transforms of common libraries; returns what the battery says of them."""
    del seeds
    return f"{guide_table(tick)}\n\nRun with {versions()}."


PARTS = {
    "matrix": matrix_part,
    "mistakes": mistakes_part,
    "alarms": alarms_part,
    "guide": guide_part,
}


def matrix(runs: Sequence[tuple[Fault, Battery, float]]) -> str:
    """Returns the matrix: faults down, numbers of the checks across."""
    numbers = " | ".join(str(i) for i in range(1, len(CHECKS) + 1))
    rows = [f"| fault | {numbers} | s |", "|---|" + ":-:|" * len(CHECKS) + "--:|"]
    rows += [_matrix_row(*run) for run in runs]
    hits = sum(battery.finding(fault.check).status == "fail" for fault, battery, _ in runs)
    any_ = sum(bool(battery.failed) for _, battery, _ in runs)
    missed = [
        fault.name for fault, battery, _ in runs if battery.finding(fault.check).status != "fail"
    ]
    words = f"**{any_} of {len(runs)} faults are found, {hits} by the check that must name them.**"
    if missed:
        words += f" Not by that check: {', '.join(missed)}."
    names = ", ".join(f"{i} {item.name}" for i, item in enumerate(CHECKS, 1))
    legend = (
        f"Checks: {names}. **X**: the check that must name the fault fails; x: another fails as "
        "well; **!**: the check that must name it does not fail; ?: unclear, or not measured; ≠: "
        "not as claimed, and no worse; ·: skipped. Seconds are those of the whole run."
    )
    return "\n".join([words, "", *rows, "", legend])


def _matrix_row(fault: Fault, battery: Battery, seconds: float) -> str:
    cells = []
    for item in battery.findings:
        mark = _MARKS[item.status]
        if item.check == fault.check:
            mark = "**X**" if item.status == "fail" else "**!**"
        cells.append(mark)
    return f"| {fault.name} | {' | '.join(cells)} | {seconds:.0f} |"


def _timed(fault: Fault, tick: Tick) -> tuple[Battery, float]:
    tick(f"Fault: {fault.name}")
    begun = time.perf_counter()
    return run_battery(fault.subjects, fault.claimed), time.perf_counter() - begun


def alarms_table(found: Sequence[Alarms]) -> str:
    """Returns one row for each sound pipeline, and one for all."""
    rows = [
        "| sound pipeline | runs | any check failed | 95% interval | which |",
        "|---|--:|--:|---|---|",
    ]
    rows += [_alarm_row(item) for item in found]
    everything = Alarms(
        "all",
        sum(item.runs for item in found),
        sum(item.failed for item in found),
        (),
    )
    words = (
        f"Stated level: at most {LEVEL:.0%} of the runs. Each takes one in {SHARE} of the draws, "
        f"and {PAIRS} replays of transforms, in which chance has no part."
    )
    return "\n".join([*rows, _alarm_row(everything), "", words])


def _alarm_row(item: Alarms) -> str:
    low, rate, high = Tally(item.failed, item.runs).limits(_OUTER)
    which = ", ".join(f"{name} ({item.checks.count(name)})" for name in sorted({*item.checks}))
    limits = f"{low:.2%} to {high:.2%}"
    return f"| {item.name} | {item.runs} | {item.failed} ({rate:.2%}) | {limits} | {which} |"
