"""Games that several adversaries score: level, power, and what is promised to be found."""

import inspect
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.accounting.bounds.accountant import epsilon_at
from cropaudit.accounting.mechanisms.descriptions import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.config.audit_config import ClaimConfig
from cropaudit.audit.games.design import (
    NOISE_FACTORS,
    detectable_epsilon,
    game_estimates,
    game_hypotheses,
    scoring_pairs,
)
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.audit.verdict.claims import StatedClaim, state_claim
from cropaudit.audit.verdict.estimate import contradicts
from cropaudit.errors import InputError
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.registry import plan

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 20)
MECHANISMS = [POISSON, FixedSizePatch(0.8, 0.1, 0.3, 10), ShufflePatch(1.0, 0.25, 0.3, 8)]

pytestmark = pytest.mark.usefixtures("one_thread")


@lru_cache
def stated(mechanism: PatchMechanism) -> StatedClaim:
    return state_claim(ClaimConfig(), mechanism, DELTA)


@lru_cache
def held(mechanism: PatchMechanism, level: float) -> Hypothesis:
    return stated(mechanism).hypothesis(mechanism, 1 - level, 1.0, order="forward")


def drawn(
    configured: PatchMechanism,
    played: PatchMechanism,
    slots: int,
    rng: np.random.Generator,
    noise: float | None = None,
) -> list[ScoreTable]:
    """Plays slots, half of them members, by the mixtures of one mechanism, scored by another's."""
    member = np.arange(slots) < slots // 2
    pair, steps = played.pair(), played.compositions
    weights = np.where(member[:, None], pair.p, pair.q).cumsum(axis=1)
    means = (rng.random((slots, steps, 1)) > weights[:, None, :2]).sum(axis=2) - 1.0
    deviation = played.noise_multiplier if noise is None else noise
    seen = means + deviation * rng.standard_normal((slots, steps))
    rows = (pair.log_ratio(seen).sum(axis=1) for pair in scoring_pairs(configured))
    return [ScoreTable("probe", row, member) for row in rows]


def accused(tables: list[ScoreTable], hypothesis: Hypothesis) -> bool:
    """Whether any adversary's scores contradict the claim, at its share; bounds are left out."""
    size = len(tables[0].member) // 2
    for table, one in zip(
        tables, game_hypotheses(hypothesis, (size, size), len(tables)), strict=True
    ):
        test = plan(one, (size, size)).deciding
        for null in (one.free, one.game):
            assert null is not None
            value = test.p_value(table.scores, null, one.corrected, 0)
            if value is not None and value <= one.corrected:
                return True
    return False


def accusations(
    mechanism: PatchMechanism,
    games: int,
    slots: int,
    level: float,
    played: PatchMechanism | None = None,
    noise: float | None = None,
) -> int:
    rng = np.random.default_rng(7)
    return sum(
        accused(drawn(mechanism, played or mechanism, slots, rng, noise), held(mechanism, level))
        for _ in range(games)
    )


@pytest.mark.parametrize(("mechanism", "games"), [(MECHANISMS[0], 60), (MECHANISMS[1], 20)])
def test_null_an_honest_mechanism_is_accused_at_most_at_the_level(
    mechanism: PatchMechanism, games: int
) -> None:
    """Games of 400 slots at level .1, all scoring pairs; false-failure rate 1e-4 a case."""
    assert accusations(mechanism, games, 400, 0.1) <= binom.isf(1e-4, games, 0.1)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_lost_noise_is_found(mechanism: PatchMechanism, noise: float) -> None:
    """All of 3 games of 1,000 slots; a game is missed with a chance below 1e-3."""
    sigma = noise * mechanism.noise_multiplier
    assert accusations(mechanism, 3, 1000, 0.05 / 3, noise=sigma) == 3


@pytest.mark.parametrize(
    ("changes", "slots"),
    [({"sample_rate": 0.2}, 1000), ({"inclusion": 0.6}, 600)],
    ids=["twice the rate", "twice the inclusion"],
)
def test_wrong_samplers_and_crops_are_found(changes: dict[str, float], slots: int) -> None:
    """5 of 6 games or more; a power of .97 fails that with rate 2e-2, and the seed is fixed."""
    assert accusations(POISSON, 6, slots, 0.05, replace(POISSON, **changes)) >= 5


