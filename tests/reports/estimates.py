"""Estimates of any size for tests of what is printed and drawn of them."""

import numpy as np

from cropaudit.audit.results.estimate_result import (
    AttackEstimate,
    Estimate,
    PositionEstimate,
)
from cropaudit.audit.results.result import Bound, Curve, Headline

GRID = tuple(np.concatenate([[0.0], np.geomspace(1e-6, 1, 50)]).tolist())
CLASSES = ("exact", "model-based", "credible", "asymptotic")


def bound(estimator: str, epsilon: float, validity: str, **others: object) -> Bound:
    values = {
        "estimator": estimator,
        "epsilon": epsilon,
        "delta": 1e-5,
        "confidence": 0.95,
        "validity": validity,
        "assumes": "independent trials",
        **others,
    }
    return Bound.model_validate(values)


def place(name: str, epsilon: float, simultaneous: float, p_value: float = 1.0) -> PositionEstimate:
    return PositionEstimate(
        position=name,
        members=40,
        nonmembers=41,
        epsilon=epsilon,
        simultaneous=simultaneous,
        p_value=p_value,
    )


def attack(name: str, loudness: float, places: int = 0, **changes: object) -> AttackEstimate:
    """Returns an attack with a bound of every class, louder by 0.1 from one to the next."""
    found = AttackEstimate(
        attack=name,
        members=3000,
        nonmembers=2900,
        auc=0.75,
        roc=Curve(fpr=GRID, tpr=tuple(x**0.5 for x in GRID)),
        bounds=tuple(
            bound(f"way-{at}", loudness + at / 10, validity, cap=4.0 if at else 99.0)
            for at, validity in enumerate(CLASSES)
        ),
        corrected=bound("way-0", loudness, "exact"),
        share=0.05,
        p_value=None,
        corrected_p_value=None,
        could_contradict=None,
        trials_needed=None,
        free_p_value=None,
        free_epsilon=None,
        limits=(),
        positions=tuple(place(f"place {at}", at, at / 10) for at in range(places)),
        skipped=(),
    )
    return found.model_copy(update=changes)


def estimate(*attacks: AttackEstimate, **changes: object) -> Estimate:
    found = Estimate(
        delta=1e-5,
        confidence=0.95,
        trials="independent",
        order="either",
        seed=1,
        power_holds="if only the noise is less",
        not_probed=("a leak in few runs",),
        mechanism=None,
        claim=3.0,
        claim_stated=True,
        game_epsilon=None,
        claimed_roc=Curve(fpr=GRID, tpr=tuple(x**0.4 for x in GRID)),
        attacks=attacks,
        headline=Headline(
            epsilon_lower=1.2345,
            delta=1e-5,
            confidence=0.95,
            attack=attacks[0].attack,
            estimator="way-0",
            validity="exact",
            correction="one attack",
        ),
        contradicted=False,
        ground="none",
    )
    return found.model_copy(update=changes)
