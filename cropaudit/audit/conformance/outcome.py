"""What a check finds, before and after the battery's level is shared out.

A check returns tests: null hypotheses, each with a valid p-value (0 where an observation cannot
happen at all under the null). The battery corrects all tests of all checks together by Holm, so
that a sound pipeline fails anywhere with a probability of at most the level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from cropaudit.audit.estimators.holm import holm
from cropaudit.errors import require

__all__ = [
    "SURE",
    "Finding",
    "Outcome",
    "Picture",
    "Status",
    "Tested",
    "decide",
    "doubtful",
    "merged",
    "settled",
]

SURE = 1e-6  # corrected p-values up to here are beyond doubt

Status = Literal["pass", "fail", "differs", "inconclusive", "not measured", "skipped"]


@dataclass(frozen=True)
class Tested:
    """One null hypothesis and what was seen.

    Attributes:
        null: What holds in a sound pipeline, in words.
        p_value: Probability, at most, of something as odd under the null; 0 if it cannot happen.
        words: What was seen, with figures, to be read on its own in a report of the failure.
        shows: What is known once the null is refuted, if it makes other tests void, to be read
            after "while": "windows are not independent".
        void_if: What makes its own p-value mean nothing, in the same words.
        chance: Whether it was rejected, and not again in fresh draws.
    """

    null: str
    p_value: float
    words: str
    shows: str = ""
    void_if: tuple[str, ...] = ()
    chance: bool = False
    __test__: ClassVar[bool] = False  # pytest takes it for a test by its name

    def __post_init__(self) -> None:
        require(0 <= self.p_value <= 1, "p-value", "in [0, 1]", self.p_value)


@dataclass(frozen=True)
class Picture:
    """A counter-example.

    Attributes:
        name: File name stem.
        caption: What to look at, in words; also the alternative text.
        png: The picture.
    """

    name: str
    caption: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What one check brought.

    Attributes:
        check: Its name in the catalogue.
        tests: Its null hypotheses; none if it was skipped.
        evidence: What was measured, in one sentence, for a check that passes.
        power: Which fault it would have found, and how surely.
        skipped: Why nothing was asked, as its subject or its claim was not given, if so.
        unmeasured: What could not be watched in what was given, if so: then it cannot pass.
        undecided: Why what was measured does not suffice to pass, if so.
        differs: What is not as claimed but loses no privacy, as more noise, if anything.
        where: File and line of the user's code that it is about, if known.
        figures: Measured numbers by name.
        pictures: Counter-examples.
    """

    check: str
    tests: tuple[Tested, ...] = ()
    evidence: str = ""
    power: str = ""
    skipped: str = ""
    unmeasured: str = ""
    undecided: str = ""
    differs: str = ""
    where: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns what one check brought on several subjects, those left out on which it was skipped.

    >>> merged([Outcome("a", skipped="no b"), Outcome("a", evidence="c")]).evidence
    'c'
    """
    asked = [item for item in outcomes if not item.skipped or item.tests] or outcomes[:1]

    def joined(values: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(value for value in values if value))

    return Outcome(
        check=asked[0].check,
        tests=tuple(test for item in asked for test in item.tests),
        evidence=joined(item.evidence for item in asked),
        power=joined(item.power for item in asked),
        skipped=joined(item.skipped for item in asked),
        unmeasured=joined(item.unmeasured for item in asked),
        undecided=joined(item.undecided for item in asked),
        differs=joined(item.differs for item in asked),
        where=next((item.where for item in asked if item.where), ""),
        figures={name: value for item in asked for name, value in item.figures.items()},
        pictures=tuple(picture for item in asked for picture in item.pictures),
    )


@dataclass(frozen=True)
class Finding:
    """A check after correction for all the others.

    Attributes:
        check: Its name.
        status: fail; else skipped, not measured or inconclusive, where nothing was asked, not all
            or too little was seen; else differs, where what was seen is not what is claimed but no
            worse; or pass.
        level: Of the whole battery: the probability of any false alarm.
        p_value: Smallest corrected p-value of its tests; none without tests.
        nulls: What was tested.
        detail: What was seen: the failures, or the evidence.
        outcome: What the check itself returned.
    """

    check: str
    status: Status
    level: float
    p_value: float | None
    nulls: tuple[str, ...]
    detail: str
    outcome: Outcome


def decide(outcomes: Sequence[Outcome], level: float) -> tuple[Finding, ...]:
    """Shares the level among all tests (Holm) and says which check fails.

    Args:
        outcomes: Of all checks.
        level: Probability of any false alarm, in (0, 1).

    >>> sound = Outcome("a", (Tested("x", 0.06, "odd"),))
    >>> [item.status for item in decide([sound, Outcome("b", (Tested("y", 0.0, "no"),))], 0.05)]
    ['pass', 'fail']
    """
    require(0 < level < 1, "level", "in (0, 1)", level)
    # Without those that were rejected by chance, the others keep the rank that rejected them.
    judged = [test.p_value for item in outcomes for test in item.tests if not test.chance]
    adjusted = iter(holm(judged))
    tests = [
        [replace(t, p_value=1.0 if t.chance else next(adjusted)) for t in item.tests]
        for item in outcomes
    ]
    known = {t.shows for found in tests for t in found if t.shows and t.p_value <= level}
    return tuple(
        _found(item, found, level, known) for item, found in zip(outcomes, tests, strict=True)
    )


def doubtful(outcomes: Sequence[Outcome], level: float) -> bool:
    """Returns whether a test is rejected that chance might have: fresh draws should decide it."""
    return any(_doubts(outcomes, level))


def settled(
    first: Sequence[Outcome], second: Sequence[Outcome], level: float
) -> tuple[Outcome, ...]:
    """Returns the first outcomes without the rejections that fresh draws do not bear out.

    A test that is rejected with a corrected p-value above `SURE` stays rejected only if the same
    test on fresh draws is rejected too, by Holm among those in doubt. As every final rejection was
    one of the first draws, the level is kept; a sound pipeline fails with at most its square, plus
    `SURE`. What fresh draws do not answer stays rejected: a test that is missing, of a check that
    could not see enough this time, or one of several that cannot be told apart any more.

    Args:
        first: Of all checks.
        second: Of all checks, on draws that are independent of the first.
        level: Probability of any false alarm, in (0, 1).
    """
    doubts = _doubts(first, level)
    fresh = [_answers(item, second) for item in first]
    asked = [(i, j) for i, rows in enumerate(doubts) for j in rows if j in fresh[i]]
    again = zip(asked, holm([fresh[i][j] for i, j in asked]), strict=True)
    chance = {key for key, p_value in again if p_value > level}
    return tuple(
        _without(item, {j for j in rows if (i, j) in chance})
        for i, (item, rows) in enumerate(zip(first, doubts, strict=True))
    )


def _doubts(outcomes: Sequence[Outcome], level: float) -> list[list[int]]:
    """Returns which tests of each check are rejected, but not beyond doubt."""
    adjusted = iter(holm([test.p_value for item in outcomes for test in item.tests]))
    return [
        [j for j in range(len(item.tests)) if SURE < next(adjusted) <= level] for item in outcomes
    ]


def _answers(first: Outcome, second: Sequence[Outcome]) -> dict[int, float]:
    """Returns the p-values of the same tests in fresh draws, by their place in the first ones.

    One null may be asked of several subjects: its tests stand in the same order, if all are there.
    """
    found = [item for item in second if item.check == first.check]
    blind = any(
        getattr(item, why) and not getattr(first, why)
        for item in found
        for why in ("skipped", "unmeasured", "undecided")
    )
    if blind:
        return {}
    again = [test for item in found for test in item.tests]
    there = _places(again)
    return {
        j: again[k].p_value
        for null, here in _places(first.tests).items()
        if len(here) == len(there.get(null, ()))
        for j, k in zip(here, there[null], strict=True)
    }


def _places(tests: Sequence[Tested]) -> dict[str, list[int]]:
    """Returns where the tests of each null stand."""
    found: dict[str, list[int]] = {}
    for j, test in enumerate(tests):
        found.setdefault(test.null, []).append(j)
    return found


def _without(outcome: Outcome, chance: set[int]) -> Outcome:
    if not chance:
        return outcome
    odd = "; ".join(outcome.tests[j].words for j in sorted(chance))
    kept = tuple(
        replace(test, chance=True) if j in chance else test for j, test in enumerate(outcome.tests)
    )
    words = f"seen once and not again in fresh draws, so taken for chance: {odd}"
    evidence = "; ".join(part for part in (outcome.evidence, words) if part)
    return replace(outcome, tests=kept, evidence=evidence)


def _found(outcome: Outcome, tests: Sequence[Tested], level: float, known: set[str]) -> Finding:
    unjudged = [words for test in tests for words in test.void_if if words in known]
    refuted = [
        test.words for test in tests if test.p_value <= level and not known & {*test.void_if}
    ]
    status: Status = "pass"
    detail = outcome.evidence
    if refuted:
        status, detail = "fail", "; ".join(dict.fromkeys(refuted))
    elif unjudged:
        status, detail = "inconclusive", f"cannot be judged while {unjudged[0]}"
    elif outcome.skipped:
        status, detail = "skipped", outcome.skipped
    elif outcome.unmeasured:
        status, detail = "not measured", outcome.unmeasured
    elif outcome.undecided or not tests:
        status, detail = "inconclusive", outcome.undecided or "nothing could be tested"
    elif outcome.differs:
        status, detail = "differs", outcome.differs
    return Finding(
        check=outcome.check,
        status=status,
        level=level,
        p_value=min((test.p_value for test in tests), default=None),
        nulls=tuple(test.null for test in tests),
        detail=detail,
        outcome=outcome,
    )
