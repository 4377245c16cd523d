"""The conformance battery for a terminal, as a mapping for JSON, and as JUnit XML."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cropaudit.audit.conformance.battery import Battery
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.outcome import Finding

__all__ = ["battery_document", "battery_junit", "print_battery", "print_catalogue"]

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "differs": "cyan",
    "inconclusive": "yellow",
    "not measured": "yellow",
    "skipped": "dim",
}
_LABELS = {name: name for name in _STYLES} | {"fail": "FAIL", "inconclusive": "unclear"}


def battery_document(battery: Battery, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Returns all findings as JSON values.

    Args:
        battery: The findings.
        pictures: Captions of the counter-examples that were written, by path.
    """
    return {
        "verdict": battery.verdict,
        "level": battery.level,
        "failed": [item.check for item in battery.failed],
        "checks": [_document(item) for item in battery.findings],
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
        "figures": {k: v if math.isfinite(v) else None for k, v in outcome.figures.items()},
    }


def battery_junit(battery: Battery) -> bytes:
    """Returns all findings as JUnit XML, one test case a check."""
    suite = TestSuite("cropaudit conform")
    for finding in battery.findings:
        case = TestCase(finding.check, "cropaudit.conform")
        if finding.status == "fail":
            failure = Failure(_clean(finding.detail), "conformance")
            failure.text = _clean(f"{finding.detail} {finding.outcome.where}".strip())
            case.result = [failure]
        elif finding.status != "pass":
            skipped = Skipped(_clean(f"{finding.status}: {finding.detail}"))
            skipped.text = _clean(finding.detail)  # some readers take the content alone
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


def print_battery(
    battery: Battery, pictures: Mapping[str, str], console: Console | None = None
) -> None:
    """Prints the findings, and the verdict on them all."""
    console = console or Console()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in battery.findings:
        if finding.status != "skipped":
            status = Text(_LABELS[finding.status], style=_STYLES[finding.status])
            table.add_row(status, finding.check, _told(finding))
    console.print(table)
    for line in _skipped(battery):
        console.print(Text(line, style=_STYLES["skipped"]))
    console.print()
    console.print(Text(_verdict(battery), style=_STYLES[battery.verdict]))
    for path, caption in pictures.items():
        console.print(Text(f"Counter-example: {path}", style="bold"))
        console.print(Padding(Text(caption), (0, 0, 0, 2)))
    hidden = sum(len(item.outcome.pictures) for item in battery.findings) - len(pictures)
    if hidden:
        console.print(Text(f"{hidden} counter-examples are drawn with --out FOLDER."))


def _told(finding: Finding) -> Text:
    """Returns what was seen; where, if it failed; and what would have been, if it passed."""
    text = Text(finding.detail)
    where = finding.outcome.where
    if finding.status == "fail" and where and where not in finding.detail:
        text.append(f" [{where}]")
    if finding.status == "pass" and finding.outcome.power:
        text.append(f"\n{finding.outcome.power}", style="dim")
    return text


def _skipped(battery: Battery) -> list[str]:
    """Returns a line for each reason why checks were skipped."""
    reasons: dict[str, list[str]] = {}
    for finding in battery.findings:
        if finding.status == "skipped":
            reasons.setdefault(finding.detail, []).append(finding.check)
    return [f"Skipped: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _verdict(battery: Battery) -> str:
    level = f"a sound pipeline fails anywhere with a probability of at most {battery.level:g}"
    if battery.failed:
        return f"FAIL: {', '.join(item.check for item in battery.failed)} ({level})."
    done = sum(item.status == "pass" for item in battery.findings)
    if battery.undecided:
        blind = [item.check for item in battery.undecided if item.status == "not measured"]
        doubt = [item.check for item in battery.undecided if item.status == "inconclusive"]
        parts = [f"{', '.join(doubt)} cannot tell"] if doubt else []
        parts += [f"not measured: {', '.join(blind)}"] if blind else []
        return f"Inconclusive: {'; '.join(parts)}; {done} checks pass ({level})."
    if battery.differing:
        names = ", ".join(item.check for item in battery.differing)
        words = f"Differs from the claim, and loses no privacy: {names}"
        return f"{words}; {done} checks pass ({level})."
    return f"Pass: {done} checks ({level}). What was skipped was not looked at."


def print_catalogue(
    faults: Sequence[Fault], clean: Sequence[Fault], console: Console | None = None
) -> None:
    """Prints the checks, the planted faults and the sound pipelines."""
    console = console or Console()
    console.print(Text("Checks", style="bold"))
    console.print(_grid([(item.name, f"{item.asks}. Catches {item.catches}.") for item in CHECKS]))
    console.print(
        Text("\nPlanted faults (--mutant NAME), and the check that finds each", style="bold")
    )
    console.print(_grid([(f.name, f"{f.summary} ({f.check})") for f in faults]))
    console.print(Text("\nSound pipelines (--mutant NAME)", style="bold"))
    console.print(_grid([(f.name, f.summary) for f in clean]))


def _grid(rows: Sequence[tuple[str, str]]) -> Padding:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, words in rows:
        table.add_row(name, Text(words))
    return Padding(table, (0, 0, 0, 2))
