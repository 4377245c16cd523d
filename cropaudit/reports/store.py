"""The run folder: what an audit leaves on disk, written so that no file is ever half there.

The folder of an audit holds ``report.json`` (the canonical document), ``report.html``,
``pictures/`` and ``raw/``; that of a training ``train.json``, ``pictures/`` and its files. From
the document and what lies beside it every format can be drawn again. The marker file lists every
name that cropaudit wrote; only those are ever replaced, and only in a folder that has a marker. It
holds the digests of a run's files as well, so that a change of any of them is seen.

Canonical JSON here means sorted keys, no white space, UTF-8 and no NaN. It differs from RFC 8785
in two ways, both harmless for a hash that only cropaudit checks: numbers are written as Python
writes them (1.0, 1e-05) and keys are sorted by code point.
"""

import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from cropaudit.audit.results.digests import MARKER_NAME, recorded_digests, sha256
from cropaudit.audit.results.result import AuditReport, CanaryPicture
from cropaudit.audit.results.train_result import TrainRecord
from cropaudit.errors import InputError, require
from cropaudit.files.atomic import write_atomic

__all__ = [
    "HTML_NAME",
    "INCLUSION_NAME",
    "MARKER_NAME",
    "REPORT_NAME",
    "TRAIN_NAME",
    "Finished",
    "canonical_json",
    "check_run_folder",
    "load_report",
    "open_run",
    "prepare_run_folder",
    "record_files",
    "run_of",
    "schema_json",
    "sha256",
    "write_atomic",
    "write_files",
    "write_report",
]

