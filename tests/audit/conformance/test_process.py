"""The user's code in its process: whatever it does is a finding with its file and line, and ends.

What needs a process of its own has one, which imports torch; the rest runs in a copy of this one,
which is watched in the same way. Images are small and trials are quick.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.checks import contract
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.contract import Trouble
from cropaudit.audit.conformance.process import observe, observe_objects
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import find, made, where_of
from tests.conformance_draws import found

CLAIMED = Claimed(image=Size(40, 50), patch=Rectangle(Size(6, 6)), crop=Crop(Size(16, 16)))
LIMIT = 3.0

CODE = """
import os, random, subprocess, sys, time
from torchvision.transforms import v2

crop = v2.RandomCrop(16)
calls = [0]


def raises(image, mask):
    calls[0] += 1
    if calls[0] > 20:
        raise ValueError("call twenty-one \\ud800 \\x1b[31m")  # LINE raises
    return crop(image, mask)


def sleeps(image, mask):
    if calls[0] > 3:
        time.sleep(1000)  # LINE sleeps
    calls[0] += 1
    return crop(image, mask)


def spins(image, mask):
    keep_alive()
    while True:  # LINE spins
        pass  # LINE spins


def keep_alive():
    code = "import pathlib, sys, time\\nwhile 1: pathlib.Path(sys.argv[1]).touch(); time.sleep(.1)"
    subprocess.Popen([sys.executable, "-c", code, os.environ["CROPAUDIT_HEART"]])


def exits(image, mask):
    sys.exit("enough")  # LINE exits


def dies(image, mask):
    calls[0] += 1
    if calls[0] > 20:
        os._exit(7)
    return crop(image, mask)


def dies_in_a_copy(image, mask):
    if os.getpid() != started:
        os._exit(7)
    return crop(image, mask)


def odd(image, mask):
    print("hello")  # LINE odd
    image[..., 0, 0] = 0
    return crop(image, mask)


def wrong(image, mask):
    return "no image"


started = os.getpid()
"""


def line(name: str) -> list[int]:
    """Returns the numbers of the lines that are marked with a name."""
    return [i for i, text in enumerate(CODE.splitlines(), 1) if text.endswith(f"# LINE {name}")]


@pytest.fixture(autouse=True)
def _modules(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Finding an object in this process leaves nothing behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith(("user_", "crops_of_a_user"))]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("user") / "crops_of_a_user.py"
    path.write_text(CODE)
    return path


def probe(spec: str, limit: float = 20.0) -> Seen:
    return observe(Subjects(transform=spec, call_limit=limit, quick=True), CLAIMED)


def probe_copy(code: Path, name: str) -> Seen:
    """Probes a function in a copy of this process."""
    subjects = Subjects(transform=f"{code}:{name}", quick=True)
    item = find(subjects.transform, Guard("transform", code.resolve(), lambda: None))
    return observe_objects({"transform": item}, subjects, CLAIMED)


def trouble_of(seen: Seen) -> Trouble:
    """Returns the one trouble that is a failure, and checks that the check says so."""
    (trouble,) = [item for item in seen.contract.troubles if item.kind != "printed"]
    finding = found(contract.check(seen, CLAIMED))
    assert (finding.status, finding.p_value) == ("fail", 0.0)
    assert trouble.words in finding.detail
    assert trouble.where in finding.detail
    assert trouble.subject == "transform"
    return trouble


def test_an_exception_has_its_line(code: Path) -> None:
    seen = probe(f"{code}:raises")
    trouble = trouble_of(seen)
    assert trouble.kind == "raised"
    assert trouble.words == "ValueError: call twenty-one ? ?[31m"
    assert trouble.where == f"{code}:{line('raises')[0]}"
    assert seen.contract.calls >= 20
    assert "crops_of_a_user" not in sys.modules, "nothing of the user's is imported here"


def test_a_sleep_is_ended_and_placed(code: Path) -> None:
    begun = time.monotonic()
    trouble = trouble_of(probe(f"{code}:sleeps", LIMIT))
    assert (trouble.kind, trouble.words) == ("hung", "did not return within 3 seconds")
    assert trouble.where == f"{code}:{line('sleeps')[0]}"
    assert time.monotonic() - begun < 60


def test_a_busy_loop_is_ended_with_all_that_it_started(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child touches a file ten times a second for as long as it lives."""
    heart = tmp_path / "heart"
    monkeypatch.setenv("CROPAUDIT_HEART", str(heart))
    trouble = trouble_of(probe(f"{code}:spins", LIMIT))
    assert trouble.kind == "hung"
    assert trouble.where in [f"{code}:{i}" for i in line("spins")]
    last = heart.stat().st_mtime
    time.sleep(1.0)
    assert heart.stat().st_mtime == last, "nothing beats any more"


