"""From a game's scores to its entry in the report and what it shows of the claim.

A game is held against the claim as any scores are (`attack_estimate`), by its kind of trials:
canaries of one run each have a fair coin of their own, whole runs are independent. Gradients of
real models may change sides from step to step, so both are held to the accountant's curve; slots of
the probe play the mechanism's own pair.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cropaudit.attacks.base import Description
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.games.design import game_estimates
from cropaudit.audit.games.game_entry import Played, Words, attack_entry
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.audit.verdict.estimate import attack_estimate
from cropaudit.estimators.hypothesis import Hypothesis, Trials
from cropaudit.estimators.policies.methods import planned_rate
from cropaudit.estimators.trials.family import Order

__all__ = ["ONE_RUN", "canary_game", "hypothesis_of", "independent_game", "one_run_game"]

ONE_RUN = "one training run, a fair coin for every canary; canaries share the run's noise"


def hypothesis_of(
    subject: Subject,
    trials: Trials = "independent",
    order: Order = "adaptive",
    games: int | None = None,
) -> Hypothesis:
    """Returns the audit's claim as it is held against one of its games.

    Args:
        subject: What is audited.
        trials: Of the game.
        order: Of the worlds.
        games: How many divide the level; as many as the audit's attacks unless given.
    """
    game = subject.config.game
    share = 1 / (games or len(game.attacks))
    given = {"order": order, "trials": trials, "seed": subject.config.seed}
    return subject.claim.hypothesis(subject.mechanism, game.confidence, share, **given)  # type: ignore[arg-type]


def one_run_game(
    subject: Subject, attack: Description, values: NDArray[np.float64], seconds: float
) -> Played:
    """Turns the scores of the canaries of the audited run into a game."""
    words = Words(attack.title, attack.adversary, ONE_RUN)
    return canary_game(subject, attack.name, words, values, subject.member, seconds)


def canary_game(
    subject: Subject,
    name: str,
    words: Words,
    values: NDArray[np.float64],
    member: NDArray[np.bool_],
    seconds: float,
) -> Played:
    """Turns the scores of canaries into a game; those of independent runs may be put together.

    Args:
        subject: What is audited.
        name: Of the attack.
        words: About it.
        values: One score a canary, shape (n,); high means world A.
        member: Their coins, shape (n,).
        seconds: Taken.
    """
    table = ScoreTable(name, values, member)
    found = attack_estimate(table, hypothesis_of(subject, "one-run"), "audit")
    entry = attack_entry(words, table, found, seconds, None)
    return Played(entry, (found,), table)


def independent_game(
    subject: Subject,
    name: str,
    words: Words,
    values: Sequence[NDArray[np.float64]],
    member: NDArray[np.bool_],
    seconds: float,
    order: Order = "adaptive",
) -> Played:
    """Turns the scores of independent trials into a game.

    Args:
        subject: What is audited.
        name: Of the attack.
        words: About it.
        values: Scores of every trial, shape (n,), by the adversary that expects the configured
            noise, then by those that expect less, if any.
        member: Which trials held world A, shape (n,).
        seconds: Taken.
        order: Of the worlds.
    """
    hypothesis = hypothesis_of(subject, order=order)
    own, *quiet = [ScoreTable(name, np.asarray(row), member) for row in values]
    found = game_estimates((own, *quiet), hypothesis)
    family, scores = hypothesis.family, own.scores
    if family is None:
        raise TypeError("an audit has a mechanism")
    sizes = len(scores.member), len(scores.nonmember)
    rate = planned_rate(family, sizes, hypothesis.level)
    threshold = float(np.sort(scores.nonmember)[-max(1, round(rate * sizes[1]))])
    entry = attack_entry(words, own, found[0], seconds, threshold)
    return Played(entry, found, own)
