"""What the scores of attacks on one run show, held against the run's claim.

Each attack's canaries are guessed as in the audit's own games (`run_games`), and the level is split
over the attacks that were played.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cropaudit.audit.attack_names import KnownAttack
from cropaudit.audit.claims import StatedClaim, state_claim
from cropaudit.audit.game_entry import Words
from cropaudit.audit.result import Attack, Headline
from cropaudit.audit.run_games import canaries_needed, canary_game, could_refute
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.audit.subject import Subject
from cropaudit.audit.verdict import decide, headline

__all__ = ["Judged", "judge"]

_GAME = "one training run, a fair coin for every canary; canaries share the run's noise"


@dataclass(frozen=True, eq=False)
class Judged:
    """What scores show.

    Attributes:
        claim: Of the run.
        attacks: With their bounds, each at the full confidence.
        headline: The largest bound, corrected for all attacks.
        contradicted: Whether the claim is, corrected likewise.
        detail: Why, in words; empty if it is not.
        could_contradict: Whether scores without an error would have.
        canaries_needed: If not, how many canaries could; none if no number was found.
    """

    claim: StatedClaim
    attacks: tuple[Attack, ...]
    headline: Headline
    contradicted: bool
    detail: str
    could_contradict: bool = True
    canaries_needed: int | None = None


def judge(subject: Subject, attacks: Sequence[KnownAttack], tables: Sequence[ScoreTable]) -> Judged:
    """Turns scores into bounds.

    Args:
        subject: What was trained on.
        attacks: What was played.
        tables: Their scores, in that order.
    """
    config = subject.config
    names = tuple(attack.name for attack in attacks)
    # The audit's own list is of other games; here the level is split over those that were played.
    game = config.game.model_copy(update={"attacks": names})
    played = replace(subject, config=config.model_copy(update={"game": game}))
    games = [
        canary_game(
            played,
            attack.name,
            Words(attack.name, f"{attack.adversary}; {attack.beside}", _GAME),
            table.values,
            table.member,
            0.0,
        )
        for attack, table in zip(attacks, tables, strict=True)
    ]
    claim = state_claim(config.claim, subject.mechanism, config.game.delta)
    evidence = [item.evidence for item in games]
    found = decide(claim, evidence, (), None, config.game.resolution)
    contradicted = found.status == "violation"
    canaries = len(tables[0].member)
    could = contradicted or could_refute(played, claim, canaries)
    return Judged(
        claim,
        tuple(item.attack for item in games),
        headline(evidence, config.game.confidence, config.game.delta),
        contradicted,
        found.detail if contradicted else "",
        could,
        None if could else canaries_needed(played, claim, canaries),
    )
