"""What `cropaudit conform` does with its options: reads, probes, prints, writes."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from cropaudit.accounting.bounds.requests import load_request
from cropaudit.accounting.geometry.shapes import Rectangle, Size
from cropaudit.conformance.catalogue import CHECKS
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects
from cropaudit.conformance.suite import SuiteResult, run_suite
from cropaudit.errors import InputError, require
from cropaudit.reports.outputs import check_output, write_output
from cropaudit.reports.pictures.leaks import leak_png
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.summaries.conform import (
    print_catalogue,
    print_suite,
    suite_document,
    suite_junit,
)
from cropaudit.training.datasets.registry import load_dataset

__all__ = ["list_all", "run_conform"]

_CROP = (
    *("crop", "crop_law", "padding", "padding_mode", "pad_if_needed", "flip"),
    *("scale", "ratio"),
)
_SIZES = ("image", "patch", "crop")  # of the claim, read from text
_WITH_MUTANTS = ("seed", "call_limit")


def list_all(*, as_json: bool) -> None:
    """Prints the checks and the mutants."""
    from cropaudit.conformance.mutants.registry import clean_pipelines, faults

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


def run_conform(given: dict[str, Any], flags: dict[str, str]) -> int:
    """Probes the user's code, prints what was found, and returns the exit code.

    Args:
        given: The options that were given, by the field that each sets.
        flags: What the user calls them.
    """
    out, junit, force = given.get("out"), given.get("junit"), given["force"]
    if junit is not None:
        check_output(junit, (".xml",), force, name="junit")
    if out is not None:
        require(force or not out.exists(), "out", "a new folder, or give --force", out)
        require(out.is_dir() or not out.exists(), "out", "a folder, not a file", out)
    require(0 < given["level"] < 1, "level", "in (0, 1)", given["level"])
    subjects, claimed = _asked(given, flags)
    with progress_stages() as stage:
        stage("Probing the code in a process of its own", 0)
        suite = run_suite(subjects, claimed, given["level"])
    pictures = _write(suite, out)
    if junit is not None:
        write_output(junit, suite_junit(suite))
    if given["as_json"]:
        typer.echo(json.dumps(suite_document(suite, pictures), indent=2, allow_nan=False))
    else:
        print_suite(suite, pictures, Console())
    if suite.verdict == "fail":
        return 1
    return 3 if given["strict"] and suite.verdict != "pass" else 0


def _asked(given: dict[str, Any], flags: dict[str, str]) -> tuple[Subjects, PipelineClaim]:
    """Returns whose code to probe, and what is said of it."""
    if "mutant" in given:
        from cropaudit.conformance.mutants.registry import mutant

        own = ({*_names(Subjects), *_names(PipelineClaim), *_CROP}) - {*_WITH_MUTANTS}
        idle = [key for key, value in given.items() if key in own and value is not False]
        if idle:
            words = "must be left out with mutant: a fault brings its own claim"
            raise InputError(f"{flags[idle[0]]} {words}")
        fault = mutant(given["mutant"])
        return replace(fault.subjects, **{key: given[key] for key in _WITH_MUTANTS}), fault.claimed
    # The epochs that are claimed are none to iterate.
    code = {key: given[key] for key in _names(Subjects) if key in given and key != "epochs"}
    subjects = Subjects(**code)
    if subjects.data is not None:
        # Refuses it here, and not in the other process.
        load_dataset("folder", subjects.data, limit=1)
    said = {key: given[key] for key in _names(PipelineClaim) if key in given and key not in _SIZES}
    if "image" in given:
        said["image"] = Size.parse(given["image"], "image")
    if "patch" in given:
        said["patch"] = Rectangle(Size.parse(given["patch"], "patch"))
    crop = {key: given[key] for key in _CROP if key in given}
    if crop:
        said["crop"] = load_request(None, crop).crop_of(crop.get("crop"))
    return subjects, PipelineClaim(**said)


def _names(kind: Any) -> list[str]:
    return [item.name for item in fields(kind)]


def _write(suite: SuiteResult, out: Path | None) -> dict[str, str]:
    """Writes the counter-examples and returns their captions by path."""
    leaks = [leak for item in suite.findings for leak in item.outcome.leaks]
    if out is None or not leaks:
        return {}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    found = {}
    for number, leak in enumerate(leaks, 1):
        path = out / f"leak-{number}.png"
        write_output(path, leak_png(leak))
        found[str(path)] = leak.caption
    return found
