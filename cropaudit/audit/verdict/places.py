"""One attack's scores seen otherwise: limits on the mechanism's numbers, and place by place."""

from cropaudit.audit.results.estimate_result import ParameterLimit, PositionEstimate
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.estimators.holm import holm
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.policies.methods import RankSumMethod, ThresholdMethod
from cropaudit.estimators.registry import plan
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.trials.family import Axis

__all__ = ["parameter_limits", "positions"]

_AXES: tuple[Axis, ...] = ("noise multiplier", "inclusion probability", "sampling rate")


def parameter_limits(scores: Scores, hypothesis: Hypothesis) -> tuple[ParameterLimit, ...]:
    """Returns what the scores say about each number of the mechanism, the others as claimed.

    Each holds at the stated confidence if all other numbers are as claimed; they are read off one
    test, so that which of them is the cause is not decided.
    """
    mechanism = hypothesis.mechanism
    if mechanism is None or hypothesis.trials == "one-run":
        return ()
    axes = _AXES if mechanism.kind in ("poisson", "fixed") else _AXES[:2]
    return tuple(_limit(scores, hypothesis, axis) for axis in axes)


def _limit(scores: Scores, hypothesis: Hypothesis, axis: Axis) -> ParameterLimit:
    family = hypothesis.along(axis)
    deciding = plan(hypothesis, (len(scores.member), len(scores.nonmember))).deciding
    if family is None or not isinstance(deciding, RankSumMethod | ThresholdMethod):
        raise TypeError(f"no parameter limit of {deciding.name}")
    found = deciding.rejected(scores, family, hypothesis.level, hypothesis.seed)
    claimed, noisy = family.value(0), axis == "noise multiplier"
    # The limit itself is rejected: at the claimed value it contradicts the claim.
    beyond = found.value is not None and (
        found.value <= claimed if noisy else found.value >= claimed
    )
    return ParameterLimit(
        axis=axis,
        claimed=claimed,
        limit=found.value,
        side="at most" if noisy else "at least",
        outside=found.outside,
        contradicts=found.outside or beyond,
    )


def positions(
    table: ScoreTable, hypothesis: Hypothesis, level: float
) -> tuple[PositionEstimate, ...]:
    """Returns what each position of the patch shows, by the deciding test.

    Args:
        table: Scores with positions.
        hypothesis: What is held against them.
        level: Of all positions together; each has its share in the simultaneous bound.
    """
    places, null, seed = table.places(), hypothesis.game, hypothesis.seed
    tests = {
        place: plan(hypothesis, (len(item.member), len(item.nonmember))).deciding
        for place, item in places.items()
    }
    known = [
        value
        for place, test in tests.items()
        if null is not None
        and (value := test.p_value(places[place], null, level, seed)) is not None
    ]
    corrected: list[float | None] = [None] * len(tests)
    if len(known) == len(tests):
        corrected = list(holm(known))
    found = []
    for (place, item), p_value in zip(places.items(), corrected, strict=True):
        bounds = [
            tests[place].bound(item, hypothesis.delta, each, seed).epsilon
            for each in (hypothesis.level, level / len(places))
        ]
        found.append(
            PositionEstimate(
                position=place,
                members=len(item.member),
                nonmembers=len(item.nonmember),
                epsilon=bounds[0],
                simultaneous=bounds[1],
                p_value=p_value,
            )
        )
    return tuple(found)
