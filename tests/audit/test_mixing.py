"""An audit refuses parts that speak of different mechanisms."""

import pytest

from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    Mechanism,
    PatchMechanism,
    PoissonPatch,
)
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.mixing import refuse_mixture
from cropaudit.errors import InputError
from cropaudit.training.samplers import FixedSize, Poisson, Sampling

POISSON = PoissonPatch(1.0, 0.1, 0.3, 50)
FIXED = FixedSizePatch(1.0, 0.1, 0.3, 50)


def test_one_mechanism_at_any_noise_is_let_through() -> None:
    quiet = POISSON.with_noise(3.0)
    refuse_mixture(POISSON, Poisson(0.1), [POISSON.pair(), quiet.pair()], quiet)
    refuse_mixture(FIXED, FixedSize(10), [FIXED.pair()], None)


@pytest.mark.parametrize(
    ("accounted", "sampling", "pairs", "claimed", "message"),
    [
        (POISSON, FixedSize(10), [], None, "accountant and training .* got poisson and fixed"),
        (FIXED, FixedSize(10), [], POISSON, "claim and training .* got poisson and fixed"),
        (
            POISSON,
            Poisson(0.1),
            [FIXED.pair()],
            None,
            "scores and accountant .* one pair of worlds",
        ),
        (
            POISSON,
            Poisson(0.1),
            [POISSON.pair()],
            PoissonPatch(1.0, 0.1, 0.2, 50),
            "claim and training must be of one mechanism, got inclusion 0.2 and 0.3",
        ),
        (POISSON, Poisson(0.1), [], POISSON.with_steps(9), "got steps 9 and 50"),
    ],
)
def test_mixtures_are_refused(
    accounted: PatchMechanism,
    sampling: Sampling,
    pairs: list[StepPair],
    claimed: Mechanism | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        refuse_mixture(accounted, sampling, pairs, claimed)
