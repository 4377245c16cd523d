"""Are logged inclusions what the limits of their rates take for granted: one rate, drawn afresh?

A rate of a half in some steps and of nothing in the others passes for a quarter in all, and leaks
more. Both tests are exact given how often the record was drawn, whatever the rate: events in a
stretch of steps are hypergeometric, and so is the number of runs of steps that drew the record.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from cropaudit.audit.noise_tests import CONSTANT, Judged
from cropaudit.audit.run_logs import InclusionLog

__all__ = ["judge_rates"]

Counts = NDArray[np.int64]


def judge_rates(log: InclusionLog, level: float, *, sampled: bool) -> tuple[Judged, ...]:
    """Tests the rates of a log that says what each step did; nothing of one that does not.

    Args:
        log: The log.
        level: In (0, 1), shared equally.
        sampled: Whether each step draws its batch anew. Batches of a fixed order do not, and their
            windows alone are judged.
    """
    if not log.steps:
        return ()
    drawn = np.stack([_padded([row[0] for row in own], log.steps) for own in log.steps])
    met = np.stack([_padded([row[1] for row in own], log.steps) for own in log.steps])
    tests = 3 if sampled else 1
    share, found = level / tests, []
    if sampled:
        there = np.stack([_padded([1] * len(own), log.steps) for own in log.steps])
        p, where = _constant(drawn.sum(axis=0), there.sum(axis=0))
        found.append(Judged(CONSTANT, p, share, where, "sampling rate"))
        if p > share:  # of a rate that changes, steps in a row go together for that alone
            runs = [_fresh(np.array([row[0] for row in own])) for own in log.steps]
            p, where = min(1.0, len(runs) * min(runs)), "steps in a row go together"
            found.append(Judged("drawn afresh", p, share, where, "sampling rate"))
    p, where = _constant(met.sum(axis=0), log.crops * drawn.sum(axis=0))
    found.append(Judged(CONSTANT, p, share, where, "inclusion probability"))
    return tuple(found)


def _padded(values: Sequence[int], records: Sequence[Sequence[object]]) -> Counts:
    longest = max(map(len, records))
    return np.array([*values, *[0] * (longest - len(values))], dtype=np.int64)


def _constant(events: Counts, trials: Counts) -> tuple[float, str]:
    """Tests that events among trials have one rate: in all stretches of 2, 4, 8, ... steps."""
    total, all_events = int(trials.sum()), int(events.sum())
    worst, where, tests, width = 1.0, "", 0, len(events)
    while width >= 2:
        width = (width + 1) // 2
        starts = np.arange(0, len(events), width)
        hits, of = np.add.reduceat(events, starts), np.add.reduceat(trials, starts)
        low = hypergeom.cdf(hits, total, all_events, of)
        high = hypergeom.sf(hits - 1, total, all_events, of)
        p = np.minimum(1.0, 2 * np.minimum(low, high))
        tests, at = tests + len(starts), int(np.argmin(p))
        if p[at] < worst:
            worst = float(p[at])
            last = min(len(events), (at + 1) * width) - 1
            where = f"{hits[at]} of {of[at]} in steps {at * width} to {last}"
            where += f" of the log, {all_events} of {total} in all"
    return min(1.0, max(tests, 1) * worst), where


def _fresh(drawn: Counts) -> float:
    """Tests that steps are drawn apart: runs of k draws in n steps are hypergeometric."""
    n, k = len(drawn), int(drawn.sum())
    if not 0 < k < n:
        return 1.0
    runs = int(drawn[0]) + int((np.diff(drawn) == 1).sum())
    law = hypergeom(n, n - k + 1, k)
    return float(min(1.0, 2 * min(law.cdf(runs), law.sf(runs - 1))))
