"""Whether the estimators keep their promise on this machine: coverage against known truths.

Every estimator that `estimate` would use plays games of known epsilon. The share of bounds above
the truth is set beside the nominal one. An estimator of class exact, or model-based where its model
is true, fails if so many would be seen with a chance below one in a thousand at the nominal share.
Credible and asymptotic classes promise less; what they do is shown, not judged.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.stats import binom, binomtest

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.methods import Method
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question
from cropaudit.audit.result import Validity
from cropaudit.audit.simulated import pair_scores, response_scores
from cropaudit.errors import require

__all__ = ["CHANCE", "Coverage", "Game", "coverages", "games", "play"]

CHANCE = 1e-3
"""Chance, at most, that a sound estimator fails here."""
_QUIET, _LOUD = PoissonPatch(2.25, 0.1, 0.3, 100), PoissonPatch(0.84, 0.1, 0.3, 100)
_UNFIT = {"gaussian-mu"}  # its model is not that of any game here


@dataclass(frozen=True)
class Game:
    """A game of known epsilon, and the question put to its scores.

    Attributes:
        words: What is played.
        truth: The true epsilon at the question's delta.
        question: What is asked.
        scores: Draws the scores of so many trials.
    """

    words: str
    truth: float
    question: Question
    scores: Callable[[tuple[int, int], np.random.Generator], Scores]


@dataclass(frozen=True)
class Coverage:
    """What one estimator did in one game.

    Attributes:
        estimator: Its name.
        validity: Its class.
        game: What was played.
        trials: "independent" or "one-run".
        truth: The true epsilon.
        games: How often it was played.
        above: How many bounds were above the truth.
        level: The nominal share.
        median: Median of the bounds.
        judged: Whether the estimator promises the nominal share in this game.
    """

    estimator: str
    validity: Validity
    game: str
    trials: str
    truth: float
    games: int
    above: int
    level: float
    median: float
    judged: bool

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% limits of the share above the truth."""
        found = binomtest(self.above, self.games).proportion_ci(0.95)
        return float(found.low), float(found.high)

    @property
    def holds(self) -> bool:
        """Whether so many could be seen at the nominal share, or the game is not judged."""
        chance = float(binom.sf(self.above - 1, self.games, self.level))
        return not self.judged or chance >= CHANCE


def games(confidence: float = 0.95) -> Iterator[Game]:
    """Returns games at epsilon 0, about 1 and about 4, for independent trials and for one run."""
    for trials in ("independent", "one-run"):
        plain = Question(delta=0.0, confidence=confidence, trials=trials)
        for epsilon in (0.0, 1.0, 4.0):
            yield Game(
                "randomised response",
                epsilon,
                plain,
                lambda size, rng, e=epsilon: response_scores(e, size, rng),  # type: ignore[misc]
            )
        for mechanism, alike in ((_QUIET, True), (_QUIET, False), (_LOUD, False)):
            asked = Question(
                confidence=confidence, mechanism=mechanism, order="forward", trials=trials
            )
            family = asked.family
            truth = 0.0 if alike or family is None else family.epsilon(0)
            noise = f"Poisson pair, sigma {mechanism.noise_multiplier:g}"
            yield Game(
                "alike worlds" if alike else noise,
                truth,
                asked,
                lambda size, rng, m=mechanism, a=alike: pair_scores(m, size, rng, alike=a),  # type: ignore[misc]
            )


def coverages(
    trials: int, repetitions: int, seed: int, stage: Callable[[str, int], Callable[[int], None]]
) -> list[Coverage]:
    """Plays every game; returns what each estimator did in it.

    Args:
        trials: Scores a game, both worlds together.
        repetitions: How often each game is played.
        seed: Of all randomness.
        stage: Called with a title and a total; returns the callback that takes the amount done.
    """
    found: list[Coverage] = []
    for number, game in enumerate(games()):
        advance = stage(f"{game.words}, {game.question.trials}", repetitions)
        done = count(1)
        found += play(
            game,
            trials,
            repetitions,
            seed + number,
            lambda a=advance, d=done: a(next(d)),  # type: ignore[misc]
        )
    return found


def play(
    game: Game, trials: int, repetitions: int, seed: int, tick: Callable[[], None]
) -> list[Coverage]:
    """Plays a game again and again; returns what each estimator did.

    Args:
        game: What is played.
        trials: Scores a game, both worlds together, each by a fair coin.
        repetitions: How often.
        seed: Of all randomness.
        tick: Called after each.

    Raises:
        InputError: If there are fewer than 20 trials or no repetition.
    """
    require(trials >= 20, "trials", "at least 20", trials)
    require(repetitions >= 1, "games", "at least 1", repetitions)
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    classes: dict[str, Validity] = {}
    for _ in range(repetitions):
        members = int(np.clip(rng.binomial(trials, 0.5), 1, trials - 1))
        scores = game.scores((members, trials - members), rng)
        for method in _methods(game.question, trials):
            bound = method.bound(
                scores, game.question.delta, game.question.level, int(rng.integers(2**31))
            )
            found.setdefault(bound.estimator, []).append(bound.epsilon)
            classes[bound.estimator] = bound.validity
        tick()
    return [_coverage(game, name, classes[name], values) for name, values in found.items()]


def _methods(question: Question, trials: int) -> tuple[Method, ...]:
    """Returns the estimators, planned for the expected numbers: a plan must not be made anew."""
    return choose_methods(question, (trials // 2, trials - trials // 2)).methods


def _coverage(game: Game, name: str, validity: Validity, values: list[float]) -> Coverage:
    promised = validity in ("exact", "model-based") and name not in _UNFIT
    return Coverage(
        estimator=name,
        validity=validity,
        game=game.words,
        trials=game.question.trials,
        truth=game.truth,
        games=len(values),
        above=sum(value > game.truth for value in values),
        level=game.question.level,
        median=float(np.median(values)),
        judged=promised,
    )
