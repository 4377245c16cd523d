"""Plays attacks on a saved run; the coins are those of the run."""

import csv
import io
from collections.abc import Sequence

from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.accounting.mechanisms.registry import ORDERED
from cropaudit.attacks.registry import OneRun
from cropaudit.audit.games.one_run import Settings, scored_after, watchers
from cropaudit.audit.runs.saved_run import SavedRun, replay
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.stages import Stage

__all__ = ["Settings", "mechanism_text", "play", "scores_csv"]


def play(
    run: SavedRun, attacks: Sequence[OneRun], settings: Settings, stage: Stage
) -> tuple[ScoreTable, ...]:
    """Plays attacks.

    Args:
        run: The run.
        attacks: Which.
        settings: How.
        stage: As in `run_audit`.

    Raises:
        InputError: If an attack cannot be played on this run.
    """
    subject = run.subject
    ends = run.model(run.initial), run.model(run.final)
    found = scored_after(subject, attacks, *ends, settings, stage)
    watching = watchers(subject, attacks, settings.seed)
    if watching:
        replay(run, list(watching.values()), stage("Replay, watched", subject.bound.steps))
        found |= {name: watcher.scores() for name, watcher in watching.items()}
    return tuple(ScoreTable(item.name, found[item.name], subject.member) for item in attacks)


def scores_csv(tables: Sequence[ScoreTable]) -> bytes:
    """Returns the scores of all attacks as a CSV that ``cropaudit estimate`` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["attack", "score", "member"])
    for table in tables:
        rows = zip(table.values, table.member, strict=True)
        writer.writerows((table.attack, repr(float(v)), int(m)) for v, m in rows)
    return text.getvalue().encode()


def mechanism_text(mechanism: PatchMechanism) -> str:
    """Returns a mechanism as ``cropaudit estimate --mechanism`` takes it."""
    words = (
        f"{mechanism.kind}:noise={mechanism.noise_multiplier!r},q={mechanism.sample_rate!r},"
        f"rho={mechanism.inclusion!r},steps={mechanism.steps}"
    )
    if mechanism.crops > 1:
        words += f",crops={mechanism.crops}"
    if mechanism.kind not in ORDERED:
        return words
    return f"{words},epochs={mechanism.compositions}"