def test_detectable_epsilon_is_found_with_the_promised_power() -> None:
    """30 games of 400 trials a world at that truth; a power of .9 fails with rate 1e-4."""
    hypothesis, low, high = held(POISSON, 0.05), 0.2, 1.0
    found = detectable_epsilon(hypothesis, (400, 400))
    assert found is not None
    assert found > stated(POISSON).epsilon
    for _ in range(30):
        middle = (low + high) / 2
        louder = epsilon_at(POISSON.with_noise(middle), DELTA) >= found
        low, high = (middle, high) if louder else (low, middle)
    truth = POISSON.with_noise(low)
    assert accusations(POISSON, 30, 800, 0.05, truth) >= binom.ppf(1e-4, 30, 0.9)


def test_more_is_detectable_by_the_game_than_by_the_claimed_curve_alone() -> None:
    """The claimed curve must cover adversaries who change sides between steps."""
    game = held(POISSON, 0.05)
    alone = replace(game, game_null=None)
    own, formal = (detectable_epsilon(one, (400, 400)) for one in (game, alone))
    assert own is not None
    assert formal is not None
    assert own <= formal


def test_shares_of_the_level_add_up_and_depend_on_numbers_alone() -> None:
    hypothesis = held(POISSON, 0.05)
    for count in (1, 2, 4):
        found = game_hypotheses(hypothesis, (300, 200), count)
        assert sum(one.corrected for one in found) == pytest.approx(0.05)
        deciding = [plan(one, (300, 200)).deciding.name for one in found]
        assert deciding == ["rank-sum-f-dp", *["mechanism-f-dp"] * (count - 1)]
    parameters = set(inspect.signature(game_hypotheses).parameters)
    assert parameters == {"hypothesis", "sizes", "count"}, "no scores go in"


def test_what_a_game_shows_is_what_its_tests_say() -> None:
    """Whole estimates, with bounds; a violation by the quiet scores is one of the game."""
    hypothesis = held(POISSON, 0.05)
    loud = drawn(POISSON, POISSON, 600, np.random.default_rng(0), noise=0.05)
    for tables in (loud, loud[:1]):
        shown = game_estimates(tables, hypothesis)
        assert len(shown) == len(tables)
        violated = any(contradicts(item, hypothesis.level) for item in shown)
        assert violated == accused(tables, hypothesis)
    assert [bound.estimator for bound in shown[0].bounds] == ["rank-sum-f-dp", "joint-test"]


@pytest.mark.parametrize("value", [0.0, np.inf])
def test_scores_without_order_accuse_nobody_and_perfect_ones_do(value: float) -> None:
    member = np.arange(600) < 300
    same = [ScoreTable("probe", np.full(600, value), member)] * 4
    assert not accused(same, held(POISSON, 0.05))
    perfect = [ScoreTable("probe", np.where(member, np.inf, -np.inf), member)] * 4
    assert accused(perfect, held(POISSON, 0.05))


def test_scoring_pairs_begin_with_the_configured_one() -> None:
    pairs = scoring_pairs(POISSON)
    assert pairs[0] == POISSON.pair()
    assert [pair.sigma for pair in pairs] == pytest.approx([1.0 * f for f in NOISE_FACTORS])


def test_a_patch_that_no_crop_meets_has_no_game() -> None:
    missed = PoissonPatch(1.0, 0.1, 0.0, 20)
    with pytest.raises(InputError, match="record rate must be above 0"):
        detectable_epsilon(stated(missed).hypothesis(missed, 0.95, 1.0), (100, 100))


@pytest.mark.parametrize(
    "mechanism", [PoissonPatch(1.0, 0.001, 0.01, 1), PoissonPatch(50.0, 0.1, 0.3, 5)], ids=str
)
def test_plans_where_there_is_little_to_find(mechanism: PatchMechanism) -> None:
    found = detectable_epsilon(held(mechanism, 0.05), (20, 20))
    assert found is None or found > stated(mechanism).epsilon
