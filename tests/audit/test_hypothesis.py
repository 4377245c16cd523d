"""What is asked of scores: ranges, the claim in its forms, and the family it stands for."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cropaudit.accounting.bounds.accountant import epsilon_at
from cropaudit.accounting.mechanisms.descriptions import (
    CyclicPatch,
    FixedSizePatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.errors import InputError
from cropaudit.estimators.hypothesis import Hypothesis

POISSON = PoissonPatch(1.0, 0.1, 0.3, 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delta": -1e-9}, r"delta must be in \[0, 1\), got -1e-09"),
        ({"delta": 1.0}, r"delta must be in \[0, 1\), got 1.0"),
        ({"delta": math.nan}, r"delta must be in \[0, 1\), got nan"),
        ({"confidence": 0.0}, r"confidence must be in \(0, 1\), got 0.0"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ({"confidence": math.nan}, r"confidence must be in \(0, 1\), got nan"),
        ({"claim": -0.1}, "claim must be at least 0 and finite, got -0.1"),
        ({"claim": math.inf}, "claim must be at least 0 and finite, got inf"),
        ({"claim": math.nan}, "claim must be at least 0 and finite, got nan"),
        ({"share": 0.0}, r"share of the level must be in \(0, 1\], got 0.0"),
        ({"share": 1.1}, r"share of the level must be in \(0, 1\], got 1.1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"trials": "one_run"}, "trials must be one of independent, one-run, got one_run"),
        ({"order": "Forward"}, "order must be one of either, forward, .*, got Forward"),
        ({"delta": 0.0, "mechanism": POISSON}, r"delta must be in \(0, 1\) with a mechanism"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Hypothesis(**values)


def test_limits_of_the_ranges() -> None:
    asked = Hypothesis(delta=0.0, confidence=0.999, claim=0.0, seed=0)
    assert asked.level == pytest.approx(0.001)
    assert (asked.family, asked.epsilon) == (None, 0.0)
    assert asked.game is asked.free
    assert replace(asked, share=0.25).corrected == pytest.approx(0.00025)


def test_without_claim_or_mechanism_nothing_is_held_against_the_scores() -> None:
    asked = Hypothesis()
    assert (asked.family, asked.epsilon) == (None, None)
    assert (asked.free, asked.game) == (None, None)
    assert asked.along("noise multiplier") is None


def test_a_stated_epsilon_is_the_claim_with_or_without_a_mechanism() -> None:
    for mechanism in (None, POISSON):
        asked = Hypothesis(mechanism=mechanism, claim=1.25)
        assert asked.free is not None
        assert asked.game is not None
        assert (asked.epsilon, asked.free.epsilon, asked.game.epsilon) == (1.25,) * 3


@pytest.mark.parametrize(
    "mechanism",
    [POISSON, FixedSizePatch(1.0, 0.1, 0.3, 20), ShufflePatch(1.0, 0.1, 0.3, 20)],
    ids=str,
)
def test_a_mechanism_claims_by_the_accountant_and_is_contradicted_by_its_game(
    mechanism: PoissonPatch,
) -> None:
    asked = Hypothesis(mechanism=mechanism, order="forward")
    assert asked.epsilon == epsilon_at(mechanism, 1e-5)
    assert asked.family is not None
    assert asked.game is not None
    assert asked.game.epsilon == asked.family.epsilon(0)
    assert 0.5 * asked.epsilon < asked.game.epsilon <= asked.epsilon
    # The null is the claimed member itself, not a quieter one: honest scores are held to it.
    assert asked.family.index_of(asked.game.epsilon) == 0
    (curve,), fpr = asked.game.curves, np.linspace(0.01, 0.9, 9)
    assert np.array_equal(curve(fpr), asked.family.allowed(0)[0](fpr))
    # Who may change sides between steps is held to the accountant's curve alone.
    adaptive = replace(asked, order="adaptive")
    assert adaptive.game is adaptive.free


def test_families_follow_the_hypothesis() -> None:
    asked = Hypothesis(mechanism=POISSON, order="forward", delta=1e-6)
    for axis, own in (
        ("noise multiplier", 1.0),
        ("inclusion probability", 0.3),
        ("sampling rate", 0.1),
    ):
        family = asked.along(axis)  # type: ignore[arg-type]
        assert family is not None
        assert (family.axis, family.order, family.delta) == (axis, "forward", 1e-6)
        assert family.value(0) == own
    assert asked.family is asked.family, "its curves are kept"
    assert Hypothesis(mechanism=POISSON).family is not None
    assert Hypothesis(mechanism=POISSON).order == "either"
    assert Hypothesis(mechanism=POISSON, trials="one-run").order == "adaptive"


def test_axes_that_make_no_difference_are_refused() -> None:
    asked = Hypothesis(mechanism=CyclicPatch(1.0, 0.1, 0.3, 20))
    with pytest.raises(InputError, match="sampler must be poisson or fixed to vary its rate"):
        asked.along("sampling rate")
    with pytest.raises(InputError, match="crops must be 1 in a family of its inclusion"):
        Hypothesis(mechanism=PoissonPatch(1.0, 0.1, 0.3, 20, crops=2)).along(
            "inclusion probability"
        )


def test_hypotheses_are_equal_by_what_they_ask() -> None:
    assert Hypothesis(mechanism=POISSON) == Hypothesis(mechanism=PoissonPatch(1.0, 0.1, 0.3, 20))
    assert hash(Hypothesis(seed=1)) == hash(Hypothesis(seed=2))
    assert Hypothesis(seed=1) == Hypothesis(seed=2), "no plan depends on the order of the rows"
    assert len({Hypothesis().seed for _ in range(5)}) == 5, "drawn anew"
