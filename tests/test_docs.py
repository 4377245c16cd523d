"""The commands that the documents show run, and the numbers that they quote are the package's."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from cropaudit.accounting.accountant import epsilon_at, pair_curve
from cropaudit.accounting.bound import PatchBound, Pipeline, bound
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.accounting.names import SamplerName

ROOT = Path(__file__).resolve().parents[1]
THEORY = ROOT / "docs" / "theory.md"
QUICK = {"bound", "certify", "estimate", "schema"}
PLAIN = {"--help", "-h", "--version"}


def documents() -> list[Path]:
    """Returns the documents that exist."""
    return [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if path.exists()]


def commands(document: Path) -> list[tuple[str, ...]]:
    """Returns the quick ``cropaudit`` commands of the fenced console and shell blocks."""
    text = document.read_text(encoding="utf-8")
    fences = re.findall(r"^[ \t]*```(?:console|sh)\b[^\n]*\n(.*?)^[ \t]*```", text, re.S | re.M)
    found = []
    for line in "\n".join(fences).replace("\\\n", " ").splitlines():
        words = _words(line.strip().removeprefix("$ "))
        if words and Path(words[0]).name == "cropaudit" and _is_quick(words[1:]):
            found.append(tuple(words[1:]))
    return found


def _words(line: str) -> list[str]:
    """Returns a line's words up to a pipe, a redirection or the end of its first command."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # output that holds a lone quote
        return []
    ends = [at for at, word in enumerate(words) if set(word) <= set("|&;<>()")]
    return words[: ends[0]] if ends else words


def _is_quick(arguments: list[str]) -> bool:
    return bool(arguments) and (arguments[0] in QUICK or bool(PLAIN & set(arguments)))


def every_command() -> list[object]:
    return [
        pytest.param(words, id=f"{path.name}: {shlex.join(words)[:70]}")
        for path in documents()
        for words in commands(path)
    ]


def test_theory_shows_commands() -> None:
    """So that the test below is not vacuous."""
    assert len(commands(THEORY)) >= 4


def lay_scores(folder: Path, arguments: tuple[str, ...]) -> None:
    """Writes the files that a command names: 300 scores of each world, or 3000 logged steps.

    The scores tell little, so that no claim is contradicted and the command leaves with 0.
    """
    rng = np.random.default_rng(0)
    worlds = {"member": rng.normal(0.2, 1, 300), "nonmember": rng.normal(0, 1, 300)}
    included = rng.random(3000) < 0.1
    met = included & (rng.random(3000) < 0.3)
    logged = [
        f"{at},{int(a)},{int(b)}" for at, (a, b) in enumerate(zip(included, met, strict=True))
    ]
    for word in arguments:
        path = folder / word
        if Path(word).is_absolute() or path.exists():
            continue
        if path.name == "steps.csv":
            path.write_text("\n".join(["step,included,met", *logged, ""]), encoding="utf-8")
        elif path.suffix == ".csv":
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [f"{x!r},{int(k == 'member')}" for k, v in worlds.items() for x in v.tolist()]
            path.write_text("\n".join(["score,member", *rows, ""]), encoding="utf-8")
        elif path.suffix == ".npy":
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, worlds["nonmember" if "non" in path.name else "member"])


