"""The run folder: what an audit leaves on disk, written so that no file is ever half there.

A run folder holds ``report.json`` (the canonical document), ``report.html``, ``pictures/`` and
``raw/``. The marker file lists every name that cropaudit wrote; only those are ever replaced, and
only in a folder that has a marker. It holds the digests of a run's files as well, so that a change
of any of them is seen.

Canonical JSON here means sorted keys, no white space, UTF-8 and no NaN. It differs from RFC 8785
in two ways, both harmless for a hash that only cropaudit checks: numbers are written as Python
writes them (1.0, 1e-05) and keys are sorted by code point.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from cropaudit.audit.digests import MARKER_NAME, recorded_digests, sha256
from cropaudit.audit.result import AuditReport
from cropaudit.errors import InputError
from cropaudit.training.atomic import write_atomic

__all__ = [
    "HTML_NAME",
    "MARKER_NAME",
    "REPORT_NAME",
    "canonical_json",
    "check_run_folder",
    "load_report",
    "prepare_run_folder",
    "record_files",
    "schema_json",
    "sha256",
    "write_atomic",
    "write_drawings",
    "write_raw",
    "write_report",
]

REPORT_NAME = "report.json"
HTML_NAME = "report.html"
_MARKER_KIND = "cropaudit run folder"


def canonical_json(report: AuditReport) -> bytes:
    """Returns the bytes of ``report.json``, equal for equal reports.

    Raises:
        InputError: If the configuration holds a number or a text that JSON cannot hold.
    """
    document = report.model_dump(mode="python")
    try:
        text = json.dumps(
            document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return text.encode("utf-8")
    except ValueError as error:
        raise InputError(f"the report cannot be written as JSON: {error}") from error


def schema_json() -> str:
    """Returns the JSON Schema of ``report.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **AuditReport.model_json_schema(),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def load_report(path: Path) -> AuditReport:
    """Reads a report from its file or its run folder.

    Raises:
        InputError: If there is none, or it is not a report of this version; in one line.
    """
    file = path / REPORT_NAME if path.is_dir() else path
    try:
        return AuditReport.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False)
        place = ".".join(str(part) for part in first["loc"]) or "document"
        more = f" (and {len(others)} more)" if others else ""
        problem = " ".join(first["msg"].split())
        raise InputError(f"{file} is not a cropaudit report: {place}: {problem}{more}") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no report at {file}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def check_run_folder(path: Path, *, force: bool) -> None:
    """Checks, before a run begins, that its folder can be prepared at its end; changes nothing.

    Raises:
        InputError: If the folder holds anything and ``force`` is off, if it is not a run folder, or
            if it cannot be written.
    """
    try:
        if path.exists() and _occupied(path):
            if not force:
                raise InputError(f"{path} is not empty; use --force to replace the run in it")
            _listing(path)
            _refuse_links(path)
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"the run folder must be writable, got {path}")
    except NotADirectoryError as error:
        raise InputError(f"the run folder must be a folder, got the file {path}") from error
    except OSError as error:
        raise InputError(f"cannot use {path} as run folder: {error.strerror}") from error


def prepare_run_folder(path: Path, *, force: bool) -> Path:
    """Makes a folder ready for a run and returns it.

    With ``force``, the files that an earlier run wrote are removed, and no others.

    Raises:
        InputError: If the folder holds anything and ``force`` is off, or if it is not a run folder.
    """
    check_run_folder(path, force=force)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if _occupied(path):
            _remove(path, _listing(path))
        _write_listing(path, ())
    except FileExistsError as error:
        raise InputError(f"the run folder must be a folder, got the file {path}") from error
    except OSError as error:
        raise InputError(f"cannot use {path} as run folder: {error.strerror}") from error
    return path


def record_files(folder: Path, names: Iterable[str] | Mapping[str, bytes]) -> None:
    """Adds names to the marker: from now on ``--force`` may replace these files.

    Args:
        folder: The run folder.
        names: Of the files; with their contents, where these are the run's and shall stay.

    Raises:
        InputError: If the folder has no marker, or a name would leave it.
    """
    digests = recorded_digests(folder)
    if isinstance(names, Mapping):
        digests |= {_checked(name): sha256(data) for name, data in names.items()}
    _write_listing(folder, {*_listing(folder), *(_checked(name) for name in names)}, digests)


