"""Other readings of one attack's scores: limits on the mechanism's numbers, and place by place."""

from collections.abc import Sequence

from cropaudit.accounting.accountant import round_up
from cropaudit.audit.estimate_result import Inversion, PositionEstimate
from cropaudit.audit.estimators.family import Axis, Family, Rejected
from cropaudit.audit.estimators.holm import holm
from cropaudit.audit.estimators.mechanism_fdp import MechanismFdp
from cropaudit.audit.estimators.methods import RankSumMethod, ThresholdMethod
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question
from cropaudit.audit.score_tables import ScoreTable

__all__ = ["inversions", "positions"]

_AXES: tuple[Axis, ...] = ("noise multiplier", "inclusion probability", "sampling rate")


def inversions(scores: Scores, question: Question) -> tuple[Inversion, ...]:
    """Returns what the scores say about each number of the mechanism, the others as claimed.

    Each holds at the stated confidence if all other numbers are as claimed; they are readings of
    one test, so that which of them is the cause is not decided.
    """
    mechanism = question.mechanism
    if mechanism is None or question.trials == "one-run":
        return ()
    apart = mechanism.kind in ("poisson", "fixed")
    axes = _AXES if apart else _AXES[:2]
    return tuple(_inversion(scores, question, axis) for axis in axes)


def _inversion(scores: Scores, question: Question, axis: Axis) -> Inversion:
    family = question.along(axis)
    if family is None:
        raise TypeError("an inversion needs a mechanism")
    found = _rejected(scores, question, family)
    claimed = family.value(0)
    noisy = axis == "noise multiplier"
    contradicts = found.outside or _beyond(found, claimed, noisy=noisy)
    side = "at most" if noisy else "at least"
    return Inversion(
        axis=axis,
        claimed=claimed,
        limit=found.value,
        side=side,
        words=_words(axis, side, found, claimed),
        contradicts=contradicts,
    )


def _beyond(found: Rejected, claimed: float, *, noisy: bool) -> bool:
    if found.value is None:
        return False
    # The limit itself is rejected: at the claimed value it contradicts the claim.
    return found.value <= claimed if noisy else found.value >= claimed


def _words(axis: Axis, side: str, found: Rejected, claimed: float) -> str:
    """Says it in words, the limit rounded to the side that claims less."""
    if found.outside:
        return f"no {axis} explains the scores; the claim says {claimed:.4g}"
    if found.value is None:
        return f"nothing is shown about the {axis}; the claim says {claimed:.4g}"
    rounded = round_up(found.value, 4) if side == "at most" else round_down(found.value, 4)
    return f"the {axis} is {side} {rounded:g}; the claim says {claimed:.4g}"


def _rejected(scores: Scores, question: Question, family: Family) -> Rejected:
    """Returns the loudest member that the deciding method rejects."""
    primary = choose_methods(question, (len(scores.member), len(scores.nonmember))).primary
    if isinstance(primary, RankSumMethod):
        # One statistic for all numbers: weights by their own family would make three tests of it.
        test, statistic = primary.seen(scores)
        return family.loudest_rejected(lambda curve: test.rejects(statistic, curve, question.level))
    if not isinstance(primary, ThresholdMethod):
        raise TypeError(f"no inversion for {primary.name}")
    method = ThresholdMethod(MechanismFdp(family), primary.policy)
    tests = method.tests(scores, question.delta, question.level, question.seed)
    share = question.level / len(tests)
    found = [MechanismFdp(family).rejected(test, share) for test in tests]
    return max(found, key=lambda item: (item.outside, item.epsilon))


def positions(table: ScoreTable, question: Question, level: float) -> tuple[PositionEstimate, ...]:
    """Returns what each position of the patch shows, by the deciding method.

    Args:
        table: Scores with positions.
        question: What is asked.
        level: Of all positions together; each has its share in the simultaneous bound.
    """
    places = table.places()
    choices = {
        place: choose_methods(question, (len(item.member), len(item.nonmember))).primary
        for place, item in places.items()
    }
    values = [
        method.p_value(places[place], question.null, question.delta, level, question.seed)
        if question.null is not None
        else None
        for place, method in choices.items()
    ]
    corrected = _corrected(values)
    found = []
    for (place, item), p_value in zip(places.items(), corrected, strict=True):
        method = choices[place]
        alone = method.bound(item, question.delta, question.level, question.seed)
        together = method.bound(item, question.delta, level / len(places), question.seed)
        found.append(
            PositionEstimate(
                position=place,
                members=len(item.member),
                nonmembers=len(item.nonmember),
                epsilon=alone.epsilon,
                simultaneous=together.epsilon,
                p_value=p_value,
            )
        )
    return tuple(found)


def _corrected(values: Sequence[float | None]) -> Sequence[float | None]:
    known = [value for value in values if value is not None]
    return holm(known) if len(known) == len(values) else values
