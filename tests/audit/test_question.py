"""What is asked of scores: ranges, the claim in its forms, and the family it stands for."""

import math
from typing import Any

import pytest

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.mechanisms import (
    CyclicPatch,
    FixedSizePatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.question import Question
from cropaudit.errors import InputError

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
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"delta": 0.0, "mechanism": POISSON}, r"delta must be in \(0, 1\) with a mechanism"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Question(**values)


def test_limits_of_the_ranges() -> None:
    question = Question(delta=0.0, confidence=0.999, claim=0.0, seed=0)
    assert question.level == pytest.approx(0.001)
    assert (question.family, question.epsilon, question.null) == (None, 0.0, 0.0)


def test_without_claim_or_mechanism_nothing_is_held_against_the_scores() -> None:
    question = Question()
    assert (question.family, question.epsilon, question.null) == (None, None, None)
    assert question.along("noise multiplier") is None
    assert question.claim_words == "no epsilon and no mechanism was stated"


def test_a_stated_epsilon_is_the_claim_with_or_without_a_mechanism() -> None:
    for mechanism in (None, POISSON):
        question = Question(mechanism=mechanism, claim=1.25)
        assert (question.epsilon, question.null) == (1.25, 1.25)
        assert question.claim_words == "as stated"


@pytest.mark.parametrize(
    "mechanism",
    [POISSON, FixedSizePatch(1.0, 0.1, 0.3, 20), ShufflePatch(1.0, 0.1, 0.3, 20)],
    ids=str,
)
def test_a_mechanism_claims_by_the_accountant_and_is_contradicted_by_its_game(
    mechanism: PoissonPatch,
) -> None:
    question = Question(mechanism=mechanism)
    assert question.epsilon == epsilon_at(mechanism, 1e-5)
    assert question.family is not None
    assert question.null == question.family.epsilon(0)
    assert 0.5 * question.epsilon < question.null <= question.epsilon
    assert f"{question.null:.4g}" in question.claim_words
    # The null is the claimed member itself, not a quieter one: honest scores are held to it.
    assert question.family.index_of(question.null) == 0


def test_families_follow_the_question() -> None:
    question = Question(mechanism=POISSON, order="forward", delta=1e-6)
    for axis, own in (
        ("noise multiplier", 1.0),
        ("inclusion probability", 0.3),
        ("sampling rate", 0.1),
    ):
        family = question.along(axis)  # type: ignore[arg-type]
        assert family is not None
        assert (family.axis, family.order, family.delta) == (axis, "forward", 1e-6)
        assert family.value(0) == own
    assert question.family is question.family, "its curves are kept"
    assert Question(mechanism=POISSON).family is not None
    assert Question(mechanism=POISSON).family.order == "either"  # type: ignore[union-attr]


def test_axes_that_make_no_difference_are_refused() -> None:
    question = Question(mechanism=CyclicPatch(1.0, 0.1, 0.3, 20))
    with pytest.raises(InputError, match="sampler must be poisson or fixed to vary its rate"):
        question.along("sampling rate")
    with pytest.raises(InputError, match="crops must be 1 in a family, got 2"):
        _ = Question(mechanism=PoissonPatch(1.0, 0.1, 0.3, 20, crops=2)).family


def test_questions_are_equal_by_what_they_ask() -> None:
    assert Question(mechanism=POISSON) == Question(mechanism=PoissonPatch(1.0, 0.1, 0.3, 20))
    assert hash(Question(seed=1)) == hash(Question(seed=2))
    assert Question(seed=1) == Question(seed=2), "no plan depends on the order of the rows"
    assert len({Question().seed for _ in range(5)}) == 5, "drawn anew"
