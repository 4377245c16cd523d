"""Quick runs of the battery on sound pipelines: torch is imported once, and each run is a fork.

A run differs from ``cropaudit conform`` in the number of draws, of which ``quick`` takes a part,
and of replays: they take the time, and what a replay of a sound transform shows is no chance.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from cropaudit.audit.conformance.battery import LEVEL, examine
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.process import observe_objects
from cropaudit.audit.conformance.worker import probing

__all__ = ["PAIRS", "SHARE", "Alarms", "alarms"]

PAIRS = 4
SHARE = probing._QUICK  # of draws, one in so many is taken


@dataclass(frozen=True)
class Alarms:
    """What the battery said of one sound pipeline.

    Attributes:
        name: Of the pipeline.
        runs: Independent runs.
        failed: Runs in which any check failed.
        checks: The checks that failed, with repetitions.
    """

    name: str
    runs: int
    failed: int
    checks: tuple[str, ...]


def alarms(fault: Fault, seeds: Sequence[int], level: float = LEVEL) -> Alarms:
    """Runs the battery on a sound pipeline, once for each seed."""
    torch.set_num_threads(1)  # threads do not survive a fork
    with _few_replays():
        failing = [_failing(fault, seed, level) for seed in seeds]
    checks = tuple(name for names in failing for name in names)
    return Alarms(fault.name, len(failing), sum(map(bool, failing)), checks)


def _failing(fault: Fault, seed: int, level: float) -> list[str]:
    subjects = replace(fault.subjects, seed=seed, quick=True)
    battery = examine(observe_objects({}, subjects, fault.claimed), fault.claimed, level)
    return [item.check for item in battery.failed]


@contextmanager
def _few_replays() -> Iterator[None]:
    kept = probing._PAIRS
    probing._PAIRS = PAIRS * SHARE
    try:
        yield
    finally:
        probing._PAIRS = kept
