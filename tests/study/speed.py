"""Speed of the estimators on 100,000 scores, beside jax_privacy where it is installed."""

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.clopper_pearson import ClopperPearson
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import GaussianMu
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.methods import ThresholdMethod
from cropaudit.audit.estimators.run_fdp import gaussian_run_epsilon
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.steinke import Steinke
from cropaudit.audit.estimators.thresholds import LADDER, Ranks
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question, Trials
from tests.study.law import curve_scores

__all__ = ["speed_rows"]

MANY, DELTA, LEVEL = 100_000, 1e-5, 0.05
SHARES = (1.0, 0.2, 0.04)


def speed_rows() -> Iterator[tuple[str, float, str, float | None]]:
    """Returns what was timed, its seconds, what stands beside it and the seconds of that."""
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 1000)
    start = time.perf_counter()
    asked = [_asked(mechanism, "independent"), _asked(mechanism, "one-run")]
    for question in asked:
        choose_methods(question, (MANY // 2, MANY // 2))
    yield "plans over the family, T = 1000", time.perf_counter() - start, "", None
    scores = curve_scores(Family(mechanism, DELTA), (MANY // 2,) * 2, np.random.default_rng(0))
    for question in asked:
        _all_bounds(question, scores)
    start = time.perf_counter()
    for question in asked:
        _all_bounds(question, scores)
    words = f"{MANY:,} scores through every estimator, family cached"
    yield words, time.perf_counter() - start, "", None
    yield from _beside(scores)


def _asked(mechanism: PoissonPatch, trials: Trials) -> Question:
    return Question(delta=DELTA, mechanism=mechanism, order="forward", trials=trials)


def _all_bounds(question: Question, scores: Scores) -> None:
    for method in choose_methods(question, (MANY // 2, MANY // 2)).methods:
        method.bound(scores, DELTA, LEVEL, 0)


def _beside(scores: Scores) -> Iterator[tuple[str, float, str, float | None]]:
    ranks = Ranks(LADDER)
    ours: dict[str, Callable[[], object]] = {
        "Clopper-Pearson": lambda: ThresholdMethod(ClopperPearson(), ranks).bound(
            scores, DELTA, LEVEL, 0
        ),
        "Gaussian mu": lambda: ThresholdMethod(GaussianMu(), ranks).bound(scores, DELTA, LEVEL, 0),
        "one run (Steinke)": lambda: [
            Steinke().epsilon(_made(scores, share), DELTA, LEVEL / 3) for share in SHARES
        ],
        "one run, Gaussian f-DP": lambda: [
            gaussian_run_epsilon(_made(scores, share), DELTA, LEVEL / 3) for share in SHARES
        ],
    }
    theirs = _theirs(scores) if find_spec("jax_privacy") else {}
    for name, work in ours.items():
        other = theirs.get(name)
        yield (
            f"{name}, {MANY:,} scores",
            _seconds(work),
            "jax-privacy, all thresholds" if other else "",
            _seconds(other) if other else None,
        )


def _made(scores: Scores, share: float) -> Guesses:
    return Ends(share).guesses(scores)


def _theirs(scores: Scores) -> dict[str, Callable[[], object]]:
    from jax_privacy.auditing import CanaryScoreAuditor

    def auditor() -> CanaryScoreAuditor:
        return CanaryScoreAuditor(scores.member, scores.nonmember)

    return {
        "Clopper-Pearson": lambda: auditor().epsilon_clopper_pearson(LEVEL, DELTA, one_sided=False),
        "Gaussian mu": lambda: auditor().epsilon_from_gdp(LEVEL, DELTA),
        "one run (Steinke)": lambda: auditor().epsilon_one_run(LEVEL, DELTA),
        "one run, Gaussian f-DP": lambda: auditor().epsilon_one_run_fdp(LEVEL, DELTA),
    }


def _seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
