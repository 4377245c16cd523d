"""A finished run is drawn again from its folder alone, as the run drew it, in any known format."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cropaudit.audit.results.result import AuditReport
from cropaudit.audit.results.train_result import TrainRecord
from cropaudit.cli import app as cli
from cropaudit.errors import InputError
from cropaudit.reports.render.formats import FORMATS, draw, find_format
from cropaudit.reports.store import (
    INCLUSION_NAME,
    MARKER_NAME,
    Finished,
    canonical_json,
    open_run,
    prepare_run_folder,
    write_files,
    write_report,
)
from tests.reports.conftest import TINY


def called(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(item) for item in arguments])


def refused(*arguments: object) -> str:
    """Returns the message of a refusal; `main` prints it and leaves with 2."""
    done = called(*arguments)
    assert isinstance(done.exception, InputError)
    return str(done.exception)


@pytest.fixture(scope="module")
def page(report: AuditReport, pictures: dict[str, bytes], beside: dict[str, bytes]) -> bytes:
    return draw("html", Finished(report, {**beside, **pictures}))


@pytest.fixture
def run(
    tmp_path: Path,
    report: AuditReport,
    pictures: dict[str, bytes],
    beside: dict[str, bytes],
    page: bytes,
) -> Path:
    folder = prepare_run_folder(tmp_path / "run", force=False)
    write_files(folder, {**beside, **pictures})
    write_report(folder, report)
    write_files(folder, {"report.html": page})
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "run"
    sets = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    done = called("train", "quickstart", "--out", folder, *sets)
    assert done.exit_code == 0, done.output
    (folder.parent / "printed.txt").write_text(done.stdout)
    return folder


def test_an_audit_is_drawn_again_byte_for_byte(run: Path, tmp_path: Path) -> None:
    for name in ("report.html", "report.json"):
        out = tmp_path / name
        assert called("report", run, "--out", out).exit_code == 0
        assert out.read_bytes() == (run / name).read_bytes()
    assert called("report", run, "--json").stdout_bytes == (run / "report.json").read_bytes()
    out = (run / "report.html").read_bytes()
    assert called("report", run, "--format", "html").stdout_bytes == out


def test_the_folder_alone_suffices(run: Path, page: bytes, tmp_path: Path) -> None:
    """Moved elsewhere and without its drawing: pictures and inclusion map are in it."""
    (run / "report.html").unlink()
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert draw("html", open_run(Path(moved))) == page
    assert b"The map was not stored" not in page


def test_the_terminal_shows_what_the_audit_printed(run: Path) -> None:
    told = called("report", run)
    assert told.exit_code == 0
    assert "Verdict: VIOLATION" in told.output
    written = draw("terminal", open_run(run)).decode()
    assert "Note: a lower bound never certifies epsilon" in written
    assert "\x1b" not in written


def test_checks_of_an_audit_are_junit(run: Path) -> None:
    root = ElementTree.fromstring(draw("junit", open_run(run)))
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert cases["window law"].find("failure") is None
    failure = cases["steps and rate"].find("failure")
    assert failure is not None
    assert "p = 0.0004" in (failure.text or "")
    assert cases["Positive control: no noise"].find("skipped") is not None
    assert cases["verdict"].find("failure") is not None
    assert (root.attrib["failures"], root.attrib["skipped"]) == ("2", "1")


def test_a_training_is_drawn_again(trained: Path) -> None:
    assert called("report", trained, "--json").stdout_bytes == (trained / "train.json").read_bytes()
    told = called("report", trained).stdout
    assert "Claim: epsilon <= " in told
    printed = (trained.parent / "printed.txt").read_text()
    assert printed.startswith(told)
    assert isinstance(open_run(trained).document, TrainRecord)
    words = "format must be one of terminal, json for such a run, got html"
    assert words in refused("report", trained, "--format", "html")


def test_files_are_not_replaced_unless_forced(run: Path, page: bytes) -> None:
    assert "a new file, or give --force" in refused("report", run, "--out", run / "report.html")
    assert called("report", run, "--out", run / "report.html", "--force").exit_code == 0
    assert (run / "report.html").read_bytes() == page
    assert called("report", run, "--format", "junit", "--out", run).exit_code == 0
    # What was written into a run folder is listed there, for --force to replace with the run.
    assert "report.xml" in json.loads((run / MARKER_NAME).read_bytes())["files"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "gif"), "format must be one of terminal, json, html, junit, got gif"),
        (("--out", "page.gif"), "out must be a file that ends in one of .txt, .json, .html, .xml"),
        (("--format", "json", "--out", "x.html"), "out must be a file that ends in .json"),
        (("--json", "--format", "html"), "format must be json, or left out, with --json, got html"),
    ],
)
def test_wrong_options_are_refused(run: Path, options: tuple[str, ...], words: str) -> None:
    assert words in refused("report", run, *options)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    words = "run must be a folder with report.json of an audit or train.json of a training"
    for folder in (tmp_path, tmp_path / "none"):
        assert words in refused("report", folder)


def test_another_version_of_the_schema_is_named(run: Path, report: AuditReport) -> None:
    other = canonical_json(report).replace(b'"schema_version":"2"', b'"schema_version":"1"')
    write_files(run, {"report.json": other})
    words = "must be 2 for this cropaudit, got 1"
    assert words in refused("report", run)


@pytest.mark.parametrize("name", ["report.json", "pictures/slot0_a.png", INCLUSION_NAME])
def test_a_changed_file_is_named(run: Path, name: str) -> None:
    (run / name).write_bytes((run / name).read_bytes() + b" ")
    assert f"{name} must be as its run left it" in refused("report", run)


def test_a_run_of_before_is_drawn_without_its_map(run: Path) -> None:
    (run / INCLUSION_NAME).unlink()
    assert b"The map was not stored with this run." in draw("html", open_run(run))


def test_a_file_that_is_no_map_is_refused(report: AuditReport) -> None:
    for data in (b"", b"PK\x03\x04", b"\x80\x04."):
        with pytest.raises(InputError, match=r"raw/inclusion\.npz must be as an audit left it"):
            Finished(report, {INCLUSION_NAME: data}).inclusion()


def test_the_documented_format_is_one_class_and_one_line(
    run: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: AuditReport
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    monkeypatch.setitem(FORMATS, "claim", FORMATS["json"])  # so that it is taken out again
    exec(compile(block, "docs/report.md", "exec"), {})
    wanted = report.claim.statement
    assert called("report", run, "--format", "claim").output == wanted
    out = tmp_path / "text.claim"
    assert called("report", run, "--out", out).exit_code == 0
    assert out.read_text() == wanted
    assert find_format(None, out) == "claim"
    assert "one of terminal, json for such a run" in refused("report", trained, "--format", "claim")
    assert "json, html, junit, claim, got x" in refused("report", run, "--format", "x")
