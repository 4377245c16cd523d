"""What `cropaudit train` does with its options: trains, writes the run folder, prints."""

import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from cropaudit.audit.config import AuditConfig, load_config
from cropaudit.audit.declared import check_folder
from cropaudit.audit.stages import silent
from cropaudit.audit.train_run import train_run
from cropaudit.dry_run_command import run_dry_run
from cropaudit.errors import InputError, require
from cropaudit.reports.assignments import assignments
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.store import (
    check_run_folder,
    prepare_run_folder,
    record_files,
    write_atomic,
)
from cropaudit.reports.train_summary import print_training
from cropaudit.training.checkpoints import Checkpoints
from cropaudit.training.distributed import distributed_context

__all__ = ["run_train"]

_CHECKPOINTS = "checkpoints"


def run_train(given: dict[str, Any]) -> None:
    """Trains, or looks at what training would do.

    Args:
        given: The options, by their names in Python.

    Raises:
        InputError: If an option, the configuration or the data cannot be used.
    """
    config = load_config(given["config"], _changes(given))
    if given["dry_run"]:
        run_dry_run(config, attacks=False, measure=given["measure"], as_json=given["as_json"])
        return
    check_folder(config)
    out, every = given["out"] or Path("runs") / f"{config.name}-train", given["checkpoint_every"]
    require(every is None or every >= 1, "checkpoint-every", "at least 1", every)
    checkpoints = None if every is None else Checkpoints(out / _CHECKPOINTS, every)
    # In every process, before the first one changes anything.
    check_run_folder(out, force=given["force"])
    with distributed_context() as world:
        _train(config, out, checkpoints, leads=world.leads, given=given)


def _train(
    config: AuditConfig,
    out: Path,
    checkpoints: Checkpoints | None,
    *,
    leads: bool,
    given: Mapping[str, Any],
) -> None:
    if leads and checkpoints is not None:
        prepare_run_folder(out, force=given["force"])
    with progress_stages(each=True) if leads else nullcontext(silent) as stage:
        try:
            run = train_run(config, stage, checkpoints)
        finally:  # those of an interrupted run are ours as well, for --force to replace
            if leads and checkpoints is not None and checkpoints.folder.is_dir():
                record_files(out, _saved(checkpoints))
        if not leads:
            return
        stage("Files", 0)
        record, files = run.files(shlex.join(["cropaudit", *sys.argv[1:]]))
        _write(out, files, checkpoints, force=given["force"])
    if given["as_json"]:
        typer.echo(record.model_dump_json(indent=2))
    else:
        print_training(record, out, Console())


def _write(
    out: Path, files: Mapping[str, bytes], checkpoints: Checkpoints | None, *, force: bool
) -> None:
    """Writes the run, the record last: where it is, the run is whole."""
    if checkpoints is None:
        prepare_run_folder(out, force=force)  # only now: an earlier run stays until here
    record_files(out, files)
    try:
        for name, data in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(out / name, data)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error


def _saved(checkpoints: Checkpoints) -> list[str]:
    return [f"{_CHECKPOINTS}/{path.name}" for path in checkpoints.folder.iterdir()]


def _changes(given: Mapping[str, Any]) -> dict[str, Any]:
    settings = assignments(given["changes"] or [])
    if given["data"] is not None:
        settings["data.folder"] = str(given["data"])
    if given["seed"] is not None:
        settings["seed"] = given["seed"]
    return settings
