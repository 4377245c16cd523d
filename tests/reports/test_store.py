"""The run folder: atomic, forced only where it is ours, and read back as it was written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cropaudit.audit.result import AuditReport
from cropaudit.errors import InputError
from cropaudit.reports.store import (
    MARKER_NAME,
    canonical_json,
    load_report,
    prepare_run_folder,
    record_files,
    schema_json,
    sha256,
    write_atomic,
    write_drawings,
    write_raw,
    write_report,
)


@pytest.fixture
def run(
    tmp_path: Path, report: AuditReport, pictures: dict[str, bytes], raw: dict[str, bytes]
) -> Path:
    folder = prepare_run_folder(tmp_path / "runs" / "one", force=False)
    write_raw(folder, raw)
    write_report(folder, report)
    write_drawings(folder, "<p>ε</p>", pictures)
    return folder


def unbacked(report: AuditReport) -> AuditReport:
    """The same report, naming no raw files."""
    provenance = report.provenance.model_copy(update={"files": {}})
    return report.model_copy(update={"provenance": provenance})


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, b"old")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == {"a.json"}


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"a.json"}


def test_written_files_are_readable_as_the_mask_of_the_user_says(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_bytes(b"")
    write_atomic(atomic, b"")
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_run_holds_every_file_and_lists_them(run: Path, pictures: dict[str, bytes]) -> None:
    expected = {"report.json", "report.html", "raw/probe_scores.json", "raw/claim.json", *pictures}
    assert names(run) == {*expected, MARKER_NAME}
    assert set(json.loads((run / MARKER_NAME).read_text())["files"]) == expected
    assert (run / "report.html").read_text(encoding="utf-8") == "<p>ε</p>"


def test_report_is_read_back_equal_from_file_and_folder(run: Path, report: AuditReport) -> None:
    assert load_report(run) == report
    assert load_report(run / "report.json") == report
    assert (run / "report.json").read_bytes() == canonical_json(load_report(run))


def test_canonical_json_is_sorted_compact_and_finite(report: AuditReport) -> None:
    data = canonical_json(report)
    compact = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"))
    assert json.loads(compact) == json.loads(data)
    assert compact == json.dumps(json.loads(data), separators=(",", ":"))
    assert "ρ".encode() in data
    assert len(data) < len(compact)
    bad = report.provenance.model_copy(update={"config": {"x": float("nan")}})
    with pytest.raises(InputError, match="cannot be written as JSON"):
        canonical_json(report.model_copy(update={"provenance": bad}))


def test_occupied_folder_needs_force(run: Path) -> None:
    before = names(run)
    with pytest.raises(InputError, match="--force"):
        prepare_run_folder(run, force=False)
    assert names(run) == before


def test_force_removes_what_a_run_wrote_and_nothing_else(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / "raw" / "mine.bin").write_bytes(b"mine")
    assert prepare_run_folder(run, force=True) == run
    assert names(run) == {MARKER_NAME, "notes.txt", "raw/mine.bin"}
    assert not (run / "pictures").exists()


def test_force_refuses_a_folder_without_marker(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "report.json").write_text("precious")
    with pytest.raises(InputError, match="not a run folder"):
        prepare_run_folder(home, force=True)
    assert names(home) == {"report.json"}
    assert (home / "report.json").read_text() == "precious"


@pytest.mark.parametrize(
    "marker",
    ["", "[]", "null", "{}", '{"kind": "other", "files": []}', '{"kind": "cropaudit run folder"}'],
)
def test_force_refuses_a_broken_marker(run: Path, marker: str) -> None:
    (run / MARKER_NAME).write_text(marker)
    before = names(run)
    with pytest.raises(InputError, match="not a run folder"):
        prepare_run_folder(run, force=True)
    assert names(run) == before


@pytest.mark.parametrize("name", ["../precious", "/precious", "raw/../../precious", "", "a\\b"])
def test_marker_that_leads_outside_is_refused(run: Path, name: str) -> None:
    precious = run.parent / "precious"
    precious.write_text("keep")
    marker = {"kind": "cropaudit run folder", "files": [name, "report.json"]}
    (run / MARKER_NAME).write_text(json.dumps(marker))
    with pytest.raises(InputError, match="not a run folder"):
        prepare_run_folder(run, force=True)
    assert precious.read_text() == "keep"
    assert (run / "report.json").exists()


def test_force_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.json").write_text("keep")
    folder = prepare_run_folder(tmp_path / "run", force=False)
    for link in ("raw", "other"):
        (folder / link).symlink_to(outside, target_is_directory=True)
        record_files(folder, [f"{link}/x.json"])
    with pytest.raises(InputError, match="is a link"):
        prepare_run_folder(folder, force=True)
    (folder / "raw").unlink()
    prepare_run_folder(folder, force=True)
    assert (outside / "x.json").read_text() == "keep"


def test_interrupted_run_without_files_needs_no_force(tmp_path: Path) -> None:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    assert prepare_run_folder(folder, force=False) == folder


def test_recorded_files_may_be_replaced(tmp_path: Path) -> None:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    record_files(folder, ["state.bin"])
    write_atomic(folder / "state.bin", b"1")
    prepare_run_folder(folder, force=True)
    assert names(folder) == {MARKER_NAME}


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path in (file, file / "below"):
        with pytest.raises(InputError, match="run folder"):
            prepare_run_folder(path, force=True)
    assert file.read_text() == "x"


def test_unprepared_folder_is_not_written_to(tmp_path: Path, report: AuditReport) -> None:
    for write in (
        lambda: write_raw(tmp_path, {}),
        lambda: write_drawings(tmp_path, "", {}),
        lambda: write_report(tmp_path, unbacked(report)),
    ):
        with pytest.raises(InputError, match="not a run folder"):
            write()
    assert names(tmp_path) == set()


def test_names_that_leave_the_folder_are_refused(tmp_path: Path, report: AuditReport) -> None:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    with pytest.raises(InputError, match="stay inside"):
        write_drawings(folder, "", {"../x.png": b""})
    with pytest.raises(InputError, match="stay inside"):
        write_raw(folder, {"../x.csv": b""})
    assert names(tmp_path) == {f"run/{MARKER_NAME}"}


def test_raw_file_with_another_hash_is_refused(
    tmp_path: Path, report: AuditReport, raw: dict[str, bytes]
) -> None:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    with pytest.raises(InputError, match="got no file"):
        write_report(folder, report)
    write_raw(folder, raw | {"raw/claim.json": b"changed"})
    with pytest.raises(InputError, match="SHA-256"):
        write_report(folder, report)
    assert names(folder) == {MARKER_NAME, *raw}


def test_the_marker_names_files_before_they_are_written(
    tmp_path: Path, report: AuditReport, raw: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    order: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b))[1])
    write_raw(folder, raw)
    write_report(folder, report)
    assert order[0] == MARKER_NAME
    assert order[-2:] == [MARKER_NAME, "report.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a cropaudit report: document"),
        ("{not json", "not a cropaudit report: document"),
        ("\udcff", "not a cropaudit report"),
        ("[]", "not a cropaudit report"),
        ('{"schema_version": "1"}', "schema_version: Input should be '2'"),
        ("{}", r"identity: Field required \(and \d+ more\)"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=words) as caught:
        load_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_report_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="there is no report at"):
            load_report(path)


TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
KNOWN = {
    *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default"),
    *("description", "enum", "items", "maxItems", "minItems", "prefixItems", "properties"),
    *("required", "title", "type"),
}


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> Iterator:
    """Yields what is wrong with a value, by as much of JSON Schema as our schema uses."""
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        yield from problems(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    if "anyOf" in schema and all(list(problems(value, s, root)) for s in schema["anyOf"]):
        yield f"{at}: none of the alternatives"
    if value not in schema.get("enum", [schema.get("const", value)]):
        yield f"{at}: no choice"
    kind = schema.get("type")
    if kind and not isinstance(value, TYPES[kind]):
        yield f"{at}: not {kind}"
    elif kind == "object":
        yield from object_problems(value, schema, root, at)
    elif kind == "array":
        yield from array_problems(value, schema, root, at)


def object_problems(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key in {*schema.get("required", ()), *value}:
        place = f"{at}.{key}".lstrip(".")
        if key not in value:
            yield f"{place}: missing"
        elif key in known or isinstance(other, dict):
            yield from problems(value[key], known.get(key, other), root, place)
        elif other is False:
            yield f"{place}: unknown"


def array_problems(
    value: list[Any], schema: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{at}: length"
    first = schema.get("prefixItems", [])
    for index, item in enumerate(value):
        part = first[index] if index < len(first) else schema.get("items", {})
        yield from problems(item, part, root, f"{at}.{index}")


def test_schema_accepts_the_document_and_refuses_others(report: AuditReport) -> None:
    schema = json.loads(schema_json())
    document = json.loads(canonical_json(report))
    assert list(problems(document, schema, schema)) == []
    verdict = document["verdict"]
    for change, problem in (
        ({"extra": 1}, "extra: unknown"),
        ({"attacks": {}}, "attacks: not array"),
        ({"verdict": verdict | {"status": "certified"}}, "verdict.status: no choice"),
        ({"verdict": verdict | {"power": "high"}}, "verdict.power: not number"),
        ({"verdict": {}}, "verdict.status: missing"),
    ):
        assert problem in list(problems(document | change, schema, schema))


def test_schema_names_every_part() -> None:
    schema = json.loads(schema_json())
    assert set(schema["properties"]) == set(AuditReport.model_fields)
    assert schema["$schema"].endswith("2020-12/schema")


def test_hash_is_of_the_bytes(run: Path, report: AuditReport) -> None:
    for name, digest in report.provenance.files.items():
        assert sha256((run / name).read_bytes()) == digest
