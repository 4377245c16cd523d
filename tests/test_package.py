"""The package as it is shipped, the layers inside it, and what may not be in the repository."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cropaudit import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cropaudit"
LINKS = ("audit", "attacks", "training", "reports")
LAYERS = (
    *("accounting", "bounds", "training", "attacks", "audit", "reports"),
    *("bound_command", "bound_cli", "estimate_command", "estimate_cli"),
    *("certify_cli", "selftest_cli", "conform_command", "conform_cli", "dry_run_command"),
    *("train_command", "train_cli", "attack_command", "attack_cli", "cli", "__main__"),
)
SHARED = {
    "cropaudit",
    "cropaudit.errors",
    "cropaudit.faults",
    "cropaudit.yaml_text",
}  # below every layer
# A path that begins here, not one that only has such a folder on its way.
MACHINE = re.compile(rb"(?<![\w.})\]/*:-])/(?:work|tmp|root|home|Users)/")


def finished(command: Sequence[object], cwd: Path, **environment: str) -> str:
    done = attempted(command, cwd, **environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def attempted(
    command: Sequence[object], cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tracked() -> list[Path]:
    """Returns what git tracks, links not followed; skips without a repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository here")
    names = finished(["git", "ls-files", "-z"], ROOT).split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


# The wheel, built from a copy of the sources: a build writes beside them.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the source distribution, and from that the wheel, without a network."""
    copy = tmp_path_factory.mktemp("source") / "copy"
    skipped = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=skipped)
    out = tmp_path_factory.mktemp("dist")
    finished([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy], copy)
    (found,) = out.glob("*.whl")
    assert found.name == f"cropaudit-{__version__}-py3-none-any.whl"
    assert (out / f"cropaudit-{__version__}.tar.gz").is_file()
    return found


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed") / "target"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    finished([*pip, "--no-index", "--no-deps", "--target", folder, wheel], folder.parent)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = f"cropaudit-{__version__}.dist-info/"
    shipped = {name for name in names if not name.startswith(info)}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == sources
    assert "cropaudit/py.typed" in shipped
    assert "cropaudit/audit/presets/quickstart.yaml" in shipped
    assert {Path(name).suffix for name in shipped if "/templates/" in name} >= {".j2", ".css"}
    parts = [set(Path(name).parts[:-1]) | {Path(name).stem} for name in names]
    assert not [
        here for here in parts if "tests" in here or any(p.startswith("test_") for p in here)
    ]
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in names)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    info = f"cropaudit-{__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{info}METADATA").decode()
        entry = archive.read(f"{info}entry_points.txt").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "cropaudit = cropaudit.cli:main" in entry


def test_it_runs_from_outside_the_repository(target: Path, tmp_path: Path) -> None:
    where = "import cropaudit; print(cropaudit.__file__)"
    found = finished([sys.executable, "-c", where], tmp_path, PYTHONPATH=str(target))
    assert Path(found.strip()).resolve().is_relative_to(target.resolve())

    bound = [
        *(sys.executable, "-m", "cropaudit", "bound", "--image", "1000x1000", "--crop", "100x100"),
        *("--patch", "10x10", "--batch", 50, "--records", 1000, "--steps", 100, "--noise", 1),
        *("--delta", 1e-5, "--json"),
    ]
    result = json.loads(finished(bound, tmp_path, PYTHONPATH=str(target)))
    assert result["inclusion_probability"] == pytest.approx(0.0146354, rel=1e-5)
    assert 0 < result["epsilon"] < result["epsilon_without_crop"]


def test_presets_and_templates_are_found_when_installed(target: Path, tmp_path: Path) -> None:
    unknown = [sys.executable, "-m", "cropaudit", "audit", "nope"]
    done = attempted(unknown, tmp_path, PYTHONPATH=str(target))
    assert done.returncode == 2
    assert "quickstart, whitebox-small) or a YAML file" in done.stderr
    assert done.stderr.strip().endswith("got nope")
    assert len(done.stderr.strip().splitlines()) == 1

    load = (
        "from cropaudit.audit import config; from cropaudit.reports import html;"
        "print(config.__file__, html.__file__, config.load_config('quickstart', {}).name)"
    )
    *files, name = finished([sys.executable, "-c", load], tmp_path, PYTHONPATH=str(target)).split()
    assert name == "quickstart"
    assert all(Path(file).resolve().is_relative_to(target.resolve()) for file in files)
    schema = finished(
        [sys.executable, "-m", "cropaudit", "schema"], tmp_path, PYTHONPATH=str(target)
    )
    assert "verdict" in json.loads(schema)["properties"]


