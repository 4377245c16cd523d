"""The terminal's summary: complete, honest, and plain where it is no terminal."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from cropaudit.audit.result import AuditReport
from cropaudit.reports.summary import print_summary, summary_lines


def printed(report: AuditReport, **options: object) -> str:
    stream = io.StringIO()
    print_summary(report, Console(file=stream, **options))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_plain_output_has_no_colour_codes_and_keeps_the_width(
    report: AuditReport, width: int
) -> None:
    text = printed(report, width=width)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_summary_holds_claim_attacks_headline_verdict_and_utility(report: AuditReport) -> None:
    text = " ".join(printed(report, width=100).split())
    for words in (
        "Claim: epsilon <= 4.21 at delta 0.0003361; 7.46 accounted with crops, 31.4 without",
        "Headline: epsilon >= 6.47 with 95% confidence",
        "Records: 2,175 images + 800 canaries; epsilon <= 11.7 for the 2,175 images without the",
        "Attacked: Pipeline probe: the pipeline (real sampler, crop, clipping and noise) with",
        "Detectable: a true epsilon from 4.92 on, with 90% power, if only the noise is less",
        "Not probed: Leaks in rare runs only.",
        "Verdict: VIOLATION: The pipeline probe",
        "Utility: mIoU 0.431, without noise 0.513, 0.021 of the commonest class everywhere (500",
        "a lower bound never certifies epsilon",
        "10,000 + 10,000",
        "2.30",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("status", "code"), [("violation", "31"), ("consistent", "32"), ("inconclusive", "33")]
)
def test_verdict_is_coloured_on_a_terminal(report: AuditReport, status: str, code: str) -> None:
    verdict = report.verdict.model_copy(update={"status": status})
    text = printed(
        report.model_copy(update={"verdict": verdict}),
        width=100,
        force_terminal=True,
        color_system="standard",
        no_color=False,
    )
    assert f"\x1b[1;{code}m{status.upper()}" in text


def test_brackets_are_no_markup(report: AuditReport) -> None:
    attack = report.attacks[0].model_copy(update={"title": "[red]x[/red]", "bounds": ()})
    text = printed(report.model_copy(update={"attacks": (attack,)}), width=100)
    assert "[red]x[/red]" in text
    assert "no bound" in text


def test_nothing_detectable_is_said(report: AuditReport) -> None:
    verdict = report.verdict.model_copy(update={"detectable_epsilon": None})
    lines = summary_lines(report.model_copy(update={"verdict": verdict}))
    assert "Detectable: no true epsilon with 90% power" in lines


def test_rich_is_imported_only_to_print() -> None:
    code = "import sys, cropaudit.reports.summary; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
