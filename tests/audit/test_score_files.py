"""Scores of a user: where the threshold comes from, and how a mechanism is read."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch, ShufflePatch
from cropaudit.accounting.registry import parse_mechanism
from cropaudit.audit.estimators.clopper_pearson import clopper_pearson
from cropaudit.audit.estimators.limits import Box, measured_box
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.score_files import (
    Estimate,
    _merit,
    _split_threshold,
    estimate_file,
)
from cropaudit.errors import InputError

DELTA, LEVEL = 1e-5, 0.05
OPTIONS: dict[str, Any] = {
    "delta": DELTA,
    "confidence": 1 - LEVEL,
    "threshold": None,
    "mechanism": None,
    "seed": 0,
}


def gaussian(members: int = 301, nonmembers: int = 200, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores.of(rng.normal(2.0, size=members), rng.normal(size=nonmembers))


def estimated(folder: Path, scores: Scores, **changes: Any) -> Estimate:
    np.save(folder / "m.npy", scores.member)
    np.save(folder / "n.npy", scores.nonmember)
    return estimate_file(None, folder / "m.npy", folder / "n.npy", **{**OPTIONS, **changes})


def test_the_halves_part_each_world() -> None:
    scores = gaussian()
    _, rest = _split_threshold(scores, LEVEL, DELTA, 3)
    assert (len(rest.member), len(rest.nonmember)) == (151, 100)
    for kept, whole in ((rest.member, scores.member), (rest.nonmember, scores.nonmember)):
        assert len(np.unique(kept)) == len(kept)
        assert np.isin(kept, whole).all()


def test_the_threshold_never_saw_the_half_it_is_used_on() -> None:
    """Whatever stands in the tested half, even scores at odds with the rest: the same threshold."""
    scores = gaussian()
    cut, rest = _split_threshold(scores, LEVEL, DELTA, 3)
    rng = np.random.default_rng(1)
    worlds = []
    for whole, kept in ((scores.member, rest.member), (scores.nonmember, rest.nonmember)):
        tested = np.isin(whole, kept)
        worlds.append(np.where(tested, rng.normal(-40, 30, len(whole)), whole))
    other, others = _split_threshold(Scores.of(*worlds), LEVEL, DELTA, 3)
    assert other == cut
    assert np.isin(others.member, worlds[0]).all()
    # And the other way about: the half that taught it is not tested.
    worlds = [
        np.where(np.isin(whole, kept), whole, 99.0)
        for whole, kept in ((scores.member, rest.member), (scores.nonmember, rest.nonmember))
    ]
    assert np.array_equal(
        _split_threshold(Scores.of(*worlds), LEVEL, DELTA, 3)[1].member, rest.member
    )


def test_the_split_is_random_by_the_seed_and_not_by_the_order() -> None:
    scores = gaussian()
    first, again, other = (_split_threshold(scores, LEVEL, DELTA, seed)[1] for seed in (3, 3, 4))
    assert np.array_equal(first.member, again.member)
    assert not np.array_equal(first.member, other.member)
    assert not np.array_equal(np.sort(first.member), np.sort(scores.member[150:]))


def test_bounds_come_from_the_tested_half(tmp_path: Path) -> None:
    scores = gaussian()
    cut, rest = _split_threshold(scores, LEVEL, DELTA, 0)
    found = estimated(tmp_path, scores)
    assert found.threshold == cut
    assert found.threshold_policy == "chosen on a random half, used on the other"
    assert (found.members, found.nonmembers) == (301, 200)
    assert found.auc == scores.auc(), "which needs no threshold, uses all"
    bounds = {bound.estimator: bound for bound in found.bounds}
    expected = clopper_pearson(measured_box(rest, cut, 1 - (1 - LEVEL)), DELTA)
    assert bounds["clopper-pearson"].epsilon == pytest.approx(expected.epsilon)


def test_a_given_threshold_uses_all_scores(tmp_path: Path) -> None:
    scores = gaussian()
    found = estimated(tmp_path, scores, threshold=1.0)
    assert (found.threshold, found.threshold_policy) == (1.0, "given")
    expected = clopper_pearson(measured_box(scores, 1.0, 1 - (1 - LEVEL)), DELTA)
    assert found.bounds[0].epsilon == expected.epsilon


def test_chosen_thresholds_keep_the_level() -> None:
    """Worlds alike: of 400 runs at level .2 few exceed 0 (false-failure rate at most 1e-4)."""
    rng = np.random.default_rng(5)
    above = 0
    for seed in range(400):
        scores = Scores.of(rng.normal(size=60), rng.normal(size=60))
        cut, rest = _split_threshold(scores, 0.2, 0.0, seed)
        above += clopper_pearson(measured_box(rest, cut, 0.2), 0.0).epsilon > 0
    assert above <= binom.isf(1e-4, 400, 0.2)


def test_the_threshold_is_about_the_best_there_is() -> None:
    """Of two clusters that part the worlds, the score between them is found."""
    scores = Scores.of(np.r_[np.full(90, 5.0), np.zeros(10)], np.zeros(100))
    assert _split_threshold(scores, LEVEL, DELTA, 0)[0] == 5.0


def box(fpr: float, fnr: float) -> Box:
    return Box(fpr, fnr, LEVEL, 100, 100, 0, 0)


def test_merit_orders_by_bound_and_then_by_nearness() -> None:
    order = [(0.9, 0.9), (0.7, 0.8), (0.6, 0.45), (0.4, 0.3), (0.1, 0.2), (0.01, 0.2), (0.2, 1e-3)]
    merits = [_merit(box(*rates), DELTA) for rates in order]
    assert merits == sorted(merits)
    assert len(set(merits)) == len(merits)
    assert [merit[0] for merit in merits[:3]] == [0, 0, 0], "no bound yet, but near and nearer"
    assert merits[-1][0] == pytest.approx(math.log((0.8 - DELTA) / 1e-3))


@pytest.mark.parametrize(
    ("text", "mechanism"),
    [
        ("poisson:noise=1,q=0.1,rho=0.3,steps=100", PoissonPatch(1.0, 0.1, 0.3, 100)),
        ("fixed:steps=7,rho=1,q=1,noise=.5", FixedSizePatch(0.5, 1.0, 1.0, 7)),
        ("shuffle:noise=1e1,q=1e-2,rho=0,steps=100", ShufflePatch(10.0, 0.01, 0.0, 100)),
    ],
)
def test_mechanisms_are_read(text: str, mechanism: object) -> None:
    assert parse_mechanism(text) == mechanism


@pytest.mark.parametrize(
    "text",
    [
        "",
        "poisson",
        "poisson:",
        ":noise=1,q=0.1,rho=0.3,steps=100",
        "Poisson:noise=1,q=0.1,rho=0.3,steps=100",
        "uniform:noise=1,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,delta=1",
        "poisson:noise=1,noise=2,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,steps=100",
        "poisson:noise=1;q=0.1;rho=0.3;steps=100",
        "poisson:noise=1,q=0.1,rho=0.3,steps=1.5",
        "poisson:noise=one,q=0.1,rho=0.3,steps=100",
        "poisson:noise=,q=0.1,rho=0.3,steps=100",
        "poisson:xx,noise=1,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3,steps=" + "9" * 5000,
        "poisson:fixed:noise=1,q=0.1,rho=0.3,steps=100",
    ],
)
def test_other_texts_are_refused_by_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_mechanism(text)
    legal = (
        "SAMPLER:noise=S,q=Q,rho=R,steps=T with SAMPLER one of poisson, fixed, shuffle, cyclic, "
    )
    legal += "full; epochs=E for shuffle and cyclic, crops=K"
    assert str(caught.value) == f"mechanism must be {legal}, got {text}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noise=0,q=0.1,rho=0.3,steps=1", r"noise multiplier must be positive and finite, got 0.0"),
        ("noise=nan,q=0.1,rho=0.3,steps=1", r"noise multiplier must be .*, got nan"),
        ("noise=inf,q=0.1,rho=0.3,steps=1", r"noise multiplier must be .*, got inf"),
        ("noise=1,q=0,rho=0.3,steps=1", r"sampling rate must be in \(0, 1\], got 0.0"),
        ("noise=1,q=1.1,rho=0.3,steps=1", r"sampling rate must be .*, got 1.1"),
        ("noise=1,q=0.1,rho=nan,steps=1", r"inclusion probability must be .*, got nan"),
        ("noise=1,q=0.1,rho=-1,steps=1", r"inclusion probability must be in \[0, 1\], got -1.0"),
        ("noise=1,q=0.1,rho=0.3,steps=0", r"steps must be at least 1, got 0"),
    ],
)
def test_values_out_of_range(text: str, message: str) -> None:
    for sampler in ("poisson", "fixed", "shuffle"):
        with pytest.raises(InputError, match=message):
            parse_mechanism(f"{sampler}:{text}")


def test_a_mechanism_needs_a_delta(tmp_path: Path) -> None:
    text = "poisson:noise=1,q=0.1,rho=0.3,steps=5"
    with pytest.raises(InputError, match=r"delta must be in \(0, 1\) with --mechanism, got 0"):
        estimated(tmp_path, gaussian(), delta=0.0, mechanism=text)
    assert estimated(tmp_path, gaussian(), delta=0.0).bounds[0].delta == 0


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 2)), np.array([1.0, np.nan]), np.array([]), np.array(["a"]), np.array(1j)],
    ids=["matrix", "nan", "empty", "text", "complex"],
)
def test_arrays_that_are_no_scores(values: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", values)
    np.save(tmp_path / "fine.npy", np.zeros(5))
    with pytest.raises(InputError) as caught:
        estimate_file(None, tmp_path / "bad.npy", tmp_path / "fine.npy", **OPTIONS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("given", [(True, True, False), (True, True, True), (False, False, True)])
def test_one_form_of_input(given: tuple[bool, bool, bool], tmp_path: Path) -> None:
    paths = [tmp_path / "x" if item else None for item in given]
    with pytest.raises(InputError, match="one CSV, or as --member and --nonmember together"):
        estimate_file(*paths, **OPTIONS)
