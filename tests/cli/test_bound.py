"""``cropaudit bound`` through its real entry point."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest
from PIL import Image

Run = Callable[..., CompletedProcess[str]]

STREETS = [
    *("--image", "1024x2048", "--crop", "505x505", "--patch", "10x10"),
    *("--batch", "200", "--records", "2975", "--delta", "3.3613e-4"),
]


@pytest.mark.parametrize(
    ("sampler", "expected"), [("fixed", 32.73), ("poisson", 7.45), ("shuffle", 87.3)]
)
def test_reference_values(cropaudit: Run, sampler: str, expected: float) -> None:
    done = cropaudit(
        "bound", *STREETS, "--sampler", sampler, "--epochs", 100, "--noise", 1.0, "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["epsilon"] == pytest.approx(expected, rel=5e-3)
    assert found["inclusion_probability"] == pytest.approx(0.329060, rel=3e-6)
    assert found["steps"] == 1500
    assert found["record_rate"] == pytest.approx(0.329060 * 200 / 2975, rel=1e-5)
    assert found["noise_multiplier"] == 1.0
    assert found["epsilon_without_crop"] > found["epsilon"]
    assert len(found["worst_position"]) == 2
    assert {item["name"] for item in found["shortcuts"]} >= {"add-remove", "replace-one"}
    assert all(item["why_invalid"] and item["epsilon"] > 0 for item in found["shortcuts"])


def test_steps_and_target_epsilon(cropaudit: Run) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, "--target-epsilon", 3, "--json")
    found = json.loads(done.stdout)
    assert found["sampler"] == "poisson"
    assert 2.98 <= found["epsilon"] <= 3.0
    assert found["noise_multiplier"] > 1


def test_table_says_the_same(cropaudit: Run) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, "--noise", 1)
    assert done.returncode == 0
    assert "7.45" in done.stdout
    assert "add-remove: 4.2" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--noise", "-1"],
            "noise multiplier must be 0 for none, or from 0.0001 to 1e+09, got -1.0",
        ),
        (["--noise", "1", "--delta", "1"], "delta must be in (0, 1), got 1.0"),
        (["--noise", "1", "--crop", "2000"], "crop must be at most the padded image 1024x2048"),
        (["--noise", "1", "--patch", "2000"], "patch must be at most the image 1024x2048"),
        (["--noise", "1", "--batch", "3000"], "batch must be between 1 and the 2975 records"),
        (["--noise", "1", "--image", "big"], "image must be HxW or one number"),
        (["--noise", "1", "--target-epsilon", "2"], "must be the only one left out, got none"),
        (["--noise", "1", "--padding", "-1"], "padding must be at least 0, got -1"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cropaudit: Run, changes: list[str], message: str) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, *changes)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_and_version(cropaudit: Run) -> None:
    assert "bound" in cropaudit("--help").stdout
    assert cropaudit("--version").stdout.startswith("cropaudit 0.")
    assert cropaudit().returncode == 2


def test_python_m_works() -> None:
    done = run(
        [sys.executable, "-m", "cropaudit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("cropaudit ")


HEAVY = {"torch", "torchvision", "opacus", "matplotlib", "jsonschema", "scipy.stats"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY | {"numpy", "scipy", "pydantic"}),
        (["bound", *STREETS, "--steps", "15", "--noise", "1"], HEAVY),
    ],
)
def test_fast_commands_import_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    """What takes longer to import than the answer takes to find is left alone."""
    code = (
        "import sys; from cropaudit.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("module", ["cropaudit.cli", "cropaudit.accounting.bound"])
def test_torch_is_not_imported(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_estimators_do_without_torch() -> None:
    code = "import sys, cropaudit.audit.estimate; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


SMALL = [
    *("--image", "64x96", "--crop", "24", "--patch", "6x4", "--batch", "10", "--records", "100"),
    *("--steps", "60", "--noise", "1", "--delta", "1e-5"),
]


def test_everything_is_written_and_told(cropaudit: Run, tmp_path: Path) -> None:
    names = {
        "plot": tmp_path / "sweep.svg",
        "map": tmp_path / "map.png",
        "profile": tmp_path / "profile.csv",
        "export": tmp_path / "mechanism.json",
    }
    files = [str(word) for name, path in names.items() for word in (f"--{name}", path)]
    done = cropaudit(
        "bound", *SMALL, *files, "--sweep", "crop=8:40:8", "--series", "noise=1,2", "--group", 3
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"wrote {path}" in done.stdout.replace("\n", "") for path in names.values())
    assert "group of 3 images" in done.stdout
    svg = names["plot"].read_text()
    assert "side of the crop" in svg
    assert "noise 2" in svg
    with Image.open(names["map"]) as picture:
        assert picture.size[0] > 500
    lines = names["profile"].read_text().splitlines()
    assert lines[0] == "epsilon,delta"
    assert len(lines) > 50
    back = cropaudit("bound", "--mechanism", names["export"], "--delta", "1e-5", "--json")
    once = json.loads(cropaudit("bound", *SMALL, "--json").stdout)
    assert json.loads(back.stdout)["epsilon"] == once["epsilon"]


def test_nothing_is_overwritten_without_force(cropaudit: Run, tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_text("mine")
    done = cropaudit("bound", *SMALL, "--profile", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "profile must be a new file, or give --force" in done.stderr
    assert path.read_text() == "mine"
    assert cropaudit("bound", *SMALL, "--profile", path, "--force").returncode == 0
    assert path.read_text().startswith("epsilon,delta")


def test_json_holds_all_numbers(cropaudit: Run) -> None:
    done = cropaudit("bound", *SMALL, "--sweep", "noise=1,2", "--group", 6, "--json")
    found = json.loads(done.stdout)
    assert found["epsilon_lower"] <= found["epsilon"] <= found["epsilon_lower"] * 1.001
    assert found["risk"]["advantage"] < 1
    assert len(found["risk"]["tpr"]) == 2
    assert found["groups"][0]["size"] == 6
    assert found["sweeps"][0]["series"][0]["epsilon"][0] == found["epsilon"]
    assert found["mechanisms"]["phases"][0]["kind"] == "poisson"
    assert found["dp_events"] == [None]
    whole = json.loads(cropaudit("bound", *SMALL, "--crop-law", "none", "--json").stdout)
    assert "PoissonSampledDpEvent" in whole["dp_events"][0]


def test_presets_and_phases(cropaudit: Run) -> None:
    done = cropaudit("bound", "--preset", "paper-cityscapes", "--json")
    found = json.loads(done.stdout)
    assert found["solved"].startswith("noise multiplier")
    assert 9.99 < found["epsilon"] <= 10
    phases = ["--phase", "epochs=60", "--phase", "crop=300,epochs=40"]
    done = cropaudit("bound", "--preset", "paper-cityscapes", "--noise", 1, *phases, "--json")
    found = json.loads(done.stdout)
    assert found["steps"] == 1500
    assert len(found["mechanisms"]["phases"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--crop-law", "nonempty"], "nothing is amplified"),
        (["--sweep", "colour=1,2"], "sweep must be one of crop,"),
        (["--series", "noise=1,2"], "series must be given with a sweep"),
        (["--plot", "out.gif"], "plot must be a file that ends in .svg, .png or .pdf"),
        (["--map", "nowhere/map.png"], "map must be in an existing folder"),
        (["--example", "a.png"], "example must be given with map"),
        (["--phase", "crop"], "phase must be KEY=VALUE"),
        (["--mechanism", "none.json"], "mechanism must be given alone with delta, got batch"),
        (["--preset", "paper-none"], "preset must be one of paper-a2d2"),
        (["--objects", "none.json"], "objects none.json must be a JSON file"),
        (["--image", "nowhere/"], "image must be HxW or one number"),
        (["--patch", "mask:none.png"], "none.png"),
    ],
)
def test_new_options_name_what_is_wrong(cropaudit: Run, changes: list[str], message: str) -> None:
    done = cropaudit("bound", *SMALL, *changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_mechanism_is_named(cropaudit: Run) -> None:
    done = cropaudit("bound", "--mechanism", "none.json", "--delta", "1e-5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mechanism file none.json must be readable" in done.stderr


@pytest.mark.data
def test_real_photographs_and_objects(cropaudit: Run, camvid_root: Path, tmp_path: Path) -> None:
    example = sorted((camvid_root / "images").rglob("*.png"))[0]
    files = ["--map", tmp_path / "map.png", "--example", example]
    images = ["--image", camvid_root / "images", "--objects", camvid_root / "objects.json"]
    done = cropaudit("bound", *SMALL[2:], *images, *files)
    assert (done.returncode, done.stderr) == (0, "")
    assert "does not cover" in done.stdout
    assert "Pedestrian" in done.stdout
    assert (tmp_path / "map.png").stat().st_size > 10_000
