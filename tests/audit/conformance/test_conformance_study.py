"""The tables of the study of conformance, and the examples of its guide, without running any."""

import re
from pathlib import Path

import pytest

from cropaudit.audit.conformance import outcome
from cropaudit.audit.conformance.battery import Battery
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.faults.registry import faults
from tests.study.conformance import PARTS, alarms_table, matrix
from tests.study.forked_runs import Alarms
from tests.study.guide import CASES, Case, _row, _source

GUIDE = Path(__file__).parents[3] / "docs" / "conformance.md"


def battery(*failing: str) -> Battery:
    fault = faults()[0]
    outcomes = [
        outcome.Outcome(check.name, (outcome.Tested("x", float(check.name not in failing), "off"),))
        for check in CHECKS
    ]
    return Battery(outcome.decide(outcomes, 0.01), 0.01, fault.claimed)


def test_the_matrix_marks_who_had_to_find_a_fault() -> None:
    planted = faults()[0]
    other = next(check.name for check in CHECKS if check.name != planted.check)
    found = matrix([(planted, battery(planted.check, other), 3.4), (planted, battery(other), 1.0)])
    assert "**2 of 2 faults are found, 1 by the check that must name them.**" in found
    rows = [line for line in found.splitlines() if line.startswith(f"| {planted.name} |")]
    assert ["**X**" in row for row in rows] == [True, False]
    assert ["**!**" in row for row in rows] == [False, True]
    assert all(row.count("|") == len(CHECKS) + 3 for row in rows)


def test_false_alarms_stand_beside_their_interval() -> None:
    found = alarms_table([Alarms("one", 200, 0, ()), Alarms("two", 200, 1, ("noise",))])
    assert "| one | 200 | 0 (0.00%) | 0.00% to 1.83% |  |" in found
    assert "| two | 200 | 1 (0.50%) | 0.01% to 2.75% | noise (1) |" in found
    assert "| all | 400 | 1 (0.25%)" in found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_stands_in_its_module(case: Case) -> None:
    """As an expression that a user could have written: it is shown as it is run."""
    assert len(_source(case)) > 3


def test_a_row_tells_why_and_how_to_mend_it() -> None:
    case = next(case for case in CASES if case.name == "blur_before")
    row = _row(case, battery("non-interference"))
    assert "GaussianBlur(5)" in row
    assert "**fail** | *non-interference*: off | move it after the crop |" in row


def test_the_guide_has_room_for_each_part_and_its_examples_are_python() -> None:
    text = GUIDE.read_text("utf-8")
    for part in PARTS:
        assert text.count(f"<!-- study {part}: begin -->") == 1
        assert text.count(f"<!-- study {part}: end -->") == 1
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(example, "guide", "exec")
    for check in CHECKS:
        assert f"| {check.name} |" in text
