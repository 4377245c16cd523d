"""Limits on the mechanism's numbers, and bounds place by place: coverage, power, words."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.estimate_result import Inversion
from cropaudit.audit.estimators.family import Axis, Family, Rejected
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.thresholds import Given, Ranks
from cropaudit.audit.question import Question
from cropaudit.audit.readings import _beyond, _inversion, inversions, positions
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.audit.simulated import response_scores
from cropaudit.errors import InputError

POISSON = PoissonPatch(1.0, 0.1, 0.3, 20)
AXES: tuple[Axis, ...] = ("noise multiplier", "inclusion probability", "sampling rate")
LEVEL = 0.05


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Keeps the curves of a family from game to game."""
    kept = lru_cache(maxsize=None)(Family)
    own = Question.along

    def along(question: Question, axis: Axis) -> Family | None:
        family = own(question, axis)
        return family and kept(family.mechanism, family.delta, family.axis, family.order)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Question, "along", along)
        yield


def drawn(
    claimed: PatchMechanism, played: PatchMechanism, trials: int, rng: np.random.Generator
) -> Scores:
    """Plays the mixtures of one mechanism; the scores are those of another."""
    worlds = []
    for weights in (played.pair().p, played.pair().q):
        which = rng.random((trials, played.compositions, 1)) > np.cumsum(weights)[:2]
        seen = (
            which.sum(axis=2) - 1.0 + played.noise_multiplier * rng.standard_normal(which.shape[:2])
        )
        worlds.append(claimed.pair().log_ratio(seen).sum(axis=1))
    return Scores(*worlds)


def moved(mechanism: PatchMechanism, axis: Axis, times: float) -> PatchMechanism:
    """Returns the mechanism with one number so many times louder."""
    if axis == "noise multiplier":
        return mechanism.with_noise(mechanism.noise_multiplier / times)
    if axis == "inclusion probability":
        return replace(mechanism, inclusion=mechanism.inclusion * times)
    return replace(mechanism, sample_rate=mechanism.sample_rate * times)


def value(mechanism: PatchMechanism, axis: Axis) -> float:
    return {
        "noise multiplier": mechanism.noise_multiplier,
        "inclusion probability": mechanism.inclusion,
        "sampling rate": mechanism.sample_rate,
    }[axis]


def wrong(found: Inversion, truth: float) -> bool:
    """Whether a limit is on the wrong side of the truth."""
    if found.limit is None:
        return found.contradicts
    return found.limit < truth if found.side == "at most" else found.limit > truth


@pytest.mark.parametrize("order", ["forward", "either"])
def test_coverage_limits_are_on_the_right_side_of_the_truth(order: str) -> None:
    """18 games of 400 trials a world, truth 1.4 times louder than the claim in one number each.

    Level .05; false-failure rate 1e-4 a case (Binomial(18, .05)). Of 500 games with the order known
    and the inclusion probability asked for, played once by hand, 28 were wrong.
    """
    rng, missed = np.random.default_rng(2), 0
    for seed in range(18):
        axis = AXES[seed % 3]
        truth = moved(POISSON, axis, 1.4)
        question = Question(mechanism=POISSON, order=order, seed=seed)  # type: ignore[arg-type]
        found = _inversion(drawn(POISSON, truth, 400, rng), question, axis)
        missed += wrong(found, value(truth, axis))
    assert missed <= binom.isf(1e-4, 18, LEVEL)


def test_null_the_claimed_numbers_are_contradicted_at_most_at_the_level() -> None:
    """15 honest games; false-failure rate 1e-4. All three limits are readings of one test."""
    rng, contradicted = np.random.default_rng(4), 0
    for seed in range(15):
        question = Question(mechanism=POISSON, order="forward", seed=seed)
        scores = drawn(POISSON, POISSON, 200, rng)
        contradicted += _inversion(scores, question, AXES[seed % 3]).contradicts
    assert contradicted <= binom.isf(1e-4, 15, LEVEL)


