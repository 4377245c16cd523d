"""Games whose trials are whole runs: independent of each other, so that tests by rank apply."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.design import plan_game
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.game_entry import Played, Words, attack_entry, score_csv
from cropaudit.audit.games import plan_bounds
from cropaudit.audit.subject import Subject
from cropaudit.audit.verdict import Evidence

__all__ = ["independent_game"]


def independent_game(
    subject: Subject,
    name: str,
    words: Words,
    values: Sequence[NDArray[np.float64]],
    member: NDArray[np.bool_],
    seconds: float,
) -> Played:
    """Holds scores of independent runs against the configured mechanism.

    Args:
        subject: What is audited.
        name: Of the attack.
        words: About it.
        values: Scores of every run, shape (n,), by the adversary that expects the configured noise,
            then by those that expect less, if any.
        member: Which runs held world A, shape (n,).
        seconds: Taken.
    """
    game = subject.config.game
    level = 1 - game.confidence
    share = level / len(game.attacks)
    scores = [Scores.labelled(row, member) for row in values]
    trials = len(scores[0].member), len(scores[0].nonmember)
    plan = plan_game(subject.mechanism, game.delta, *trials, share, "claimed")
    own, strict = (plan.tests(scores, each) for each in (level, share))
    bounds, corrected = (
        plan_bounds(plan, tests, game.delta, each)
        for tests, each in ((own, level), (strict, share))
    )
    threshold = float(np.sort(scores[0].nonmember)[-plan.family_rank])
    entry = attack_entry(name, words, scores[0], bounds, seconds, threshold)
    evidence = Evidence(name, corrected, strict, in_game=False)
    return Played(entry, evidence, score_csv(values[0], member))
