"""What the scores of attacks on one run show, held against the run's claim."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cropaudit.attacks.registry import OneRun
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.games.game_entry import Words, attack_entry
from cropaudit.audit.games.run_games import ONE_RUN, hypothesis_of
from cropaudit.audit.results.estimate_result import Estimate
from cropaudit.audit.results.result import Attack
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.audit.verdict.claims import StatedClaim
from cropaudit.audit.verdict.estimate import estimate
from cropaudit.audit.verdict.verdict import decide

__all__ = ["Judged", "judge"]


@dataclass(frozen=True, eq=False)
class Judged:
    """What scores show.

    Attributes:
        claim: Of the run.
        attacks: Their entries, with bounds at the full confidence.
        found: All that the scores show.
        detail: Why the claim is contradicted, in words; empty if it is not.
    """

    claim: StatedClaim
    attacks: tuple[Attack, ...]
    found: Estimate
    detail: str


def judge(
    subject: Subject, attacks: Sequence[OneRun], tables: Sequence[ScoreTable], seed: int = 0
) -> Judged:
    """Turns scores into bounds and a decision, as `estimate` does.

    Args:
        subject: What was trained on.
        attacks: What was played; they divide the level, whatever the run's own list of games says.
        tables: Their scores, in that order.
        seed: Of the order of rows.
    """
    config = subject.config
    hypothesis = replace(hypothesis_of(subject, "one-run", games=1), seed=seed)
    found = estimate(tables, hypothesis)
    entries = tuple(
        attack_entry(_words(known), table, item, 0.0, None)
        for known, table, item in zip(attacks, tables, found.attacks, strict=True)
    )
    resolution = config.game.resolution
    verdict = decide(subject.claim, found.attacks, hypothesis.level, (), None, resolution)
    return Judged(subject.claim, entries, found, verdict.detail if found.contradicted else "")


def _words(known: OneRun) -> Words:
    return Words(known.name, f"{known.adversary}; {known.beside}", ONE_RUN)
