"""``cropaudit conform``: two whole runs through the real entry point, the rest on a stub battery.

A stub stands for the probes only where what is tested is what the command makes of their findings:
exit codes, files and words. Everything that is refused is refused before any code is run.
"""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from junitparser import JUnitXml
from PIL import Image

from cropaudit import conform_command
from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.audit.conformance.battery import Battery
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import Outcome, Picture, decide
from cropaudit.audit.conformance.outcome import Tested as Null
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.cli import main

Run = Callable[..., CompletedProcess[str]]

LEAKY = '''
from torchvision.transforms import v2


class Standardised:
    """Divides by the mean of the whole image before the crop."""

    crop = v2.RandomCrop(32)

    def __call__(self, image, mask):
        print("cropping")
        return self.crop(image / image.float().mean(), mask)
'''


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``cropaudit conform ARGS`` in this process, through `main`."""

    def run(*args: object) -> CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["cropaudit", "conform", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        assert isinstance(code, int)
        return CompletedProcess(sys.argv, code, *capsys.readouterr())

    return run


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


OUTCOMES = {
    "pass": Outcome("non-interference", (Null("null", 1.0, ""),), "measured"),
    "inconclusive": Outcome("non-interference", (Null("null", 1.0, ""),), undecided="too few"),
    "not measured": Outcome("noise", (Null("null", 1.0, ""),), unmeasured="nothing to see"),
    "differs": Outcome("noise", (Null("null", 1.0, ""),), differs="more noise than claimed"),
    "fail": Outcome(
        "non-interference",
        (Null("null", 0.0, "a leak of [1] & <2>"),),
        where="crop.py:3",
        pictures=(Picture("leak-1", "caption one", png()), Picture("leak-2", "two", png())),
    ),
}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Puts one outcome in the place of the probes; keeps what they were asked."""
    asked: dict[str, Any] = {"outcome": OUTCOMES["pass"]}

    def run(subjects: Subjects, claimed: Claimed, level: float) -> Battery:
        asked.update(subjects=subjects, claimed=claimed, level=level)
        if isinstance(asked["outcome"], BaseException):
            raise asked["outcome"]
        return Battery(decide([asked["outcome"]], level), level, claimed)

    monkeypatch.setattr(conform_command, "run_battery", run)
    return asked


# Whole runs.


def only_progress(words: str) -> bool:
    """Returns whether nothing was said but, on a busy machine, how long it has been at work."""
    return all(re.match(r"\[\d+ ", line) for line in words.splitlines())


