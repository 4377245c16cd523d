"""``--dry-run`` of audit and train through their real entry point."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("command", ["audit", "train"])
def test_nothing_is_needed_and_nothing_written(
    cropaudit: Run, command: str, tmp_path: Path
) -> None:
    few = ("--set", "game.probe_slots=400")
    options = (command, "cityscapes-deeplabv3plus", "--dry-run", "--no-measure", *few)
    done = cropaudit(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "DECLARED" in done.stdout
    assert "2975 of 1024x2048" in done.stdout
    assert "wrong short cut add-remove" in done.stdout
    assert ("true epsilon is" in done.stdout) == (command == "audit")
    assert not list(tmp_path.iterdir())


def test_json_is_json_alone_and_steps_are_measured(cropaudit: Run) -> None:
    few = ("--set", "game.probe_slots=400", "--set", "references.targets=100")
    done = cropaudit("audit", "blackbox-lira-small", "--dry-run", "--json", *few)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["declared"]["exact"]
    assert document["cost"]["seconds"] > 0
    assert document["cost"]["measured"]["parameters"] > 1000
    games = {game["attack"]: game for game in document["plan"]["games"]}
    assert games["reference"]["trials"] == 100
