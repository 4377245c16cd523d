"""Games whose trials are canaries: each with its own fair coin, several of them in one run.

Canaries of independent runs may be put together: each coin acts on its own run alone. Two tests
share the level: Steinke's, which assumes nothing about the mechanism, and one-run f-DP, which holds
the claimed trade-off curve itself against the guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.claims import StatedClaim
from cropaudit.audit.curve_tests import CurveTest
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.guess_plan import planned_shares
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

__all__ = ["GuessesTest", "canaries_needed", "canary_game", "could_refute", "one_run_game"]

_MOST = 1 << 16  # canaries asked about

_GUESSED = (1.0, 1 / 3, 1 / 10)  # shares that are guessed where nothing is assumed; corrected for


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
    game = subject.config.game
    level = 1 - game.confidence
    share = level / len(game.attacks)
    scores = Scores.labelled(values, member)
    claimed = _claimed(subject.mechanism, game.delta, len(values), share / 2)
    free = RunMethod(Steinke(), tuple(Ends(each) for each in _GUESSED))

    def bounds(each: float) -> tuple[Bound, ...]:
        return tuple(method.bound(scores, game.delta, each, 0) for method in (claimed, free))

    guesses = tuple(policy.guesses(scores) for policy in claimed.policies)
    tests: tuple[CurveTest, ...] = (GuessesTest(guesses, share / 2),)
    entry = attack_entry(name, words, scores, bounds(level), seconds, None)
    evidence = Evidence(name, bounds(share / 2), tests, in_game=False)
    return Played(entry, evidence, score_csv(values, member))


def could_refute(subject: Subject, claim: StatedClaim, canaries: int) -> bool:
    """Whether guesses without an error about so many canaries would refute the claim.

    Args:
        subject: What is audited; its attacks share the level.
        claim: What is claimed.
        canaries: In the run.
    """
    game = subject.config.game
    share = (1 - game.confidence) / len(game.attacks) / 2
    claimed = _claimed(subject.mechanism, game.delta, canaries, share)
    sizes = [policy.number(canaries) for policy in claimed.policies]
    if claim.refuted_by(GuessesTest(tuple(Guesses(canaries, r, r) for r in sizes), share)):
        return True
    plain = [Ends(each).number(canaries) for each in _GUESSED]
    found = (
        Steinke().epsilon(Guesses(canaries, r, r), game.delta, share / len(plain)) for r in plain
    )
    return any(item.epsilon > claim.epsilon for item in found)


def canaries_needed(subject: Subject, claim: StatedClaim, canaries: int) -> int | None:
    """Returns a number of canaries that could refute the claim, so many being too few.

    Returns:
        At most twice the fewest; none if even 65,536 are too few.
    """
    wanted = 2 * canaries
    while wanted <= _MOST and not could_refute(subject, claim, wanted):
        wanted *= 2
    return wanted if wanted <= _MOST else None


@lru_cache(maxsize=16)
def _claimed(mechanism: PatchMechanism, delta: float, canaries: int, level: float) -> RunMethod:
    """Returns one-run f-DP with its plan, which the games of a run have in common."""
    family = Family(mechanism, delta, order="claimed")
    shares = planned_shares(canaries, family, level)
    return RunMethod(RunFdp(family), tuple(Ends(share) for share in shares))


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
