"""What ``import cropaudit`` offers: light, complete, typed, and the command line's own answers."""

import ast
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cropaudit as ca
from cropaudit.audit.results.result import AuditReport
from cropaudit.conformance.suite import SuiteResult
from cropaudit.errors import InputError

SOURCE = Path(ca.__file__).read_text("utf-8")
TINY = {
    "patch": "6x6",
    "data.images": 5,
    "data.validation": 1,
    "data.size": "32x40",
    "crop.size": "24x24",
    "training.model": "tiny-net",
    "training.batch": 3,
    "training.steps": 3,
    "game.attacks": ["probe"],
    "game.probe_slots": 400,
    "game.control_slots": 200,
    "game.canary_slots": 2,
}


def test_importing_it_loads_nothing_but_itself() -> None:
    code = "import sys, cropaudit; print([name for name in sys.modules if 'cropaudit' in name])"
    heavy = "; print({'numpy', 'torch', 'scipy', 'pydantic', 'rich'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True
    )
    modules, found = done.stdout.splitlines()
    assert [name for name in ast.literal_eval(modules) if "editable" not in name] == ["cropaudit"]
    assert found == "set()"


def test_every_name_is_there_for_people_and_for_type_checkers() -> None:
    typed = {
        alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cropaudit.")
        for alias in node.names
    }
    assert typed | {"__version__"} == set(ca.__all__)
    assert set(ca.__all__) <= set(dir(ca))
    for name in ca.__all__:
        assert getattr(ca, name) is not None
        assert name == "__version__" or getattr(ca, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ca.nothing  # type: ignore[attr-defined]


def test_bound_is_what_the_command_line_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from cropaudit.cli.app import main

    asked = {"image": "100x100", "crop": "20x20", "patch": 5, "batch": 5, "records": 50}
    found = ca.bound(**asked, steps=10, noise=1.0, delta=1e-5)
    options = [part for key, value in asked.items() for part in (f"--{key}", str(value))]
    options += ["--steps", "10", "--noise", "1", "--delta", "1e-5", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cropaudit", "bound", *options])
        with contextlib.suppress(SystemExit):
            main()
    assert json.loads(capsys.readouterr().out)["epsilon"] == found.epsilon
    assert "<table>" in found._repr_html_()


def test_scores_of_arrays_and_of_files_are_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(2, 1, 300), rng.normal(0, 1, 300)
    rows = [f"{value},1" for value in one] + [f"{value},0" for value in other]
    file = tmp_path / "scores.csv"
    file.write_text("\n".join(["score,member", *rows]))
    asked = {"mechanism": "poisson:noise=1,q=0.1,rho=0.3,steps=100", "seed": 0}
    found = ca.estimate((one, other), **asked)
    assert found == ca.estimate(file, **asked)
    assert found.headline.epsilon_lower > 0.5
    named = ca.estimate({"mine": (one, other)}, **asked)
    assert named.attacks[0].attack == "mine"
    with pytest.raises(InputError, match="fields of Hypothesis"):
        ca.estimate((one, other), detla=0.1)


@pytest.mark.parametrize("scores", [(np.ones(3),), np.ones(40), {"mine": np.ones(40)}, 3])
def test_scores_that_are_no_pair(scores: object) -> None:
    with pytest.raises(InputError, match="scores must be two arrays"):
        ca.estimate(scores)  # type: ignore[arg-type]


def test_an_audit_and_its_folder(tmp_path: Path) -> None:
    """And what else a run folder is good for: to be read, attacked and certified."""
    report = ca.audit("quickstart", out=tmp_path / "run", changes=TINY)
    assert isinstance(report, AuditReport)
    assert ca.load_report(tmp_path / "run" / "report.json") == report
    assert ca.load_report(str(tmp_path / "run")) == report
    assert "<script" not in report._repr_html_()
    with pytest.raises(InputError, match="force"):
        ca.audit("quickstart", out=tmp_path / "run", changes=TINY)
    record = ca.train("quickstart", out=tmp_path / "train", changes=TINY)
    assert "<table>" in record._repr_html_()
    assert ca.attack(tmp_path / "train", ["loss"]).headline.epsilon_lower >= 0
    with pytest.raises(InputError, match="seed must be at least 0, got -1"):
        ca.attack(tmp_path / "train", ["loss"], seed=-1)
    certificate = ca.certify(tmp_path / "train")
    assert certificate.epsilon_high >= certificate.epsilon_low
    with pytest.raises(InputError, match="and not both"):
        ca.certify()


def test_code_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torchvision.transforms import v2\n\n\ndef crop():\n    return v2.RandomCrop(16)\n"
    )
    claimed = ca.PipelineClaim(
        image=ca.Size(40, 40), patch=ca.Rectangle(ca.Size(5, 5)), crop=ca.Crop(ca.Size(16, 16))
    )
    found = ca.conform(transform=f"{file}:crop", claimed=claimed, quick=True)
    assert isinstance(found, SuiteResult)
    assert found.verdict != "fail"
    with pytest.raises(InputError, match="fields of Subjects"):
        ca.conform(transfrom="x")


def test_what_a_notebook_shows_is_escaped() -> None:
    from dataclasses import dataclass

    from cropaudit.files.notebook import Tabled

    @dataclass(frozen=True)
    class Odd(Tabled):
        name: str
        values: tuple[int, ...]

    shown = Odd("<b>x</b>", tuple(range(1000)))._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "1000 entries" in shown