@pytest.mark.parametrize("axis", AXES)
def test_power_a_quarter_above_the_claim_is_flagged(axis: Axis) -> None:
    """8,000 trials a world, 4 games; a power of .995 fails to flag all with rate 2%, and the seed
    is fixed. Of 40 games of each axis played once by hand all were flagged."""
    truth, rng = moved(POISSON, axis, 1.25), np.random.default_rng(3)
    for seed in range(4):
        question = Question(mechanism=POISSON, order="forward", seed=seed)
        found = _inversion(drawn(POISSON, truth, 8000, rng), question, axis)
        assert found.contradicts
        assert found.limit is not None
        assert not wrong(found, value(truth, axis))
        near = 1.25 if axis == "noise multiplier" else 1 / 1.25
        assert abs(np.log(found.limit * near / value(POISSON, axis))) < np.log(1.25)
        assert found.claimed == value(POISSON, axis)
        assert found.axis == axis


@pytest.mark.parametrize("order", ["forward", "either"])
def test_the_three_readings_are_of_one_test(order: str) -> None:
    """All contradict the claim, or none does: which number is the cause is not decided."""
    rng = np.random.default_rng(6)
    seen = set()
    for times in (1.0, 1.6, 4.0):
        scores = drawn(POISSON, moved(POISSON, "noise multiplier", times), 300, rng)
        question = Question(mechanism=POISSON, order=order)  # type: ignore[arg-type]
        found = inversions(scores, question)
        assert [item.axis for item in found] == list(AXES)
        assert [item.side for item in found] == ["at most", "at least", "at least"]
        assert len({item.contradicts for item in found}) == 1
        seen.add(found[0].contradicts)
    assert seen == {True, False}


def test_words_say_what_is_shown() -> None:
    rng = np.random.default_rng(6)
    question = Question(mechanism=POISSON, order="forward")
    loud = drawn(POISSON, POISSON.with_noise(0.4), 400, rng)
    noise = _inversion(loud, question, "noise multiplier")
    assert noise.limit is not None
    assert noise.words.startswith("the noise multiplier is at most 0.")
    assert noise.words.endswith("the claim says 1")
    assert float(noise.words.split()[6].rstrip(";")) >= noise.limit, "rounded to claim less"
    rate = _inversion(loud, question, "inclusion probability")
    if rate.limit is not None:
        assert float(rate.words.split()[6].rstrip(";")) <= rate.limit
    alike = Scores.of(rng.normal(size=200), rng.normal(size=200))
    nothing = _inversion(alike, question, "noise multiplier")
    assert "the claim says 1" in nothing.words
    assert not nothing.contradicts


def test_what_no_value_explains_contradicts_every_number() -> None:
    perfect = Scores.of(np.arange(300) + 1000.0, np.arange(300))
    for order in ("forward", "either"):
        question = Question(mechanism=POISSON, order=order)  # type: ignore[arg-type]
        for found in inversions(perfect, question):
            assert found.contradicts
            if found.limit is None:
                assert found.words.startswith(f"no {found.axis} explains the scores")


@pytest.mark.parametrize("noisy", [True, False])
def test_a_limit_at_the_claimed_value_contradicts_it(noisy: bool) -> None:
    """The limit is the loudest value that is itself rejected."""
    assert _beyond(Rejected(1.0, 0.5), 0.5, noisy=noisy)
    assert _beyond(Rejected(1.0, 0.4), 0.5, noisy=noisy) == noisy
    assert _beyond(Rejected(1.0, 0.6), 0.5, noisy=noisy) != noisy
    assert not _beyond(Rejected(0.0, None), 0.5, noisy=noisy)