def write_raw(folder: Path, raw: Mapping[str, bytes]) -> None:
    """Writes raw files into ``raw/`` of a prepared folder.

    Args:
        folder: From ``prepare_run_folder``.
        raw: Files by name in ``raw/``.

    Raises:
        InputError: If the folder is not prepared, a name would leave it, or the system refuses.
    """
    _write(folder, {_within("raw", name): data for name, data in raw.items()})


def write_report(folder: Path, report: AuditReport) -> Path:
    """Writes ``report.json`` beside its raw files: where it is, the run's results are whole.

    Args:
        folder: From ``prepare_run_folder``, the raw files written.
        report: The audit's result.

    Returns:
        The path of ``report.json``.

    Raises:
        InputError: If the folder is not prepared, the report states another SHA-256 for a raw file,
            or the system refuses.
    """
    for name, stated in report.provenance.files.items():
        file = folder / _within("raw", name)
        found = sha256(file.read_bytes()) if file.is_file() else "no file"
        if stated != found:
            raise InputError(f"the report states SHA-256 {stated} for {name}, got {found}")
    _write(folder, {REPORT_NAME: canonical_json(report)})
    return folder / REPORT_NAME


def write_drawings(folder: Path, html: str, pictures: Mapping[str, bytes]) -> None:
    """Writes what is drawn of a report that is written already.

    Args:
        folder: The run folder.
        html: The rendered report.
        pictures: PNG files by name in the run folder; a bare name goes into ``pictures/``.

    Raises:
        InputError: As `write_raw`.
    """
    files = {_within("pictures", name): data for name, data in pictures.items()}
    _write(folder, {**files, HTML_NAME: html.encode("utf-8")})


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    record_files(folder, files)
    try:
        for name, data in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error


def _occupied(path: Path) -> bool:
    """Whether a folder holds anything but our marker."""
    return any(entry.name != MARKER_NAME for entry in path.iterdir())


def _within(parent: str, name: str) -> str:
    """Returns ``name`` inside ``parent``, where it may already be.

    >>> _within("raw", "scores.json"), _within("raw", "raw/scores.json")
    ('raw/scores.json', 'raw/scores.json')
    """
    return _checked(name if name.startswith(f"{parent}/") else f"{parent}/{name}")


def _checked(name: str) -> str:
    """Returns a relative name that stays inside its folder.

    Raises:
        InputError: If it does not.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"a file's name must stay inside the run folder, got {name!r}")
    return "/".join(parts)


def _listing(folder: Path) -> list[str]:
    """Returns the names that cropaudit wrote into a folder.

    Raises:
        InputError: If the folder has no valid marker.
    """
    try:
        marker = json.loads((folder / MARKER_NAME).read_bytes())
        if marker["kind"] != _MARKER_KIND:
            raise ValueError("another kind of marker")
        return [_checked(str(name)) for name in marker["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not a run folder of cropaudit: nothing in it was touched"
        ) from error


def _write_listing(
    folder: Path, names: Iterable[str], digests: Mapping[str, str] | None = None
) -> None:
    """Writes the marker."""
    marker = {"kind": _MARKER_KIND, "files": sorted(names), "digests": dict(digests or {})}
    write_atomic(folder / MARKER_NAME, (json.dumps(marker, indent=1) + "\n").encode())


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Removes the named files, then the folders that this left empty."""
    root = folder.resolve()
    for name in names:
        file = folder / name
        # A linked folder may lead elsewhere, where nothing is ours.
        if not file.parent.resolve().is_relative_to(root):
            continue
        file.unlink(missing_ok=True)
        for parent in file.relative_to(folder).parents:
            place = folder / parent
            if place != folder and place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _refuse_links(folder: Path) -> None:
    """Raises where a folder that cropaudit fills is a link: it may lead to another's files."""
    for name in ("pictures", "raw"):
        if (folder / name).is_symlink():
            raise InputError(f"{folder / name} is a link; a run writes into plain folders only")
