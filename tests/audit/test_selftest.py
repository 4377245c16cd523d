"""The self-test: a sound estimator passes, an unsound one is caught."""

import numpy as np
import pytest
from scipy.stats import kstest

from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch
from cropaudit.audit import selftest
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.result import Bound
from cropaudit.audit.selftest import CHANCE, Coverage, Game, coverages, games, play
from cropaudit.audit.simulated import pair_scores, response_scores
from cropaudit.errors import InputError
from tests.study.law import curve_scores


def test_games_cover_both_kinds_of_trials_and_three_truths() -> None:
    found = list(games())
    assert {game.question.trials for game in found} == {"independent", "one-run"}
    for trials in ("independent", "one-run"):
        truths = sorted(round(g.truth) for g in found if g.question.trials == trials)
        assert truths == [0, 0, 1, 1, 4, 4]


def test_a_sound_estimator_passes() -> None:
    """Seeded; each row of a sound estimator fails with a chance below 1e-3, about 20 rows here."""
    seen: list[str] = []

    def stage(title: str, total: int) -> object:
        seen.append(title)
        assert total == 6
        return lambda done: None

    found = coverages(200, 6, 3, stage)  # type: ignore[arg-type]
    assert len(seen) == 12
    assert all(item.holds for item in found), [item for item in found if not item.holds]
    assert {item.estimator for item in found} >= {
        *("joint-test", "clopper-pearson", "joint-beta", "katz", "gaussian-mu", "e-process"),
        *("mechanism-f-dp", "rank-sum-f-dp", "one-run", "one-run-f-dp"),
        "one-run-order-statistics",
    }
    quiet = {item.estimator for item in found if not item.judged}
    assert quiet == {"joint-beta", "katz", "gaussian-mu"}


class Overclaiming:
    """An estimator that says 1.2 times the truth in a third of all games."""

    validity = "exact"

    def bound(self, scores: object, delta: float, level: float, seed: int) -> Bound:
        del scores
        return Bound(
            estimator="loud",
            epsilon=1.2 if seed % 3 == 0 else 0.5,
            delta=delta,
            confidence=1 - level,
            validity="exact",
            assumes="nothing",
        )


def test_an_unsound_estimator_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missed with a chance below 1e-4: 60 games, a third above, 11 are enough."""
    monkeypatch.setattr(selftest, "_methods", lambda question, trials: (Overclaiming(),))
    game = next(g for g in games() if g.truth == 1.0)
    (found,) = play(game, 100, 60, 0, lambda: None)
    assert found.above > 10
    assert not found.holds
    low, high = found.interval
    assert low > found.level
    assert high < 1


def test_what_is_not_promised_is_not_judged() -> None:
    shared = dict.fromkeys(("estimator", "game", "trials"), "x")
    loud = Coverage(**shared, validity="credible", truth=0.0, games=100, above=100, level=0.05,
                    median=1.0, judged=False)  # fmt: skip
    assert loud.holds
    assert CHANCE == 1e-3


@pytest.mark.parametrize(("trials", "repetitions"), [(19, 5), (100, 0)])
def test_illegal_sizes_are_refused(trials: int, repetitions: int) -> None:
    game: Game = next(iter(games()))
    with pytest.raises(InputError, match="must be at least"):
        play(game, trials, repetitions, 0, lambda: None)


def test_responses_tell_the_truth_with_the_right_chance() -> None:
    """Seeded; off by 4 deviations with a chance of 1e-4."""
    scores = response_scores(1.0, (40_000, 40_000), np.random.default_rng(0))
    truth = 1 / (1 + np.exp(-1.0))
    slack = 4 * np.sqrt(truth * (1 - truth) / 40_000)
    assert scores.member.mean() == pytest.approx(truth, abs=slack)
    assert scores.nonmember.mean() == pytest.approx(1 - truth, abs=slack)
    with pytest.raises(InputError, match="epsilon must be at least 0"):
        response_scores(-1.0, (1, 1), np.random.default_rng(0))


@pytest.mark.parametrize(
    "mechanism", [PoissonPatch(1.0, 0.1, 0.3, 40), FixedSizePatch(1.0, 0.2, 0.3, 20)]
)
def test_the_curve_is_the_roc_of_played_steps(mechanism: PoissonPatch | FixedSizePatch) -> None:
    """The study's short cut against playing every step.

    A member's false positive rate, by ranks among very many nonmembers, follows one law either way.
    Seeded; two Kolmogorov-Smirnov tests at 1e-4.
    """
    rng = np.random.default_rng(1)
    played = pair_scores(mechanism, (2000, 200_000), rng)
    drawn = curve_scores(Family(mechanism, 1e-5), (2000, 200_000), rng)
    rates = [
        1 - np.searchsorted(np.sort(s.nonmember), s.member) / len(s.nonmember)
        for s in (played, drawn)
    ]
    assert kstest(*rates).pvalue > 1e-4
    assert kstest(-drawn.nonmember, "uniform").pvalue > 1e-4
