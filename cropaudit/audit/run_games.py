"""Games whose trials are canaries: each with its own fair coin, several of them in one run.

Canaries of independent runs may be put together: each coin acts on its own run alone. Two tests
share the level: Steinke's, which assumes nothing about the mechanism, and one-run f-DP, which holds
the claimed trade-off curve itself against the guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.curve_tests import CurveTest
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.run_fdp import RunFdp, blow_up_inverse, rejected
from cropaudit.audit.estimators.run_methods import RunMethod
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.steinke import Steinke
from cropaudit.audit.game_entry import Played, Words, attack_entry, score_csv
from cropaudit.audit.result import Bound
from cropaudit.audit.subject import Subject
from cropaudit.audit.verdict import Evidence

__all__ = ["GuessesTest", "canary_game", "one_run_game"]

_GUESSED = (1.0, 1 / 3, 1 / 10)  # shares of the canaries that are guessed; corrected for


@dataclass(frozen=True)
class GuessesTest:
    """Right guesses about coins, by several rules that were fixed beforehand.

    Attributes:
        guesses: What each rule brought.
        level: Of all rules together.
    """

    guesses: tuple[Guesses, ...]
    level: float

    @property
    def words(self) -> str:
        """What was measured."""
        shown = (f"{item.right} of {item.guesses}" for item in self.guesses)
        return f"coins of {self.guesses[0].canaries} canaries guessed: {', '.join(shown)} right"

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        """Whether each of several curves is rejected, in either order of the worlds."""
        share = self.level / len(self.guesses)
        inverses = [blow_up_inverse(curve) for curve in curves]
        return all(any(rejected(item, one, share) for item in self.guesses) for one in inverses)


def one_run_game(
    subject: Subject, name: str, values: NDArray[np.float64], seconds: float
) -> Played:
    """Turns the scores of the canaries of the audited run into a game."""
    return canary_game(subject, name, _ONE_RUN_WORDS[name], values, subject.member, seconds)


def canary_game(
    subject: Subject,
    name: str,
    words: Words,
    values: NDArray[np.float64],
    member: NDArray[np.bool_],
    seconds: float,
) -> Played:
    """Turns the scores of canaries into a game.

    Args:
        subject: What is audited.
        name: Of the attack.
        words: About it.
        values: One score a canary, shape (n,); high means world A.
        member: Their coins, shape (n,).
        seconds: Taken.
    """
    game, seed = subject.config.game, subject.seeds.ties
    level = 1 - game.confidence
    share = level / len(game.attacks)
    scores = Scores.labelled(values, member)
    free = RunMethod(Steinke(), _policies())
    claimed = RunMethod(RunFdp(Family(subject.mechanism, game.delta, order="claimed")), _policies())

    def bounds(each: float) -> tuple[Bound, ...]:
        return tuple(method.bound(scores, game.delta, each, seed) for method in (claimed, free))

    tests: tuple[CurveTest, ...] = ()
    if not scores.alike:
        tests = (GuessesTest(tuple(p.guesses(scores, seed) for p in _policies()), share / 2),)
    entry = attack_entry(name, words, scores, bounds(level), seconds, None)
    evidence = Evidence(name, bounds(share / 2), tests, in_game=False)
    return Played(entry, evidence, score_csv(values, member))


def _policies() -> tuple[Ends, ...]:
    return tuple(Ends(share) for share in _GUESSED)


_ONE_RUN_WORDS = {
    "white-box": Words(
        "White-box on the real model",
        "sees every noisy update, knows the images and both contents of every canary; does not "
        "know batches, windows or coins",
        "one training run, a fair coin for every canary; canaries share the run's noise",
    ),
    "black-box": Words(
        "Black-box on the final model",
        "queries the released model on crops of the canary's image; knows both contents",
        "one training run, a fair coin for every canary; canaries share the run's noise",
    ),
}
