"""Rounding is directed: no printed bound says more than the computed one."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropaudit.errors import InputError
from cropaudit.reports.intervals import auc_interval, clopper_pearson
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
    superscript,
)

FINITE = st.floats(min_value=-1e12, max_value=1e12, allow_subnormal=False)


@given(FINITE, st.integers(2, 6))
def test_bounds_enclose_the_number_within_one_last_digit(x: float, digits: int) -> None:
    exact = Decimal(repr(x))
    low, high = Decimal(format_lower(x, digits)), Decimal(format_upper(x, digits))
    assert low <= exact <= high
    assert high - low <= abs(exact) * Decimal(10) ** (1 - digits)


@given(FINITE)
def test_printed_text_has_at_most_the_digits_asked_for(x: float) -> None:
    for text in (format_lower(x), format_upper(x), format_value(x, 3)):
        mantissa = text.partition("e")[0].lstrip("-").replace(".", "").lstrip("0")
        assert len(mantissa.rstrip("0")) <= 3


def test_numpy_numbers_print_like_python_ones() -> None:
    assert format_lower(np.float64(6.4789)) == "6.47"
    assert format_upper(np.float64(7.4501)) == "7.46"


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(x: float) -> None:
    with pytest.raises(InputError, match="finite"):
        format_lower(x)


@given(st.floats(min_value=0.5, max_value=1.0))
def test_confidence_is_never_overstated(x: float) -> None:
    stated = Decimal(format_confidence(x).removesuffix("%"))
    assert stated <= 100 * Decimal(repr(x)) < stated + Decimal("0.01")


def test_power_of_ten_leaves_other_texts_alone() -> None:
    assert superscript("-2.5e-11") == "-2.5 × 10⁻¹¹"
    assert superscript("0.0003") == "0.0003"


def test_clopper_pearson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148, 95%.
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)
    assert clopper_pearson(5, 5)[1] == 1.0


def test_auc_interval_covers_at_small_samples() -> None:
    # True area 1/2, 15 + 15 games: by Hoeffding at most 5% of 400 repeats miss; 40 or more of 400
    # would happen with probability under 1e-4 at a rate of 5%.
    rng = np.random.default_rng(1)
    misses = 0
    for _ in range(400):
        a, b = rng.normal(size=(2, 15))
        low, high = auc_interval(float(np.mean(a[:, None] > b)), 15, 15)
        misses += not low <= 0.5 <= high
    assert misses < 40
    assert auc_interval(0.7, 0, 10) == (0.0, 1.0)