@pytest.mark.parametrize("arguments", every_command())
def test_command_runs(arguments: tuple[str, ...], tmp_path: Path) -> None:
    if arguments[0] in ("estimate", "certify"):
        lay_scores(tmp_path, arguments)
    script = Path(sys.executable).with_name("cropaudit")
    done = subprocess.run(
        [str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_parser_reads_what_documents_write(tmp_path: Path) -> None:
    text = (
        "```console\n$ cropaudit bound --noise 1 \\\n    --delta 1e-5 | head\nepsilon 3 'tis\n```\n"
        "```sh\n.venv/bin/cropaudit --help  # shows help\ncropaudit audit quickstart\n```\n"
        "```python\ncropaudit bound\n```\ncropaudit schema\n"
    )
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    expected = [("bound", "--noise", "1", "--delta", "1e-5"), ("--help",)]
    assert commands(path) == expected


def table(heading: str) -> dict[str, list[str]]:
    """Returns the first table after a heading of the theory: first cell to the other cells."""
    text = THEORY.read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, heading
    lines = rest.partition("\n## ")[0].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    rows: dict[str, list[str]] = {}
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip().strip("*`") for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    assert rows, heading
    return rows


def agrees(quoted: str, value: float) -> bool:
    """Whether a quoted number is the value, rounded to the digits that are shown."""
    shown = len(quoted.partition(".")[2])
    return abs(float(quoted) - value) <= 0.5 * 10.0**-shown * (1 + 1e-6)


def rounded_up(quoted: str, value: float) -> bool:
    """Whether a quoted upper bound is the value, rounded up to the digits that are shown."""
    shown = 10.0 ** -len(quoted.partition(".")[2])
    return value <= float(quoted) * (1 + 1e-12) <= value + shown


@lru_cache
def street(sampler: SamplerName) -> PatchBound:
    pipeline = Pipeline(
        images=(Size(1024, 2048),),
        crop=Crop(Size(505, 505)),
        patch=Rectangle(Size(10, 10)),
        sampler=sampler,
        batch=200,
        records=2975,
        epochs=100,
    )
    return bound(pipeline, 1 / 2975, noise_multiplier=1.0)


def shortcut(name: str, sampler: SamplerName = "poisson") -> float:
    return next(item.epsilon for item in street(sampler).shortcuts if item.name == name)


STREETS: dict[str, Callable[[], float]] = {
    "shuffled, no crop": lambda: street("shuffle").epsilon_without_crop,
    "shuffled with crop": lambda: street("shuffle").epsilon,
    "fixed size, no crop": lambda: street("fixed").epsilon_without_crop,
    "fixed size with crop": lambda: street("fixed").epsilon,
    "Poisson, no crop": lambda: street("poisson").epsilon_without_crop,
    "Poisson with crop": lambda: street("poisson").epsilon,
    "replace-one` at rate $q\\rho$": lambda: shortcut("replace-one"),
    "sensitivity-c": lambda: shortcut("sensitivity-c"),
    "add-remove` at rate $q\\rho$": lambda: shortcut("add-remove"),
    "poisson-accounting` of batches that are not Poisson": lambda: shortcut(
        "poisson-accounting", "fixed"
    ),
}


def test_bound_table_is_what_the_package_computes() -> None:
    rows = table("Wrong short cuts")
    assert set(rows) == set(STREETS)
    for name, cells in rows.items():
        assert rounded_up(cells[0], STREETS[name]()), name
        valid = cells[1] == "yes"
        assert valid == ("with crop" in name or "no crop" in name), name


CURVES: dict[str, PatchMechanism] = {
    "Poisson, 100 steps": PoissonPatch(1.0, 0.1, 0.3, 100),
    "fixed size, 100 steps": FixedSizePatch(1.0, 0.1, 0.3, 100),
    "fixed size, 1000 steps": FixedSizePatch(1.0, 0.1, 0.3, 1000),
    "shuffled, 100 steps (10 participations)": ShufflePatch(1.0, 0.1, 0.3, 100),
}


def game(mechanism: PatchMechanism) -> float:
    return pair_curve(mechanism.pair(), mechanism.compositions, 1e-5).epsilon(1e-5)


def test_table_of_both_curves_is_what_the_package_computes() -> None:
    rows = table("Composition: two curves")
    assert set(rows) == set(CURVES)
    for name, (claimed, played) in rows.items():
        assert rounded_up(claimed, epsilon_at(CURVES[name], 1e-5)), name
        assert rounded_up(played, game(CURVES[name])), name


def test_inclusion_table_is_what_the_package_computes() -> None:
    rows = {
        (size, *cells[:3]): cells[3]
        for size, *cells in (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in THEORY.read_text(encoding="utf-8").splitlines()
            if re.match(r"\| \d+x\d+ \|", line)
        )
    }
    assert len(rows) >= 4
    for (size, crop, patch, padding), quoted in rows.items():
        window = Crop(Size.parse(crop), int(padding))
        found = inclusion(Size.parse(size), window, Rectangle(Size.parse(patch)))
        assert agrees(quoted, found.probability), size


def test_replace_one_is_exceeded_by_the_game() -> None:
    text = " ".join(THEORY.read_text(encoding="utf-8").split())
    quoted = re.search(r"this says ([\d.]+), and the game's pair attains ([\d.]+)\.", text)
    assert quoted is not None
    assert agrees(quoted[1], epsilon_at(ReplaceOneShortcut(1.0, 0.3, 0.3, 100), 1e-5))
    assert agrees(quoted[2], game(PoissonPatch(1.0, 0.3, 0.3, 100)))
    assert float(quoted[1]) < float(quoted[2])


def test_python_of_the_theory_prints_the_first_row(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", THEORY.read_text(encoding="utf-8"), re.S | re.M)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/theory.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    quoted = table("Composition: two curves")["Poisson, 100 steps"]
    assert all(rounded_up(q, float(p)) for q, p in zip(quoted, printed, strict=True))


def test_study_table_holds_its_levels() -> None:
    """The coverage table of the last study: no estimator errs more often than it may."""
    text = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
    study = text.partition("<!-- study: begin -->")[2].partition("<!-- study: end -->")[0]
    rows = re.findall(r"\| ([\d.]+)% to ([\d.]+)% \| ([\d.]+)% \|", study)
    assert len(rows) >= 30
    for low, _, nominal in rows:
        assert float(low) <= float(nominal)
