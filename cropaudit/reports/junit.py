"""Checks as JUnit XML, which build servers read: one test case a check."""

import io
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from cropaudit.audit.results.result import AuditReport
from cropaudit.reports.store import Finished

__all__ = ["Case", "JUnit", "junit_xml"]


class Case(NamedTuple):
    """One check: ``where`` adds to the detail of one that failed."""

    name: str
    status: str
    detail: str
    where: str = ""


class JUnit:
    """An audit's controls, its checks of conformance and its verdict."""

    ending: ClassVar[str] = ".xml"
    documents: ClassVar[tuple[type, ...]] = (AuditReport,)

    def render(self, run: Finished) -> bytes:
        """Returns the XML."""
        report = run.document
        assert isinstance(report, AuditReport)  # of its documents
        status = {"violation": "fail", "consistent": "pass"}.get(report.verdict.status)
        checks = (*report.controls, *report.conformance.checks)
        cases = [Case(x.name, x.status, f"{x.observed}; expected: {x.expected}") for x in checks]
        cases.append(Case("verdict", status or report.verdict.status, report.verdict.detail))
        return junit_xml("audit", cases)


def junit_xml(command: str, cases: Iterable[Case]) -> bytes:
    """Returns the XML of a command's checks: what neither passed nor failed counts as skipped."""
    suite = TestSuite(f"cropaudit {command}")
    for item in cases:
        case = TestCase(_clean(item.name), f"cropaudit.{command}")
        if item.status == "fail":
            failure = Failure(_clean(item.detail), "conformance")
            failure.text = _clean(f"{item.detail} {item.where}".strip())
            case.result = [failure]
        elif item.status != "pass":
            skipped = Skipped(_clean(f"{item.status}: {item.detail}"))
            skipped.text = _clean(item.detail)  # some readers take the content alone
            case.result = [skipped]
        suite.add_testcase(case)
    document = JUnitXml("cropaudit")
    document.add_testsuite(suite)
    document.update_statistics()
    stream = io.BytesIO()
    document.write(stream)
    return stream.getvalue()


def _clean(text: str) -> str:
    """Returns the text without what XML cannot hold: the user's messages may have anything."""
    return "".join(letter for letter in text if letter in "\t\n\r" or letter.isprintable())
