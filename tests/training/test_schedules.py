import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropaudit.errors import InputError
from cropaudit.training.schedules import Constant, Cosine, Poly, Steps, learning_rates

KINDS = [Constant(), Poly(), Cosine(), Steps(every=3)]


def test_rates_are_those_of_the_formulas():
    assert learning_rates(Constant(), 0.5, 3) == (0.5, 0.5, 0.5)
    assert learning_rates(Poly(0.9), 2.0, 4) == pytest.approx(
        [2 * (1 - t / 4) ** 0.9 for t in range(4)]
    )
    assert learning_rates(Cosine(), 2.0, 4) == pytest.approx(
        [1 + math.cos(math.pi * t / 4) for t in range(4)]
    )
    assert learning_rates(Steps(every=2, factor=0.5), 1.0, 5) == (1.0, 1.0, 0.5, 0.5, 0.25)


@given(st.sampled_from(KINDS), st.integers(0, 8), st.integers(9, 40))
def test_a_warmup_rises_to_the_start_and_then_nothing_does(kind, warmup, steps):
    rates = learning_rates(type(kind)(**{**vars(kind), "warmup": warmup}), 0.3, steps)
    assert len(rates) == steps
    assert rates[warmup] == pytest.approx(0.3)
    assert list(rates[: warmup + 1]) == sorted(rates[: warmup + 1])
    assert list(rates[warmup:]) == sorted(rates[warmup:], reverse=True)
    assert min(rates) > 0


def test_a_warmup_as_long_as_the_run_is_refused():
    with pytest.raises(InputError, match="warmup must be below the 4 steps, got 4"):
        learning_rates(Constant(warmup=4), 1.0, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poly(0.0), "power must be above 0 and finite"),
        (lambda: Steps(every=0), "every must be at least 1"),
        (lambda: Steps(every=1, factor=2.0), "factor must be above 0 and at most 1"),
        (lambda: Cosine(warmup=-1), "warmup must be at least 0"),
    ],
)
def test_an_illegal_schedule_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
