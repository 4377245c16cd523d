"""What `cropaudit attack` does with its options: plays, writes scores, prints what they show."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from cropaudit.audit.attack_names import KnownAttack, checked_names, known_attacks
from cropaudit.audit.attack_run import Settings, mechanism_text, play, scores_csv
from cropaudit.audit.attack_verdict import Judged, judge
from cropaudit.audit.reference_models import vectorised
from cropaudit.audit.saved_run import SavedRun, load_run
from cropaudit.errors import InputError, require
from cropaudit.reports.attack_summary import print_attacks, print_known
from cropaudit.reports.numbers import format_duration
from cropaudit.reports.outputs import check_output, write_output
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.store import MARKER_NAME, record_files

__all__ = ["list_attacks", "run_attacks"]

_NAME = "attacks.csv"


def list_attacks(*, as_json: bool) -> None:
    """Prints the attacks with what each sees, knows and needs."""
    if as_json:
        typer.echo(json.dumps([_described(item) for item in known_attacks()], indent=2))
        return
    print_known(known_attacks(), Console())


def run_attacks(given: Mapping[str, Any]) -> bool:
    """Plays the attacks on a run.

    Args:
        given: The options, by their names in Python.

    Returns:
        Whether the run's claim is contradicted.

    Raises:
        InputError: If an option, the run or its data cannot be used.
    """
    folder = given["run"]
    if folder is None:
        raise InputError("run must be a folder of cropaudit train or of an audit, got none")
    attacks = checked_names(given["attacks"] or [])
    require(given["seed"] >= 0, "seed", "at least 0", given["seed"])
    path = _path(folder, given["out"])
    with progress_stages() as stage:
        stage("The run, its data and its canaries", 0)
        run = load_run(folder, given["data"])
        if path.parent.is_dir():  # else it is made once there is something to write
            check_output(path, (".csv",), given["force"], name="out")
        settings = _settings(run, given)
        _warn(run, attacks, settings)
        tables = play(run, attacks, settings, stage)
        stage("Estimators", 0)
        found = judge(run.subject, attacks, tables)
    _write(path, folder, scores_csv(tables))
    command = _estimate_command(run, path)
    if given["as_json"]:
        typer.echo(json.dumps(_document(found, attacks, path, command), indent=2, allow_nan=False))
    else:
        _print(found, attacks, path, command)
    return found.contradicted


def _settings(run: SavedRun, given: Mapping[str, Any]) -> Settings:
    config = run.subject.config
    windows = given["windows"]
    windows = config.game.black_box_windows if windows is None else windows
    require(windows >= 1, "windows", "at least 1", windows)
    count = config.references.models if given["references"] is None else given["references"]
    return Settings(windows, count, given["seed"])


def _warn(run: SavedRun, attacks: Sequence[KnownAttack], settings: Settings) -> None:
    """Says beforehand what will take long, and what could not be checked."""
    if not run.sealed:
        typer.echo(
            "cropaudit: this run recorded no digests of its report and pictures (an earlier "
            "version wrote it): only its configuration, weights, tape and scores are checked",
            err=True,
        )
    took = run.seconds
    each = "as long as the training" if took is None else f"about {format_duration(took)}"
    if took is not None and any(item.access == "every update" for item in attacks):
        typer.echo(
            f"cropaudit: the training is replayed, {format_duration(took)} without its observers, "
            "who take several times that",
            err=True,
        )
    if any(item.references for item in attacks) and not vectorised(run):
        whole = "" if took is None else f", {format_duration(took * settings.references)} in all"
        typer.echo(
            f"cropaudit: {settings.references} reference models are trained one after the other, "
            f"each {each}{whole}; --references N trains fewer",
            err=True,
        )


def _path(folder: Path, out: Path | None) -> Path:
    if out is None:
        return folder / _NAME
    return out if out.suffix.lower() == ".csv" else out / _NAME


def _write(path: Path, folder: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    write_output(path, data)
    for home in (folder, folder.parent):
        # A file of ours in a run folder is one that --force may replace with the run.
        if (home / MARKER_NAME).is_file() and path.resolve().is_relative_to(home.resolve()):
            record_files(home, [path.resolve().relative_to(home.resolve()).as_posix()])
            return


def _estimate_command(run: SavedRun, path: Path) -> str:
    game = run.subject.config.game
    mechanism = mechanism_text(run.subject.mechanism)
    words = ["cropaudit", "estimate", str(path), "--one-run", "--mechanism", mechanism]
    words += ["--delta", repr(game.delta), "--confidence", repr(game.confidence)]
    claim = run.subject.config.claim.epsilon
    return shlex.join(words + ([] if claim is None else ["--claim", repr(claim)]))


def _document(
    found: Judged, attacks: Sequence[KnownAttack], path: Path, command: str
) -> dict[str, Any]:
    return {
        "claim": {
            "statement": found.claim.statement,
            "epsilon": found.claim.epsilon,
            "delta": found.claim.delta,
        },
        "results": [item.model_dump(mode="json") for item in found.attacks],
        "headline": found.headline.model_dump(mode="json"),
        "contradicted": found.contradicted,
        "detail": found.detail,
        "could_contradict": found.could_contradict,
        "canaries_needed": found.canaries_needed,
        "attacks": [_described(item) for item in attacks],
        "scores": str(path),
        "command": command,
    }


def _described(item: KnownAttack) -> dict[str, Any]:
    return {**asdict(item), "adversary": item.adversary}


def _print(found: Judged, attacks: Sequence[KnownAttack], path: Path, command: str) -> None:
    console = Console()
    print_attacks(found, attacks, console)
    console.print(Text(f"Scores: {path}"), soft_wrap=True)
    console.print(Text(f"More estimators: {command}"), soft_wrap=True)
