"""What a log keeps of a run: a line for each stage, and lines while a stage takes long."""

import io
import re
import sys
import time
from threading import active_count

import pytest

from cropaudit.reports import progress


def test_a_log_gets_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_stages(each=True) as stage:
        stage("Data", 0)
        advance = stage("Training", 10)
        advance(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [re.sub(r"^\[[\d.]+ s\] ", "", line) for line in lines] == ["Data", "Training"]


def test_a_short_command_stays_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_stages() as stage:
        stage("Bounds", 0)
    assert capsys.readouterr().err == ""


def test_a_long_stage_says_again_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that never advances: the ticker does not wait for it."""
    monkeypatch.setattr(progress, "_EVERY", 0.01)
    seen = ""
    with progress.progress_stages() as stage:
        stage("Training", 10)(3)
        while seen.count("Training, 3 of 10") < 2:
            time.sleep(0.01)
            seen += capsys.readouterr().err
        stage("Report", 0)
        while seen.count("Report") < 3:
            time.sleep(0.01)
            seen += capsys.readouterr().err
    assert "Report," not in seen


def test_a_line_a_minute_at_least() -> None:
    assert progress._EVERY <= 60


def test_a_fault_inside_ends_the_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = active_count()
    with pytest.raises(RuntimeError, match="inside"), progress.progress_stages():
        raise RuntimeError("inside")
    assert active_count() == before
