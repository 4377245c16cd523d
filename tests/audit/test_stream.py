"""A stream pairs by bits alone, never forgets, and decides as its wealth says."""

import math

import numpy as np
import pytest

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.stream import Stream, StreamClaim, StreamState
from cropaudit.errors import InputError

DELTA = 1e-5
FREE = EProcess()
FAMILY = Family(PoissonPatch(1.0, 0.1, 0.3, 30), DELTA)
GIVEN = EProcess(FAMILY)


def gaussian_games(pairs: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many games of either world, in random order: (scores, bits)."""
    rng = np.random.default_rng(seed)
    bits = rng.permutation(np.repeat([0, 1], pairs))
    return rng.normal(size=2 * pairs) + shift * bits, bits


def family_games(pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Games of the family's own pair, scored by the summed log likelihood ratio."""
    rng = np.random.default_rng(seed)
    pair, steps = FAMILY.mechanism.pair(), FAMILY.mechanism.compositions
    worlds = pair.sample(pairs * steps, rng)
    scores = [pair.log_ratio(x).reshape(pairs, steps).sum(axis=1) for x in worlds]
    order = rng.permutation(2 * pairs)
    return np.concatenate(scores)[order], np.repeat([1, 0], pairs)[order]


def alike(left: StreamState, right: StreamState) -> bool:
    same = (left.games, left.pairs, left.epsilon, left.decision)
    return same == (right.games, right.pairs, right.epsilon, right.decision) and math.isclose(
        left.log_wealth, right.log_wealth, rel_tol=1e-9, abs_tol=1e-9
    )


def test_one_by_one_is_the_same_as_all_at_once() -> None:
    scores, bits = gaussian_games(400, 2.0, 1)
    single, whole = Stream(FREE, StreamClaim(1.0, DELTA)), Stream(FREE, StreamClaim(1.0, DELTA))
    whole.extend(scores, bits)
    for score, bit in zip(scores, bits, strict=True):
        single.add(float(score), int(bit))
    assert alike(single.state, whole.state)
    assert len(single.history) == len(whole.history)
    assert all(alike(*states) for states in zip(single.history, whole.history, strict=True))


def test_the_bound_is_that_of_the_file_in_the_same_order() -> None:
    scores, bits = gaussian_games(1000, 2.0, 2)
    stream = Stream(FREE, StreamClaim(1.0, DELTA))
    stream.extend(scores, bits)
    found = FREE.bound(Scores.labelled(scores, bits), DELTA, 0.05)
    assert stream.state.epsilon == found.epsilon > 0


def test_the_worlds_may_come_one_after_the_other() -> None:
    scores, bits = gaussian_games(500, 2.0, 3)
    mixed, sorted_ = Stream(FREE, StreamClaim(1.0, DELTA)), Stream(FREE, StreamClaim(1.0, DELTA))
    mixed.extend(scores, bits)
    order = np.argsort(bits, kind="stable")
    sorted_.extend(scores[order], bits[order])
    assert alike(mixed.state, sorted_.state)


def test_games_of_one_world_show_nothing() -> None:
    stream = Stream(FREE, StreamClaim(1.0, DELTA))
    stream.extend(np.random.default_rng(0).random(200), np.ones(200))
    assert stream.state == StreamState(200, 0, 0.0, 0.0, "undecided")


@pytest.mark.parametrize("sign", [1, -1])
def test_games_sorted_by_score_are_withheld(sign: int) -> None:
    """2,000 + 1,000 null scores: falling, they contradicted a claim of 0.5 after 114."""
    rng = np.random.default_rng(1)
    bits, scores = np.arange(3000) < 2000, rng.normal(size=3000)
    order = np.argsort(sign * scores)
    stream = Stream(FREE, StreamClaim(0.5, DELTA), rng=rng)
    stream.extend(scores[order][:400], bits[order][:400])
    assert stream.state.decision == "withheld"
    assert (stream.state.epsilon, stream.state.log_wealth) == (0, 0)


def test_no_game_no_history() -> None:
    stream = Stream(FREE, StreamClaim(1.0, DELTA))
    stream.extend([], [])
    assert stream.state == StreamState(0, 0, 0.0, 0.0, "undecided")
    assert stream.history == ()


def test_history_is_thinned_ends_now_and_never_falls() -> None:
    scores, bits = gaussian_games(2000, 2.0, 4)
    stream = Stream(FREE, StreamClaim(1.0, DELTA))
    stream.extend(scores, bits)
    history = stream.history
    games = np.array([state.games for state in history])
    assert games[-1] == 4000
    assert len(games) < 300
    assert (games[1:] <= np.maximum(games[:-1] + 1, np.ceil(games[:-1] * 1.02))).all()
    for values in ([s.epsilon for s in history], [s.log_wealth for s in history]):
        assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("process", [FREE, GIVEN], ids=["free", "family"])
def test_a_claim_far_below_the_truth_is_contradicted(process: EProcess) -> None:
    """Worlds two apart: the wealth after 3,000 pairs is e^80 and more; no chance of failing."""
    scores, bits = gaussian_games(3000, 2.0, 5)
    stream = Stream(process, StreamClaim(0.3, DELTA))
    stream.extend(scores, bits)
    assert stream.state.decision == "violation"
    assert stream.state.log_wealth >= math.log(20)
    assert stream.state.epsilon >= 0.3


def test_a_bound_near_the_claim_is_called_close() -> None:
    scores, bits = gaussian_games(3000, 2.0, 6)
    first = Stream(FREE, StreamClaim(1.0, DELTA))
    first.extend(scores, bits)
    near = Stream(FREE, StreamClaim(1.05 * first.state.epsilon, DELTA))
    near.extend(scores, bits)
    assert near.state.decision == "close"
    strict = Stream(FREE, StreamClaim(1.05 * first.state.epsilon, DELTA), close=0.99)
    strict.extend(scores, bits)
    assert strict.state.decision == "undecided"


def test_a_claimed_curve_is_contradicted_by_louder_games() -> None:
    """The curve of noise 1.65 against games at noise 1: all of 20 seeds are found by 2,500 pairs
    (median 350), so that a failure would be one of less than 1 in 10^4."""
    quiet = FAMILY.curve(-500)
    claim = StreamClaim(quiet.epsilon(DELTA), DELTA, quiet)
    stream = Stream(GIVEN, claim)
    stream.extend(*family_games(2500, 7))
    assert stream.state.decision == "violation"


def test_a_true_curve_is_contradicted_at_most_at_the_level() -> None:
    """At level 0.2, over 60 streams of 200 pairs, looked at after every game.

    A test of exactly level 0.2 would exceed the limit with probability below 1e-4.
    """
    curve = FAMILY.curve(0)
    violations = 0
    for seed in range(60):
        stream = Stream(GIVEN, StreamClaim(curve.epsilon(DELTA), DELTA, curve), level=0.2)
        stream.extend(*family_games(200, 1000 + seed))
        violations += stream.state.decision == "violation"
    assert violations <= 24


@pytest.mark.parametrize(
    ("scores", "bits", "name"),
    [
        ([math.nan], [1], "scores"),
        ([0.1], [2], "bits"),
        ([0.1], [math.nan], "bits"),
        ([0.1, 0.2], [1], "bits"),
        ([[0.1]], [[1]], "scores"),
    ],
)
def test_what_is_no_game_is_refused(scores: list, bits: list, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be"):
        Stream(FREE, StreamClaim(1.0, DELTA)).extend(scores, bits)


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(InputError, match="claimed epsilon must be positive"):
        StreamClaim(0.0, DELTA)
    with pytest.raises(InputError, match="delta must be in"):
        StreamClaim(1.0, 1.0)
    with pytest.raises(InputError, match="level must be in"):
        Stream(FREE, StreamClaim(1.0, DELTA), level=0.0)
    with pytest.raises(InputError, match="close must be in"):
        Stream(FREE, StreamClaim(1.0, DELTA), close=1.5)
    with pytest.raises(InputError, match="that of the family"):
        Stream(GIVEN, StreamClaim(1.0, 1e-6))
