"""What every game leaves behind: its entry in the report, what it shows, and its raw scores."""

from dataclasses import dataclass

from cropaudit.audit.results.estimate_result import AttackEstimate
from cropaudit.audit.results.result import Attack
from cropaudit.audit.scores.tables import ScoreTable

__all__ = ["Played", "Words", "attack_entry"]

_FPRS = (0.001, 0.01, 0.1)


@dataclass(frozen=True, eq=False)
class Played:
    """A finished game.

    Attributes:
        attack: Its entry in the report.
        shown: What its scores show, those of each adversary at their share of the level.
        table: The raw scores.
    """

    attack: Attack
    shown: tuple[AttackEstimate, ...]
    table: ScoreTable


@dataclass(frozen=True)
class Words:
    """How a report names a game."""

    title: str
    adversary: str
    game: str


def attack_entry(
    words: Words,
    table: ScoreTable,
    found: AttackEstimate,
    seconds: float,
    threshold: float | None,
) -> Attack:
    """Returns the entry of a report.

    Args:
        words: About the game.
        table: Of all trials.
        found: What they show; its bounds stand at the full confidence.
        seconds: Taken.
        threshold: At which errors are shown; none where guesses are.
    """
    scores = table.scores
    hits, alarms = scores.counts(threshold) if threshold is not None else (None, None)
    return Attack(
        name=table.attack,
        title=words.title,
        adversary=words.adversary,
        game=words.game,
        members=found.members,
        nonmembers=found.nonmembers,
        auc=found.auc,
        tpr_at_fpr={f"{fpr:g}": scores.tpr_at(fpr) for fpr in _FPRS},
        threshold=threshold,
        false_positives=alarms,
        true_positives=hits,
        roc=found.roc,
        bounds=found.bounds,
        seconds=seconds,
    )