# The layers.


def modules() -> dict[str, Path]:
    """Returns every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, name: str) -> Iterator[str]:
    """Yields what a file imports, wherever in it: inside functions and for types alone as well."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                stem = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*stem, base] if base else stem)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inner(path: Path, name: str) -> set[str]:
    """Returns the modules of the package that a file imports."""
    known = modules()
    wanted = {item for item in imported(path, name) if item in known}
    # `from cropaudit.audit import games` names the package on the way to the module.
    return {w for w in wanted if not any(o.startswith(f"{w}.") for o in wanted)} - {name}


def layer(name: str) -> int:
    return LAYERS.index(name.split(".")[1])


def test_every_module_is_in_a_layer() -> None:
    names = {name.split(".")[1] for name in modules() if name not in SHARED}
    assert names == set(LAYERS)


@pytest.mark.parametrize("name", sorted(set(modules()) - SHARED))
def test_imports_go_down_only(name: str) -> None:
    upward = {
        item
        for item in inner(modules()[name], name)
        if item not in SHARED and layer(item) > layer(name)
    }
    assert not upward


def test_what_all_share_imports_nothing_above_it() -> None:
    for name in SHARED:
        assert inner(modules()[name], name) <= SHARED


def test_there_are_no_circles() -> None:
    imports = {name: inner(path, name) for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " > ".join([*way, name])
        if name not in done:
            for item in sorted(imports[name]):
                visit(item, (*way, name))
            done.add(name)

    for name in imports:
        visit(name, ())


def test_accounting_is_free_of_torch() -> None:
    heavy = {"torch", "torchvision", "opacus", "sklearn", "matplotlib", "PIL", "pydantic", "typer"}
    for name, path in modules().items():
        if name.startswith("cropaudit.accounting"):
            roots = {item.split(".")[0] for item in imported(path, name)}
            pictures = {"PIL"} if name == "cropaudit.accounting.image_sizes" else set()
            assert not roots & (heavy - pictures), name
    program = (
        "import sys, pkgutil, importlib, cropaudit.accounting as a;"
        "names = [f'{a.__name__}.{m.name}' for m in pkgutil.iter_modules(a.__path__)];"
        "list(map(importlib.import_module, names));"
        "print('torch' in sys.modules)"
    )
    assert finished([sys.executable, "-c", program], ROOT).strip() == "False"


def test_the_command_line_is_there_before_torch() -> None:
    """``--help`` and ``bound`` need not wait seconds for it."""
    program = (
        "import sys, cropaudit.cli; print({'torch', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    assert finished([sys.executable, "-c", program], ROOT).strip() == "set()"


# The repository.


@pytest.mark.parametrize("name", LINKS)
def test_the_top_level_leads_into_the_package(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    to = os.readlink(link)
    assert not os.path.isabs(to)
    assert Path(to) == Path("cropaudit") / name
    assert link.resolve() == PACKAGE / name
    assert link.is_dir()


def test_no_path_of_one_machine_is_tracked() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if MACHINE.search(line)
    ]
    assert not found


def test_the_check_for_paths_finds_them() -> None:
    """Else a wrong pattern would pass everything."""
    slash = "/"
    for text in (f"see {slash}work/main", f'"{slash}tmp/x"', f"={slash}root/x", f"({slash}home/x)"):
        assert MACHINE.search(text.encode())
    for text in ("a/work/b", "../tmp/x", "net/work/", "https://x.org/work/y"):
        assert not MACHINE.search(text.encode())


def test_only_what_is_small_is_tracked() -> None:
    large = {
        path.name: path.stat().st_size for path in tracked() if path.stat().st_size > 1_000_000
    }
    assert not large