@pytest.fixture(scope="module")
def failed(cropaudit: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run on a leaky crop: images of 96x128, a picture folder, a JUnit file, JSON."""
    folder = tmp_path_factory.mktemp("conform")
    (folder / "user_crops.py").write_text(LEAKY)
    done = cropaudit(
        "conform",
        "--transform",
        "user_crops.py:Standardised",
        *("--image", "96x128", "--patch", "8", "--crop", "32"),
        *("--out", "pictures", "--junit", "checks.xml", "--json"),
        cwd=folder,
    )
    return {"done": done, "folder": folder}


def test_a_leak_fails_with_its_cause_and_place(failed: dict[str, Any]) -> None:
    done: CompletedProcess[str] = failed["done"]
    assert done.returncode == 1
    assert only_progress(done.stderr)
    document = json.loads(done.stdout)
    assert document["verdict"] == "fail"
    assert document["failed"] == ["non-interference"]
    assert [item["check"] for item in document["checks"]] == [item.name for item in CHECKS]
    checks = {item["check"]: item for item in document["checks"]}
    leak = checks["non-interference"]
    assert "something is computed over the whole image before the crop" in leak["detail"]
    number = LEAKY.splitlines().index("    def __call__(self, image, mask):") + 1
    assert leak["where"].endswith(f"user_crops.py:{number}")
    assert leak["p_value"] == 0.0
    assert "it printed 'cropping'" in checks["contract"]["detail"]
    for name in ("contract", "window law", "inclusion rate", "label alignment"):
        assert checks[name]["status"] == "pass", checks[name]
    assert checks["noise"]["status"] == "skipped"


def test_counter_examples_are_pictures_with_captions(failed: dict[str, Any]) -> None:
    pictures = json.loads(failed["done"].stdout)["pictures"]
    assert sorted(pictures) == ["pictures/leak-1.png", "pictures/leak-2.png"]
    for path, caption in pictures.items():
        with Image.open(failed["folder"] / path) as picture:
            picture.load()
            assert picture.width > 640
            red = np.asarray(picture.convert("RGB")).reshape(-1, 3) == (230, 60, 40)
        assert red.all(axis=1).sum() > 100
        assert "pixels from the patch (red)" in caption


def test_junit_holds_every_check(failed: dict[str, Any]) -> None:
    document = JUnitXml.fromfile(str(failed["folder"] / "checks.xml"))
    assert (document.tests, document.failures, document.errors) == (len(CHECKS), 1, 0)
    (suite,) = list(document)
    cases = {case.name: case for case in suite}
    assert list(cases) == [item.name for item in CHECKS]
    (failure,) = cases["non-interference"].result
    assert "user_crops.py" in failure.text
    assert cases["contract"].result == []


def test_a_sound_mutant_passes_in_words(cropaudit: Run) -> None:
    done = cropaudit("conform", "--mutant", "clean-padding")
    assert done.returncode == 0
    assert only_progress(done.stderr)
    text = " ".join(done.stdout.split())
    assert "Pass: 6 checks (a sound pipeline fails anywhere" in text
    assert "FAIL" not in text


def test_code_that_is_not_there_is_wrong_usage(cropaudit: Run, tmp_path: Path) -> None:
    done = cropaudit("conform", "--transform", "nothing.py:crop", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == ("cropaudit: transform cannot be read: no such file: nothing.py")


# Lists.


def test_checks_and_faults_are_listed(here: Run) -> None:
    done = here("--list", "--json")
    listed = json.loads(done.stdout)
    assert [item["name"] for item in listed["checks"]] == [item.name for item in CHECKS]
    names = [item["name"] for item in (*listed["mutants"], *listed["clean"])]
    assert len(set(names)) == len(names) > 40
    assert {"off-by-one", "blur-before-crop", "noise-off"} <= set(names)
    words = here("--list")
    assert (words.returncode, done.returncode) == (0, 0)
    assert all(name in words.stdout for name in names)


# Exit codes, words and files.


@pytest.mark.parametrize(
    ("status", "options", "code"),
    [
        ("pass", (), 0),
        ("pass", ("--strict",), 0),
        ("inconclusive", (), 0),
        ("inconclusive", ("--strict",), 3),
        ("not measured", (), 0),
        ("not measured", ("--strict",), 3),
        ("differs", (), 0),
        ("differs", ("--strict",), 3),
        ("fail", (), 1),
        ("fail", ("--strict",), 1),
    ],
)
def test_exit_codes(
    here: Run, stub: dict[str, Any], status: str, options: tuple[str, ...], code: int
) -> None:
    stub["outcome"] = OUTCOMES[status]
    done = here("--transform", "a:b", *options)
    assert (done.returncode, done.stderr) == (code, "")
    first = {"pass": "Pass: 1", "inconclusive": "Inconclusive:", "fail": "FAIL: non-inter"}
    first |= {"not measured": "not measured: noise", "differs": "loses no privacy: noise"}
    assert first[status] in done.stdout


def test_an_interrupt_leaves_with_4(here: Run, stub: dict[str, Any]) -> None:
    stub["outcome"] = KeyboardInterrupt()
    done = here("--transform", "a:b")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "cropaudit: interrupted; nothing was written\n"


def test_pictures_and_junit_are_replaced_by_force_only(
    here: Run, stub: dict[str, Any], tmp_path: Path
) -> None:
    stub["outcome"] = OUTCOMES["fail"]
    out, junit = tmp_path / "deep" / "out", tmp_path / "checks.xml"
    options = ("--transform", "a:b", "--out", out, "--junit", junit)
    done = here(*options)
    assert done.returncode == 1
    assert sorted(path.name for path in out.iterdir()) == ["leak-1.png", "leak-2.png"]
    assert f"Counter-example: {out}/leak-1.png" in done.stdout
    assert "a leak of [1] & <2> [crop.py:3]" in done.stdout
    junit.write_text("old")
    again = here(*options)
    assert again.returncode == 2
    assert "a new file, or give --force" in again.stderr
    assert junit.read_text() == "old"
    assert here("--transform", "a:b", "--out", out).returncode == 2
    assert here(*options, "--force").returncode == 1
    assert JUnitXml.fromfile(str(junit)).failures == 1


def test_without_a_folder_counter_examples_are_counted(here: Run, stub: dict[str, Any]) -> None:
    stub["outcome"] = OUTCOMES["fail"]
    assert "2 counter-examples are drawn with --out" in here("--transform", "a:b").stdout
    assert json.loads(here("--transform", "a:b", "--json").stdout)["pictures"] == {}


def test_no_failure_makes_no_folder(here: Run, stub: dict[str, Any], tmp_path: Path) -> None:
    assert here("--transform", "a:b", "--out", tmp_path / "out").returncode == 0
    assert not (tmp_path / "out").exists()


# What is asked of the probes.


def test_options_become_subjects_and_a_claim(here: Run, stub: dict[str, Any]) -> None:
    here(
        *("--transform", "a:b", "--style", "pil", "--loader", "c.py:d", "--seed", 5),
        *("--time-limit", 2, "--level", 0.2, "--image", "60x80", "--patch", "6x7"),
        *("--crop", "20x30", "--padding", "1,2,3,4", "--padding-mode", "reflect"),
        *("--rho", 0.3, "--sampler", "shuffle", "--batch", 4, "--records", 40, "--steps", 10),
        *("--epochs", 1, "--noise", 1.5, "--max-grad-norm", 2, "--learning-rate", 0.1),
        *("--delta", 1e-6, "--claim-epsilon", 3, "--crops-per-image", 2),
    )
    assert stub["level"] == 0.2
    assert stub["subjects"] == Subjects(
        transform="a:b", style="pil", loader="c.py:d", seed=5, call_limit=2.0
    )
    assert stub["claimed"] == Claimed(
        image=Size(60, 80),
        patch=Rectangle(Size(6, 7)),
        crop=Crop(Size(20, 30), Borders(2, 4, 1, 3), "reflect"),
        inclusion=0.3,
        crops=2,
        sampler="shuffle",
        batch=4,
        records=40,
        steps=10,
        epochs=1,
        noise_multiplier=1.5,
        max_grad_norm=2.0,
        learning_rate=0.1,
        delta=1e-6,
        epsilon=3.0,
    )
    here("--transform", "a:b")
    assert (stub["subjects"], stub["claimed"]) == (Subjects(transform="a:b"), Claimed())
    assert stub["level"] == 0.01
    here("--transform", "a:b", "--crop", 50, "--crop-law", "resized", "--scale", "0.5:1")
    crop = stub["claimed"].crop
    assert isinstance(crop, ResizedCrop)
    assert crop.scale == (0.5, 1.0)


def test_a_mutant_brings_its_code_and_claim(here: Run, stub: dict[str, Any]) -> None:
    here("--mutant", "copied-border", "--seed", 3, "--time-limit", 9)
    assert stub["subjects"].transform.endswith(":ReflectPadding")
    assert (stub["subjects"].seed, stub["subjects"].call_limit) == (3, 9.0)
    assert stub["claimed"].crop == Crop(Size(100, 100), 90)


# What is refused, on one line, before any code is run.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "subject must be given as --transform"),
        (("--transform", "crop.py"), "transform must be path/to/file.py:Name"),
        (("--transform", "a:b", "--level", 1), "level must be in (0, 1), got 1.0"),
        (("--transform", "a:b", "--seed", -1), "seed must be at least 0"),
        (("--transform", "a:b", "--time-limit", 0), "time limit must be above 0"),
        (("--transform", "a:b", "--image", "10", "--patch", "20"), "patch must be at most the"),
        (("--transform", "a:b", "--image", "0x9"), "image must be HxW or one number"),
        (("--transform", "a:b", "--crop", "500"), "crop must be at most the padded image"),
        (("--transform", "a:b", "--padding", "4"), "crop must be given"),
        (("--transform", "a:b", "--crop", "9", "--padding", "x"), "padding must"),
        (("--transform", "a:b", "--batch", 9, "--records", 8), "batch must be at most"),
        (("--transform", "a:b", "--rho", 2), "inclusion must be in [0, 1]"),
        (("--transform", "a:b", "--data", "no/such/folder"), "data folder must exist"),
        (("--transform", "a:b", "--junit", "checks.txt"), "junit must be a file that ends in .xml"),
        (("--transform", "a:b", "--junit", "no/such/x.xml"), "junit must be in an existing folder"),
        (("--mutant", "nothing"), "mutant must be one of"),
        (("--mutant", "off-by-one", "--style", "v2"), "style must be left out with mutant"),
        (("--mutant", "off-by-one", "--crop", "9"), "crop must be left out with mutant"),
        (("--mutant", "off-by-one", "--channels-last"), "channels-last must be left out"),
        (("--mutant", "off-by-one", "--data", "."), "data must be left out"),
    ],
    ids=lambda value: "-".join(map(str, value))[:50] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_used_is_told_on_one_line(
    here: Run, stub: dict[str, Any], options: tuple[object, ...], words: str
) -> None:
    done = here(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cropaudit: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert "subjects" not in stub, "nothing was probed"


def test_a_style_that_does_not_exist_is_refused(here: Run, stub: dict[str, Any]) -> None:
    done = here("--transform", "a:b", "--style", "tf")
    assert done.returncode == 2
    assert "'tf' is not one of 'v2', 'v1', 'pil'" in " ".join(done.stderr.split())


def test_a_file_in_the_place_of_a_folder_is_refused(
    here: Run, stub: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    stub["outcome"] = OUTCOMES["fail"]
    done = here("--transform", "a:b", "--out", file, "--force")
    assert (done.returncode, "out must be a folder, not a file" in done.stderr) == (2, True)
    below = here("--transform", "a:b", "--out", file / "below")
    assert (below.returncode, "cannot write" in below.stderr) == (2, True)
