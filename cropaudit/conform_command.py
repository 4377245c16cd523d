"""What `cropaudit conform` does with its options: reads, probes, prints, writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from cropaudit.accounting.geometry import Rectangle, Size
from cropaudit.audit.conformance.battery import Battery, run_battery
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.bounds.requests import load_request
from cropaudit.errors import InputError, require
from cropaudit.reports.conform_summary import (
    battery_document,
    battery_junit,
    print_battery,
    print_catalogue,
)
from cropaudit.reports.outputs import check_output, write_output
from cropaudit.reports.progress import progress_stages
from cropaudit.training.folders import load_folder

__all__ = ["list_all", "run_conform"]

_CODE = ("transform", "style", "loader", "pipeline", "model", "loss", "trainer", "data", "seed")
_CROP = (
    *("crop", "crop_law", "padding", "padding_mode", "pad_if_needed", "flip"),
    *("scale", "ratio"),
)
_SAID = {
    "rho": "inclusion",
    "sampler": "sampler",
    "batch": "batch",
    "records": "records",
    "steps": "steps",
    "epochs": "epochs",
    "noise": "noise_multiplier",
    "max_grad_norm": "max_grad_norm",
    "learning_rate": "learning_rate",
    "delta": "delta",
    "claim_epsilon": "epsilon",
    "crops_per_image": "crops",
}


def list_all(*, as_json: bool) -> None:
    """Prints the checks and the planted faults."""
    from cropaudit.audit.conformance.faults.registry import clean_pipelines, faults

    known, sound = faults(), clean_pipelines()
    if as_json:
        checks = [
            {"name": item.name, "asks": item.asks, "catches": item.catches} for item in CHECKS
        ]
        mutants = [{"name": f.name, "summary": f.summary, "check": f.check} for f in known]
        clean = [{"name": f.name, "summary": f.summary} for f in sound]
        typer.echo(json.dumps({"checks": checks, "mutants": mutants, "clean": clean}, indent=2))
    else:
        print_catalogue(known, sound, Console())


def run_conform(given: dict[str, Any]) -> int:
    """Probes the user's code, prints what was found, and returns the exit code.

    Args:
        given: The options that were given, by their names in Python.
    """
    out, junit, force = given.get("out"), given.get("junit"), given["force"]
    if junit is not None:
        check_output(junit, (".xml",), force, name="junit")
    if out is not None:
        require(force or not out.exists(), "out", "a new folder, or give --force", out)
        require(out.is_dir() or not out.exists(), "out", "a folder, not a file", out)
    require(0 < given["level"] < 1, "level", "in (0, 1)", given["level"])
    subjects, claimed = _asked(given)
    with progress_stages() as stage:
        stage("Probing the code in a process of its own", 0)
        battery = run_battery(subjects, claimed, given["level"])
    pictures = _write(battery, out)
    if junit is not None:
        write_output(junit, battery_junit(battery))
    if given["as_json"]:
        typer.echo(json.dumps(battery_document(battery, pictures), indent=2, allow_nan=False))
    else:
        print_battery(battery, pictures, Console())
    if battery.verdict == "fail":
        return 1
    return 3 if given["strict"] and battery.verdict != "pass" else 0


def _asked(given: dict[str, Any]) -> tuple[Subjects, Claimed]:
    """Returns whose code to probe, and what is said of it."""
    if "mutant" in given:
        from cropaudit.audit.conformance.faults.registry import mutant

        own = (*_CODE[:-1], *_CROP, *_SAID, "image", "patch")
        idle = [key for key in own if key in given]
        idle += ["channels_last"] if given["channels_last"] else []
        if idle:
            name = idle[0].replace("_", "-")
            raise InputError(f"{name} must be left out with mutant: a fault brings its own claim")
        fault = mutant(given["mutant"])
        changed = {"seed": given["seed"], "call_limit": given["time_limit"]}
        return replace(fault.subjects, **changed), fault.claimed
    code = {key: given[key] for key in _CODE if key in given}
    subjects = Subjects(
        **code, channels_last=given["channels_last"], call_limit=given["time_limit"]
    )
    if subjects.data is not None:
        load_folder(subjects.data, limit=1)  # refuses it here, and not in the other process
    return subjects, _claimed(given)


def _claimed(given: dict[str, Any]) -> Claimed:
    said = {_SAID[key]: given[key] for key in _SAID if key in given}
    if "image" in given:
        said["image"] = Size.parse(given["image"], "image")
    if "patch" in given:
        said["patch"] = Rectangle(Size.parse(given["patch"], "patch"))
    crop = {key: given[key] for key in _CROP if key in given}
    if crop:
        said["crop"] = load_request(None, crop).crop_of(crop.get("crop"))
    return Claimed(**said)


def _write(battery: Battery, out: Path | None) -> dict[str, str]:
    """Writes the counter-examples and returns their captions by path."""
    pictures = [picture for item in battery.findings for picture in item.outcome.pictures]
    if out is None or not pictures:
        return {}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    found = {}
    for picture in pictures:
        path = out / f"{picture.name}.png"
        write_output(path, picture.png)
        found[str(path)] = picture.caption
    return found