def test_exits_are_told(code: Path) -> None:
    trouble = trouble_of(probe_copy(code, "exits"))
    assert (trouble.kind, trouble.words) == ("raised", "SystemExit: enough")
    assert trouble.where == f"{code}:{line('exits')[0]}"


@pytest.mark.parametrize("name", ["dies", "dies_in_a_copy"])
def test_a_process_that_dies_is_told_with_its_file(code: Path, name: str) -> None:
    trouble = trouble_of(probe_copy(code, name) if name == "dies" else probe(f"{code}:{name}"))
    assert trouble.kind == "raised"
    assert "died" in trouble.words
    assert trouble.where.startswith(str(code))


def test_prints_are_noted_and_changed_inputs_fail(code: Path) -> None:
    seen = probe_copy(code, "odd")
    trouble = trouble_of(seen)
    assert (trouble.kind, trouble.words) == ("mutated", "changes its input in place")
    assert trouble.where.startswith(str(code))
    printed = [item for item in seen.contract.troubles if item.kind == "printed"]
    assert [item.where for item in printed] == [f"{code}:{line('odd')[0]}"]
    assert printed[0].words == "printed 'hello'"
    assert seen.draws is not None, "the rest is probed all the same"


def test_a_wrong_type_has_the_place_of_the_code(code: Path) -> None:
    trouble = trouble_of(probe_copy(code, "wrong"))
    assert trouble.kind == "type"
    assert "not (image, mask)" in trouble.words
    assert trouble.where.startswith(f"{code}:")


def test_a_file_that_cannot_be_imported_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import os\n\ndef f(:\n    pass\n")
    trouble = trouble_of(probe(f"{file}:f"))
    assert trouble.words.startswith("SyntaxError")
    assert trouble.where == f"{file}:3"


# What needs no process: how an object is found and made.


def in_file(folder: Path, text: str, name: str = "f") -> object:
    path = folder / f"user_{abs(hash((text, os.getpid())))}.py"
    path.write_text(text)
    return find(f"{path}:{name}", Guard("transform", path.resolve(), lambda: None))


@pytest.mark.parametrize(
    ("text", "words", "number"),
    [
        ("import os\nimport no_such_module_at_all\n", "ModuleNotFoundError", 2),
        ("x = 1\n\nx / 0\n", "ZeroDivisionError", 3),
        ("raise SystemExit(3)\n", "SystemExit: 3", 1),
        ("def f(:\n", "SyntaxError", 1),
    ],
)
def test_what_an_import_raises_has_its_line(
    tmp_path: Path, text: str, words: str, number: int
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        in_file(tmp_path, text)
    assert caught.value.trouble.where.endswith(f".py:{number}")


def test_missing_files_and_names_are_told(tmp_path: Path) -> None:
    guard = Guard("transform", None, lambda: None)
    with pytest.raises(UserError, match=r"no such file: .*nothing\.py"):
        find(f"{tmp_path}/nothing.py:f", guard)
    with pytest.raises(UserError, match="has no g; it has x, f"):
        in_file(tmp_path, "x = 1\ndef f(): pass\n", "g")
    with pytest.raises(UserError, match="ModuleNotFoundError"):
        find("no.such.package:f", guard)
    with pytest.raises(UserError, match=r"must be path/to/file\.py:Name"):
        find("nothing", guard)
    assert find("collections.abc:Callable", guard).__name__ == "Callable"
    assert find("os:path.join", guard) is os.path.join


@pytest.mark.parametrize(
    ("text", "is_factory"),
    [
        ("def f(): return 7", True),
        ("def f(side=100): return 7", True),
        ("class f:\n    def __call__(self, image, mask): return 7", True),
        ("def f(image, mask): return 7", False),
        ("f = lambda image, mask: 7", False),
        ("def f(*pair): return 7", False),
        ("def f(**named): return 7", False),
        ("def f(*, image, mask): return 7", False),
        ("class C:\n    def __call__(self, image, mask): return 7\nf = C()", False),
        ("import functools\nf = functools.partial(max, 3)", False),
    ],
)
def test_classes_and_factories_are_called_and_transforms_are_not(
    tmp_path: Path, text: str, is_factory: bool
) -> None:
    item = in_file(tmp_path, text)
    result = made(item, Guard("transform", None, lambda: None))
    assert (result is not item) == is_factory


def test_a_class_that_needs_arguments_is_told(tmp_path: Path) -> None:
    item = in_file(tmp_path, "class f:\n    def __init__(self, side): pass\n")
    with pytest.raises(UserError, match="missing 1 required positional argument: 'side'"):
        made(item, Guard("transform", None, lambda: None))
    assert where_of(item).endswith(".py:1")


def test_places_of_code(tmp_path: Path) -> None:
    text = "x = 1\n\nclass C:\n    def __call__(self, i, m):\n        return i, m\n\nf = C()\n"
    assert where_of(in_file(tmp_path, text)).endswith(".py:4")
    assert where_of(len) == ""
    assert where_of(json.loads) != ""