REPORT_NAME = "report.json"
HTML_NAME = "report.html"
TRAIN_NAME = "train.json"
INCLUSION_NAME = "raw/inclusion.npz"
_MARKER_KIND = "cropaudit run folder"
_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run: all that its drawings take.

    Attributes:
        document: What was found.
        files: What lies beside it by name in the run folder: pictures and the inclusion map, those
            that are there.
    """

    document: AuditReport | TrainRecord
    files: Mapping[str, bytes]

    def inclusion(self) -> NDArray[np.float64] | None:
        """Returns the inclusion map of an audit's worst image; none if the run left none.

        Raises:
            InputError: If its file is none of ours.
        """
        data = self.files.get(INCLUSION_NAME)
        if data is None:
            return None
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                return np.asarray(stored["rho"], dtype=np.float64)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{INCLUSION_NAME} must be as an audit left it") from error


def canonical_json(document: BaseModel) -> bytes:
    """Returns the bytes of ``report.json``, equal for equal reports.

    Raises:
        InputError: If the configuration holds a number or a text that JSON cannot hold.
    """
    values = document.model_dump(mode="python")
    try:
        text = json.dumps(
            values, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
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


def load_report(path: str | Path) -> AuditReport:
    """Reads a report from its file or its run folder.

    Raises:
        InputError: If there is none, or it is not a report of this version; in one line.
    """
    path = Path(path)
    file = path / REPORT_NAME if path.is_dir() else path
    try:
        return _parsed(AuditReport, file, file.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"there is no report at {file}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def open_run(folder: Path) -> Finished:
    """Reads what a finished audit or training left, to be drawn again.

    Raises:
        InputError: If there is no such run, it is of another version of the schema, or a file that
            is read was changed.
    """
    digests = recorded_digests(folder)

    def read(name: str) -> bytes:
        data = (folder / name).read_bytes()
        same = digests.get(name) in (None, sha256(data))
        require(same, str(folder / name), "as its run left it", "a changed file")
        return data

    document: AuditReport | TrainRecord
    if (folder / REPORT_NAME).is_file():
        document = _parsed(AuditReport, folder / REPORT_NAME, read(REPORT_NAME))
    elif (folder / TRAIN_NAME).is_file():
        document = _parsed(TrainRecord, folder / TRAIN_NAME, read(TRAIN_NAME))
    else:
        raise InputError(
            f"run must be a folder with {REPORT_NAME} of an audit or {TRAIN_NAME} of a training, "
            f"got {folder}"
        )
    wanted = [INCLUSION_NAME, *_pictures(document.canaries)]
    return Finished(document, {name: read(name) for name in wanted if (folder / name).is_file()})


def run_of(file: Path) -> Path | None:
    """Returns the run folder that a file lies in, or one level below; none if it lies in none."""
    places = file.resolve().parents[:2]
    return next((home for home in places if (home / MARKER_NAME).is_file()), None)


def _pictures(canaries: Iterable[CanaryPicture]) -> Iterable[str]:
    """Returns the files that a document names, each within its folder."""
    for item in canaries:
        labels = (item.labels_a, item.labels_b, item.beside)
        named = (item.world_a, item.world_b, item.crop_hit, item.crop_miss, *labels)
        yield from (_checked(name) for name in named if name is not None)


def _parsed(kind: type[_Document], file: Path, data: bytes) -> _Document:
    """Returns a document; one of another version of the schema is refused by its number."""
    _require_version(kind, data, file)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False)
        place = ".".join(str(part) for part in first["loc"]) or "document"
        more = f" (and {len(others)} more)" if others else ""
        problem = " ".join(first["msg"].split())
        raise InputError(f"{file} is not a cropaudit report: {place}: {problem}{more}") from error


def _require_version(kind: type[BaseModel], data: bytes, file: Path) -> None:
    try:
        found = json.loads(data)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # what is wrong beyond the version is said by the model
    known = kind.model_fields["schema_version"].default
    require(found == known, f"schema_version of {file}", f"{known} for this cropaudit", found)


def check_run_folder(path: Path, *, force: bool) -> None:
    """Checks, before a run begins, that its folder can be prepared at its end; changes nothing.

    Raises:
        InputError: If the folder holds anything and ``force`` is off, if it is not a run folder, or
            if it cannot be written.
    """
    with _usable(path):
        if path.exists() and _occupied(path):
            if not force:
                raise InputError(f"{path} is not empty; use --force to replace the run in it")
            _listing(path)
            _refuse_links(path)
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"the run folder must be writable, got {path}")


def prepare_run_folder(path: Path, *, force: bool) -> Path:
    """Makes a folder ready for a run and returns it.

    With ``force``, the files that an earlier run wrote are removed, and no others.

    Raises:
        InputError: If the folder holds anything and ``force`` is off, or if it is not a run folder.
    """
    check_run_folder(path, force=force)
    with _usable(path):
        path.mkdir(parents=True, exist_ok=True)
        if _occupied(path):
            _remove(path, _listing(path))
        _write_listing(path, ())
    return path


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Words what the system says of a folder."""
    try:
        yield
    except (NotADirectoryError, FileExistsError) as error:
        raise InputError(f"the run folder must be a folder, got the file {path}") from error
    except OSError as error:
        raise InputError(f"cannot use {path} as run folder: {error.strerror}") from error


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


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files of a run, recording name and digest of each before.

    Args:
        folder: From `prepare_run_folder`.
        files: By name in the folder.

    Raises:
        InputError: If the folder is not prepared, a name would leave it, or the system refuses.
    """
    record_files(folder, files)
    try:
        for name, data in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error


def write_report(folder: Path, report: AuditReport) -> None:
    """Writes ``report.json`` beside its raw files: where it is, the run's results are whole.

    Args:
        folder: From `prepare_run_folder`, the raw files written.
        report: The audit's result.

    Raises:
        InputError: As `write_files`, and if the report states another SHA-256 for a raw file.
    """
    for name, stated in report.provenance.files.items():
        file = folder / "raw" / _checked(name)
        found = sha256(file.read_bytes()) if file.is_file() else "no file"
        if stated != found:
            raise InputError(f"the report states SHA-256 {stated} for {name}, got {found}")
    write_files(folder, {REPORT_NAME: canonical_json(report)})


def _occupied(path: Path) -> bool:
    """Whether a folder holds anything but our marker."""
    return any(entry.name != MARKER_NAME for entry in path.iterdir())


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