def test_numbers_that_a_sampler_does_not_have_are_left_out() -> None:
    rng = np.random.default_rng(0)
    shuffled = ShufflePatch(1.0, 0.1, 0.3, 20)
    scores = drawn(shuffled, shuffled, 60, rng)
    found = inversions(scores, Question(mechanism=shuffled, order="forward"))
    assert [item.axis for item in found] == list(AXES[:2])
    fixed = FixedSizePatch(1.0, 0.1, 0.3, 5)
    found = inversions(drawn(fixed, fixed, 60, rng), Question(mechanism=fixed, order="forward"))
    assert [item.axis for item in found] == list(AXES)
    assert inversions(scores, Question()) == ()
    assert inversions(scores, Question(mechanism=shuffled, trials="one-run")) == ()


# Place by place.


RANKS = Ranks((0.3,))  # one test, to be quick
CUT = Given(0.5)  # ranks would leave tied responses out


def placed(truths: dict[str, float], trials: int, rng: np.random.Generator) -> ScoreTable:
    """Draws randomised responses at each position, in a random order."""
    values, bits, labels = [], [], []
    for place, epsilon in truths.items():
        scores = response_scores(epsilon, (trials, trials), rng)
        values += [*scores.member, *scores.nonmember]
        bits += [True] * trials + [False] * trials
        labels += [place] * (2 * trials)
    order = rng.permutation(len(values))
    return ScoreTable(
        "", np.array(values)[order], np.array(bits)[order], tuple(labels[i] for i in order)
    )


def test_null_simultaneous_bounds_keep_their_level() -> None:
    """60 searches over five positions where nothing leaks, at level .2: as often as that, at most,
    any simultaneous bound exceeds 0 or any corrected p-value is at most .2.

    False-failure rate 1e-4 each. Each position's own bound exceeds 0 far more often somewhere.
    """
    rng, level = np.random.default_rng(8), 0.2
    together, alone, small = 0, 0, 0
    for seed in range(60):
        table = placed(dict.fromkeys("abcde", 0.0), 60, rng)
        question = Question(delta=0.0, confidence=1 - level, claim=0.0, policy=CUT, seed=seed)
        found = positions(table, question, level)
        together += any(place.simultaneous > 0 for place in found)
        alone += any(place.epsilon > 0 for place in found)
        small += any(place.p_value is not None and place.p_value <= level for place in found)
    assert max(together, small) <= binom.isf(1e-4, 60, level)
    assert alone > binom.isf(1e-4, 60, level)


def test_the_worst_position_is_found() -> None:
    """One leaks at epsilon 3 among four at .3; 300 trials a world. It is missed with rate 1e-6."""
    rng = np.random.default_rng(9)
    truths = {"0 0": 0.3, "0 9": 0.3, "4 4": 3.0, "9 9": 0.3}
    table = placed(truths, 300, rng)
    found = positions(table, Question(delta=0.0, claim=1.0, policy=RANKS), 0.05)
    worst = max(found, key=lambda place: place.simultaneous)
    assert worst.position == "4 4"
    assert {place.position for place in found} == set(truths)
    for place in found:
        assert place.simultaneous <= place.epsilon <= truths[place.position] + 0.2
        assert (place.members, place.nonmembers) == (300, 300)
        assert place.p_value is not None
        assert (place.p_value <= 0.05) == (place.position == "4 4")


def test_one_position_is_not_corrected() -> None:
    table = placed({"a": 2.0}, 100, np.random.default_rng(1))
    question = Question(delta=0.0, claim=0.5, policy=RANKS)
    (found,) = positions(table, question, question.level)
    assert found.epsilon == found.simultaneous > 0


def test_without_a_claim_positions_have_no_p_values() -> None:
    table = placed({"a": 2.0, "b": 0.0}, 50, np.random.default_rng(1))
    found = positions(table, Question(delta=0.0, policy=RANKS), 0.05)
    assert [place.p_value for place in found] == [None, None]


def test_a_position_of_one_world_is_refused() -> None:
    table = ScoreTable("", np.arange(3.0), np.array([True, False, True]), ("a", "a", "b"))
    with pytest.raises(InputError, match="position b must have scores of both worlds"):
        positions(table, Question(), 0.05)
