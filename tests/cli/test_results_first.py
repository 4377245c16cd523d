"""Results are on the disk before anything is made of them or drawn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cropaudit import cli
from cropaudit.audit import own_pipeline, run
from cropaudit.reports import html

TINY = (
    *("patch=8x8", "data.images=6", "data.validation=2", "data.size=32x48", "data.short_side=32"),
    *("crop.size=24x24", "training.model=tiny-net", "training.batch=4", "training.steps=3"),
    *("training.twins=[]", "game.probe_slots=200", "game.control_slots=200"),
    *("game.canary_slots=10", "game.attacks=[probe]"),
)


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)

    def call(*options: str) -> int:
        sets = [part for text in TINY for part in ("--set", text)]
        command = ["cropaudit", "audit", "quickstart", "--out", str(tmp_path / "run")]
        monkeypatch.setattr("sys.argv", [*command, *sets, *options])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return call


def fail(*_: Any, **__: Any) -> None:
    raise KeyError("planted")


def test_a_fault_of_drawing_loses_nothing(
    audit: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(html, "plot_report", fail)
    assert audit() == 70
    out = tmp_path / "run"
    report = json.loads((out / "report.json").read_bytes())
    assert report["verdict"]["status"]
    assert (out / "raw" / "probe.csv").is_file()
    assert (out / "raw" / "model.safetensors").is_file()
    assert not (out / "report.html").exists()
    shown = capsys.readouterr()
    assert "Verdict: " in shown.out
    assert f"Drawing failed; the results are in {out}" in shown.err.replace("\n", "")
    monkeypatch.undo()


def test_a_fault_of_judging_keeps_the_raw_files(
    audit: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "decide", fail)
    assert audit() == 70
    assert (tmp_path / "run" / "raw" / "probe.csv").is_file()
    assert not (tmp_path / "run" / "report.json").exists()


def test_canaries_are_drawn_before_anything_is_played(
    audit: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "draw_canaries", fail)
    monkeypatch.setattr(run, "probe_game", lambda *_: pytest.fail("played"))
    assert audit() == 70


def test_an_interruption_after_the_games_says_what_was_kept(
    audit: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "decide", stop)
    assert audit() == 4
    assert "only raw/ was written" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "run" / "raw" / "probe.csv").is_file()


@pytest.mark.parametrize("noise", ["0", "0.02"])
def test_an_audit_of_lost_noise_ends_in_a_violation(
    audit: Callable[..., int],
    tmp_path: Path,
    noise: str,
) -> None:
    options = ["--set", f"training.noise_multiplier={noise}", "--claim-epsilon", "4.45"]
    assert audit(*options, "--set", "training.steps=40") == 1
    report = json.loads((tmp_path / "run" / "report.json").read_bytes())
    assert report["verdict"]["status"] == "violation"
    assert report["claim"]["configured_noise_multiplier"] == float(noise)
    assert report["claim"]["epsilon_amplified"] is None
    failed = {item["name"] for item in report["conformance"]["checks"] if item["status"] == "fail"}
    assert "noise" in failed
    html_text = (tmp_path / "run" / "report.html").read_text()
    assert "not accounted: hardly any noise" in html_text
