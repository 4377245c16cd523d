"""The conformance suite for a terminal, as a mapping for JSON, and as JUnit XML."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cropaudit.conformance.catalogue import CHECKS
from cropaudit.conformance.mutants.mutant import Mutant
from cropaudit.conformance.outcome import Finding
from cropaudit.conformance.suite import SuiteResult
from cropaudit.reports.junit import Case, junit_xml
from cropaudit.reports.text.numbers import finite
from cropaudit.reports.text.tables import Styled, Table, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_catalogue", "print_suite", "suite_document", "suite_junit"]

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "differs": "cyan",
    "inconclusive": "yellow",
    "not measured": "yellow",
    "skipped": "dim",
}
_LABELS = {name: name for name in _STYLES} | {"fail": "FAIL", "inconclusive": "unclear"}


def suite_document(suite: SuiteResult, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Returns all findings as JSON values.

    Args:
        suite: The findings.
        pictures: Captions of the counter-examples that were written, by path.
    """
    return {
        "verdict": suite.verdict,
        "level": suite.level,
        "failed": [item.check for item in suite.failed],
        "checks": [_document(item) for item in suite.findings],
        "pictures": dict(pictures),
    }


def _document(finding: Finding) -> dict[str, Any]:
    outcome = finding.outcome
    return {
        "check": finding.check,
        "status": finding.status,
        "detail": finding.detail,
        "p_value": finding.p_value,
        "nulls": list(finding.nulls),
        "power": outcome.power,
        "where": outcome.where,
        # An epsilon without noise has no end, which JSON has no number for.
        "tests": [
            {"code": t.code, "p_value": t.p_value, "fields": _plain(t.fields)}
            for t in outcome.tests
        ],
        "figures": finite(dict(outcome.figures)),
    }


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields as JSON values: numbers where they are finite, else what is read."""
    found = {}
    for name, value in fields.items():
        number = value.item() if hasattr(value, "item") else value
        known = isinstance(number, int) or (isinstance(number, float) and math.isfinite(number))
        found[name] = number if known else str(number)
    return found


def suite_junit(suite: SuiteResult) -> bytes:
    """Returns all findings as JUnit XML, one test case a check."""
    cases = (Case(x.check, x.status, x.detail, x.outcome.where) for x in suite.findings)
    return junit_xml("conform", cases)


def print_suite(suite: SuiteResult, pictures: Mapping[str, str], console: "Console") -> None:
    """Prints the findings, and the verdict on them all."""
    rows = [
        (Styled(((_LABELS[x.status], _STYLES[x.status]),)), x.check, _told(x))
        for x in suite.findings
        if x.status != "skipped"
    ]
    print_table(Table((), rows, fold=(2,)), console)
    for line in _skipped(suite):
        print_text(line, console, _STYLES["skipped"])
    console.print()
    print_text(_verdict(suite), console, _STYLES[suite.verdict])
    for path, caption in pictures.items():
        print_text(f"Counter-example: {path}", console, "bold")
        print_table(Table((), [(caption,)], fold=(0,), indent=2), console)
    hidden = sum(len(item.outcome.leaks) for item in suite.findings) - len(pictures)
    if hidden:
        print_text(f"{hidden} counter-examples are drawn with --out FOLDER.", console)


def _told(finding: Finding) -> Styled:
    """Returns what was seen; where, if it failed; and what would have been, if it passed."""
    text, where = finding.detail, finding.outcome.where
    if finding.status == "fail" and where and where not in finding.detail:
        text += f" [{where}]"
    if finding.status == "pass" and finding.outcome.power:
        return Styled(((f"{text}\n", ""), (finding.outcome.power, "dim")))
    return Styled(((text, ""),))


def _skipped(suite: SuiteResult) -> list[str]:
    """Returns a line for each reason why checks were skipped."""
    reasons: dict[str, list[str]] = {}
    for finding in suite.findings:
        if finding.status == "skipped":
            reasons.setdefault(finding.detail, []).append(finding.check)
    return [f"Skipped: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _verdict(suite: SuiteResult) -> str:
    level = f"a sound pipeline fails anywhere with a probability of at most {suite.level:g}"
    if suite.failed:
        return f"FAIL: {', '.join(item.check for item in suite.failed)} ({level})."
    done = sum(item.status == "pass" for item in suite.findings)
    if suite.undecided:
        blind = [item.check for item in suite.undecided if item.status == "not measured"]
        doubt = [item.check for item in suite.undecided if item.status == "inconclusive"]
        parts = [f"{', '.join(doubt)} cannot tell"] if doubt else []
        parts += [f"not measured: {', '.join(blind)}"] if blind else []
        return f"Inconclusive: {'; '.join(parts)}; {done} checks pass ({level})."
    if suite.differing:
        names = ", ".join(item.check for item in suite.differing)
        words = f"Differs from the claim, and loses no privacy: {names}"
        return f"{words}; {done} checks pass ({level})."
    return f"Pass: {done} checks ({level}). What was skipped was not looked at."


def print_catalogue(faults: Sequence[Mutant], clean: Sequence[Mutant], console: "Console") -> None:
    """Prints the checks, the mutants and the sound pipelines."""
    for title, rows in (
        ("Checks", [(item.name, f"{item.asks}. Catches {item.catches}.") for item in CHECKS]),
        (
            "\nPlanted faults (--mutant NAME), and the check that finds each",
            [(item.name, f"{item.summary} ({item.check})") for item in faults],
        ),
        ("\nSound pipelines (--mutant NAME)", [(item.name, item.summary) for item in clean]),
    ):
        print_text(title, console, "bold")
        print_table(Table((), rows, fold=(1,), indent=2), console)
