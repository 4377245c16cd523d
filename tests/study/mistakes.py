"""The matrix of mistakes: what `cropaudit conform` says of each, by the route that it is given on.

A mistake is found if a check fails; it is inconclusive if one cannot tell, or what should have been
watched could not be; it differs if something else is done than was claimed and no privacy is lost.
Only what passes leaves with 0 under ``--strict``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cropaudit.audit.conformance.battery import LEVEL, Battery, run_battery
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.run_logs import Tally
from tests import mistakes

__all__ = ["mistakes_part", "probed"]

_FILE = Path(mistakes.__file__).resolve()
_OUTER = 0.025  # each end of a 95% interval


def probed(name: str, seed: int = 0) -> Battery:
    """Returns what is found of one of them, in a process of its own, as by the command line."""
    route: dict[str, Any] = {name.partition("_")[0]: f"{_FILE}:{name}"}
    return run_battery(Subjects(**route, seed=seed), mistakes.CLAIMED)


def mistakes_part(seeds: int, tick: Callable[[str], None]) -> str:
    """Runs every mistake once, and the sound training for each seed; returns the tables."""
    rows = ["| given as | mistake | verdict | by |", "|---|---|---|---|"]
    for name in (*mistakes.SOUND, *mistakes.MISTAKES):
        tick(f"Mistake: {name}")
        rows.append(_row(name, probed(name)))
    tick("The sound training")
    verdicts = [probed("pipeline_sound", seed).verdict for seed in range(seeds)]
    return "\n".join([*rows, "", _sound(verdicts)])


def _row(name: str, found: Battery) -> str:
    route, _, words = name.partition("_")
    of = {"fail": found.failed, "inconclusive": found.undecided, "differs": found.differing}
    names = ", ".join(item.check for item in of.get(found.verdict, ()))
    return f"| `--{route}` | {words.replace('_', ' ')} | **{found.verdict}** | {names} |"


def _sound(verdicts: Sequence[str]) -> str:
    passed = sum(verdict == "pass" for verdict in verdicts)
    failed = sum(verdict == "fail" for verdict in verdicts)
    low, _, high = Tally(failed, len(verdicts)).limits(_OUTER)
    return (
        f"The sound training through `--pipeline` with {len(verdicts)} seeds: {passed} pass, "
        f"{failed} fail (95% interval {low:.2%} to {high:.2%}; the level is {LEVEL:.0%})."
    )
