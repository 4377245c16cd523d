"""Plays attacks on a saved run; the coins are those of the run."""

from collections.abc import Sequence

from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.attacks.registry import OneRun
from cropaudit.audit.games.one_run import Settings, scored_after, watchers
from cropaudit.audit.runs.saved_run import SavedRun, replay
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.stages import Stage

__all__ = ["Settings", "mechanism_text", "play"]


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


def mechanism_text(mechanism: PatchMechanism) -> str:
    """Returns a mechanism as ``cropaudit estimate --mechanism`` takes it."""
    words = (
        f"{mechanism.kind}:noise={mechanism.noise_multiplier!r},q={mechanism.sample_rate!r},"
        f"rho={mechanism.inclusion!r},steps={mechanism.steps}"
    )
    if mechanism.crops > 1:
        words += f",crops={mechanism.crops}"
    if not mechanism.ordered:
        return words
    return f"{words},epochs={mechanism.compositions}"
