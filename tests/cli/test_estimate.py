"""``cropaudit estimate`` on scores that a user brings, through its real entry point."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimate_result import Estimate
from cropaudit.cli import main

Run = Callable[..., CompletedProcess[str]]

SCRIPT = Path(sys.executable).with_name("cropaudit")
MECHANISM = ("--mechanism", "poisson:noise=1,q=0.1,rho=0.3,steps=20")
CLAIMED = PoissonPatch(1.0, 0.1, 0.3, 20)  # its epsilon is 1.54 at 1e-5, that of its game 1.47
LOUD = PoissonPatch(0.5, 0.1, 0.3, 20)


@cache
def games(mechanism: PoissonPatch, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns summed log likelihood ratios of a mechanism's pair, and their bits, in any order."""
    rng = np.random.default_rng(seed)
    pair, steps = mechanism.pair(), mechanism.compositions
    worlds = [
        pair.log_ratio(x).reshape(pairs, steps).sum(axis=1) for x in pair.sample(pairs * steps, rng)
    ]
    order = rng.permutation(2 * pairs)
    return np.concatenate(worlds)[order], np.repeat([1, 0], pairs)[order]


def write_csv(path: Path, scores: np.ndarray, member: np.ndarray, **others: object) -> Path:
    """Writes the columns score and member, and further ones by name."""
    columns = {"score": np.asarray(scores, dtype=float).tolist(), "member": member, **others}
    rows = zip(*columns.values(), strict=True)  # type: ignore[call-overload]
    lines = [",".join(repr(x) if isinstance(x, float) else f"{x}" for x in row) for row in rows]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


def gaussian_games(size: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = (rng.random(size) < 0.5).astype(int)
    return rng.normal(shift * member), member


def fed(text: str | bytes, *options: object) -> CompletedProcess[str]:
    """Runs ``cropaudit estimate -`` with a text on its standard input."""
    done = subprocess.run(
        [str(SCRIPT), "estimate", "-", *map(str, options)],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
        check=False,
    )
    return CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def answered(done: CompletedProcess[str], code: int = 0) -> Estimate:
    assert (done.returncode, done.stderr) == (code, "")
    return Estimate.model_validate_json(done.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``cropaudit ARGS`` in this process, through `main`: no second start of Python."""

    def run(*args: object) -> CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["cropaudit", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        assert isinstance(code, int)
        return CompletedProcess(sys.argv, code, *capsys.readouterr())

    return run


@pytest.fixture
def gaussian(tmp_path: Path) -> Path:
    """Scores of a Gaussian mechanism with mu = 2: epsilon at 1e-5 is 10.3."""
    return write_csv(tmp_path / "scores.csv", *gaussian_games(2000, 2.0, 1))


# What comes out.


def test_csv_to_bounds(cropaudit: Run, gaussian: Path) -> None:
    found = answered(cropaudit("estimate", gaussian, "--json"))
    (attack,) = found.attacks
    bounds = {item.estimator: item for item in attack.bounds}
    assert attack.bounds[0].estimator == "joint-test", "decides where no mechanism is stated"
    assert 2.5 < bounds["joint-test"].epsilon < 10.3
    assert 2.0 < bounds["clopper-pearson"].epsilon < bounds["joint-test"].epsilon
    assert bounds["e-process"].validity == "exact"
    assert {item.confidence for item in attack.bounds} == {0.95}
    assert attack.skipped == (
        "mechanism-f-dp: needs --mechanism",
        "rank-sum-f-dp: needs --mechanism",
    )
    assert (found.claim, found.contradicted, found.claimed_roc) == (None, False, None)
    assert found.summit.epsilon == bounds["joint-test"].epsilon


def test_table_says_it_in_words(cropaudit: Run, gaussian: Path) -> None:
    done = cropaudit("estimate", gaussian, "--claim", 1)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    for words in (
        "joint-test *",
        "Claim: epsilon <= 1.00, as stated",
        "Result: CLAIM CONTRADICTED",
        "this assumes nothing about what ran",
        "joint-test assumes: independent trials in each world",
        "credible: a posterior probability",
        "Skipped: rank-sum-f-dp: needs --mechanism",
        "a lower bound never certifies epsilon",
    ):
        assert words in text
    assert "\x1b" not in done.stdout


def test_a_claim_that_is_not_contradicted(here: Run, gaussian: Path) -> None:
    done = here("estimate", gaussian, "--claim", 4.5)
    assert done.returncode == 0
    assert "Result: claim not contradicted; the scores show" in done.stdout
    deaf = " ".join(here("estimate", gaussian, "--claim", 11).stdout.split())
    assert "2,000 trials could not contradict 11.0 by this test even without an error" in deaf


def test_arrays_and_a_mechanism(cropaudit: Run, tmp_path: Path) -> None:
    """At q = rho = 1, sigma 1, one step: the Gaussian mechanism with mu = 2."""
    generator = np.random.default_rng(2)
    np.save(tmp_path / "m.npy", generator.normal(2.0, size=3000))
    np.save(tmp_path / "n.npy", generator.normal(0.0, size=3000))
    files = ("--member", tmp_path / "m.npy", "--nonmember", tmp_path / "n.npy")
    mechanism = ("--mechanism", "fixed:noise=1,q=1,rho=1,steps=1")
    found = answered(cropaudit("estimate", *files, *mechanism, "--threshold", "1.0", "--json"))
    bounds = {item.estimator: item for item in found.attacks[0].bounds}
    family = bounds["mechanism-f-dp"]
    assert family.validity == "model-based"
    assert 0.85 * 10.28 < family.epsilon < 10.3
    assert "given: 1" in family.note
    assert bounds["clopper-pearson"].epsilon < family.epsilon


def test_a_mechanism_that_is_too_loud(cropaudit: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "loud.csv", *games(LOUD, 500, 1))
    plot = tmp_path / "plot.svg"
    done = cropaudit("estimate", path, *MECHANISM, "--order", "forward", "--plot", plot)
    assert (done.returncode, done.stderr) == (1, "")
    assert "rank-sum-f-dp *" in done.stdout
    assert "noise multiplier is at most" in done.stdout
    assert "the claim says 1: contradicted" in done.stdout
    assert f"wrote {plot}" in done.stdout.replace("\n", "")
    assert "the claim of ε ≤ 1.54 is contradicted" in plot.read_text()


def test_a_mechanism_that_is_as_stated(cropaudit: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "honest.csv", *games(CLAIMED, 500, 2))
    found = answered(cropaudit("estimate", path, *MECHANISM, "--json"))
    assert found.attacks[0].bounds[0].estimator == "mechanism-f-dp"
    assert 0 < found.summit.epsilon < 1.54
    assert found.claim == pytest.approx(1.54, rel=0.01)
    assert not any(item.contradicts for item in found.attacks[0].inversions)


def test_long_and_wide_tables_say_the_same(cropaudit: Run, tmp_path: Path) -> None:
    loud, member = gaussian_games(600, 2.0, 3)
    dull = np.random.default_rng(4).normal(size=600)
    long = write_csv(
        tmp_path / "long.csv",
        np.concatenate([loud, dull]),
        np.tile(member, 2),
        attack=["loud"] * 600 + ["dull"] * 600,
    )
    wide = write_csv(
        tmp_path / "wide.csv", loud, member, score_loud=loud.tolist(), score_dull=dull.tolist()
    )
    wide.write_text(wide.read_text().replace("score,", "member_score,", 1))  # an unknown column
    options = ("--claim", 1, "--seed", 1, "--json")
    found = answered(cropaudit("estimate", long, *options), code=1)
    assert found == answered(cropaudit("estimate", wide, *options), code=1)
    assert [attack.attack for attack in found.attacks] == ["loud", "dull"]
    assert found.summit.attack == "loud"
    assert found.summit.epsilon < found.attacks[0].bounds[0].epsilon, "corrected for two"
    assert found.summit.correction == "corrected for 2 attacks"
    text = cropaudit("estimate", wide, "--claim", 1).stdout
    assert "corrected for 2 attacks (Holm)" in text


def test_one_loud_position_contradicts(cropaudit: Run, tmp_path: Path) -> None:
    """Over all places the leak is diluted; at its own place it is plain."""
    scores, member = gaussian_games(2000, 4.0, 5)
    place = np.arange(2000) % 8
    noise = np.random.default_rng(6).normal(scale=20.0, size=2000)
    scores = np.where(place == 7, scores, noise)
    path = write_csv(tmp_path / "places.csv", scores, member, position=[f"p{p}" for p in place])
    done = cropaudit("estimate", path, "--claim", 1)
    assert done.returncode == 1
    assert "position p7" in done.stdout
    found = answered(cropaudit("estimate", path, "--claim", 1, "--json"), code=1)
    (attack,) = found.attacks
    assert attack.p_value is not None
    assert attack.p_value > 0.05
    assert found.summit.position == "p7"
    assert 1 < found.summit.epsilon == max(item.simultaneous for item in attack.positions)
    assert found.summit.correction == "corrected for one attack and all positions"


def test_standard_input_is_read_as_a_file(cropaudit: Run, gaussian: Path) -> None:
    text = gaussian.read_text()
    found = answered(cropaudit("estimate", gaussian, "--seed", 1, "--json"))
    assert answered(fed(text, "--seed", 1, "--json")) == found
    marked = b"\xef\xbb\xbf" + text.encode()
    assert answered(fed(marked, "--seed", 1, "--json")) == found, "a mark comes first"


def test_canaries_of_one_run(cropaudit: Run, gaussian: Path, tmp_path: Path) -> None:
    found = answered(cropaudit("estimate", gaussian, "--one-run", "--seed", 1, "--json"))
    assert found.trials == "one-run"
    assert [bound.estimator for bound in found.attacks[0].bounds] == ["one-run"]
    assert 1.0 < found.summit.epsilon < 10.3
    asked = ("--trials", "one-run", "--seed", 1, "--json")
    assert found == answered(cropaudit("estimate", gaussian, *asked))
    unfair = write_csv(tmp_path / "unfair.csv", np.arange(1000.0), np.arange(1000) // 900)
    done = cropaudit("estimate", unfair, "--one-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "worlds must be drawn by fair coins in one run" in done.stderr


def test_low_scores_are_tested_where_asked(here: Run, tmp_path: Path) -> None:
    scores, member = gaussian_games(600, 2.0, 7)
    path = write_csv(tmp_path / "low.csv", -scores, member)
    assert "members score lower here than nonmembers" in here("estimate", path).stdout
    given = here("estimate", path, "--threshold", -1, "--two-sided", "--json")
    assert answered(given).summit.epsilon > 1
    ranks = answered(here("estimate", path, "--rates", "0.1", "--two-sided", "--json"))
    assert "either sign" in ranks.attacks[0].bounds[0].note
    assert ranks.summit.epsilon > 1
    assert answered(here("estimate", path, "--rates", "0.1", "--json")).summit.epsilon == 0


def test_thresholds_come_from_where_it_is_said(here: Run, gaussian: Path) -> None:
    for options, words in (
        (("--split",), "learned on 50%"),
        (("--rates", "0.3,0.1"), "fixed rank at rates 0.3, 0.1"),
        (("--threshold", "1"), "given: 1"),
    ):
        found = answered(here("estimate", gaussian, *options, "--json"))
        assert words in found.attacks[0].bounds[0].note
        assert found.summit.epsilon > 1


def test_the_seed_orders_rows_and_does_nothing_else(here: Run, tmp_path: Path) -> None:
    """Rounded scores have ties, which no seed breaks; one that is drawn is recorded."""
    scores, member = gaussian_games(800, 1.0, 8)
    path = write_csv(tmp_path / "ties.csv", np.round(scores), member)
    runs = [answered(here("estimate", path, "--seed", seed, "--json")) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    one, other = (run.attacks[0].bounds for run in runs[1:])
    assert [b for b in one if b.estimator != "e-process"] == [
        b for b in other if b.estimator != "e-process"
    ]
    fresh = answered(here("estimate", path, "--json"))
    assert answered(here("estimate", path, "--seed", fresh.seed, "--json")) == fresh


@pytest.mark.parametrize("falling", [False, True])
def test_a_file_sorted_by_score_says_no_more(here: Run, tmp_path: Path, falling: bool) -> None:
    """2,000 + 1,000 null scores, sorted, gave 4.12; in a random order 0, at any of these seeds."""
    member, scores = np.arange(3000) < 2000, np.random.default_rng(1).normal(size=3000)
    order = np.argsort(-scores if falling else scores)
    path = write_csv(tmp_path / "sorted.csv", scores[order], member[order].astype(int))
    for seed in (0, 1):
        found = answered(here("estimate", path, "--seed", seed, "--json"))
        bounds = {item.estimator: item for item in found.attacks[0].bounds}
        assert bounds["e-process"].epsilon == 0


def test_sorted_games_are_not_followed() -> None:
    """Within 120 games they contradicted a claim of 0.5."""
    member, scores = np.arange(3000) < 2000, np.random.default_rng(1).normal(size=3000)
    order = np.argsort(-scores)
    done = fed(lines(scores[order], member[order].astype(int)), "--follow", "--claim", 0.5)
    assert done.returncode == 2
    assert "games must be in an order that knows nothing of their scores" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Result: withheld" in done.stdout


# Scores that are no scores, or hardly any.


CASES = {
    "constant": (np.ones(200), (0, 0)),
    "noise": (np.random.default_rng(3).normal(size=200), (0, 0)),
    "ten": (np.array([9.0, 0, 8, 1, 7, 2, 6, 3, 5, 4]), (0, 1)),
    "ties": (np.arange(400) % 3 + 0.0, (0, 0)),
    "parted": ((np.arange(400) % 2 == 0) * 1.0, (3, 6)),
    "infinities": (np.where(np.arange(400) % 2 == 0, np.inf, -np.inf), (3, 6)),
    "huge": (np.where(np.arange(400) % 2 == 0, 1e308, -1e308), (3, 6)),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_scores_get_a_right_answer(here: Run, tmp_path: Path, name: str) -> None:
    scores, (low, high) = CASES[name]
    path = write_csv(tmp_path / "odd.csv", scores, 1 - np.arange(len(scores)) % 2)
    found = answered(here("estimate", path, "--json"))
    assert low <= found.summit.epsilon <= high


def copied(path: Path, times: int) -> Path:
    """Writes sixty null scores, each so many times."""
    scores, member = gaussian_games(60, 0.0, 41)
    return write_csv(path, np.tile(scores, times), np.tile(member, times))


def test_copied_rows_are_refused_in_every_form(here: Run, tmp_path: Path) -> None:
    path = copied(tmp_path / "copied.csv", 10)
    for options in ((), ("--one-run",), ("--claim", 1), (*MECHANISM, "--one-run")):
        done = here("estimate", path, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert "scores must be independent trials, got each of 60 rows 10 times" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    scores, member = gaussian_games(60, 0.0, 41)
    for name, bit in (("m.npy", 1), ("n.npy", 0)):
        np.save(tmp_path / name, np.tile(scores[member == bit], 10))
    arrays = ("--member", tmp_path / "m.npy", "--nonmember", tmp_path / "n.npy")
    assert here("estimate", *arrays).returncode == 2
    assert here("estimate", *arrays, "--repeats-are-independent").returncode == 0
    assert here("estimate", path, "--repeats-are-independent").returncode == 0
    assert here("estimate", copied(tmp_path / "once.csv", 1)).returncode == 0


def test_columns_by_other_names(here: Run, tmp_path: Path) -> None:
    scores, member = gaussian_games(300, 2.0, 7)
    plain = write_csv(tmp_path / "plain.csv", scores, member)
    found = answered(here("estimate", plain, "--seed", 1, "--json"))
    path = tmp_path / "other.csv"
    path.write_text(plain.read_text().replace("score,member", "Gain;Trained On").replace(",", ";"))
    done = here("estimate", path)
    assert done.returncode == 2
    assert "got gain, trained_on" in done.stderr
    named = ("--score-column", "gain", "--member-column", "Trained On")
    assert answered(here("estimate", path, *named, "--seed", 1, "--json")) == found
    np.savez(tmp_path / "x.npz", scores=scores[:, None], keep=member.astype(bool))
    assert answered(here("estimate", tmp_path / "x.npz", "--seed", 1, "--json")) == found
    refusals = {
        ("--member", "m.npy", "--nonmember", "n.npy", "--score-column", "a"): "a table of scores",
        ("-", "--follow", "--claim", "1", "--member-column", "a"): "scores that are not followed",
    }
    for options, words in refusals.items():
        assert f"must be left out, or given with {words}" in here("estimate", *options).stderr


BAD_FILES = {
    "nan": ("score,member\n1.0,1\nnan,0\n", "line 3 must be free of NaN"),
    "text": ("score,member\n1.0,1\nhigh,0\n", "line 3 must be a number and 0 or 1"),
    "bit": ("score,member\n1.0,2\n", "line 2 must be a number and 0 or 1"),
    "columns": ("a,b\n1,2\n", "must have the columns score and member"),
    "empty": ("", "must have the columns score and member"),
    "one class": ("score,member\n1,1\n2,1\n", "nonmember scores must be a non-empty list"),
    "places": ("score,member,position\n1,1,a\n2,0,\n", "a position in every row, or in none"),
    "one class at a place": (
        "score,member,position\n1,1,a\n2,0,a\n1,1,b\n2,1,b\n",
        "position b must have scores of both worlds",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_line_and_exit_2(here: Run, tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = here("estimate", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_pickles_are_refused(here: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "fine.npy", np.zeros(5))
    done = here("estimate", "--member", tmp_path / "evil.npy", "--nonmember", tmp_path / "fine.npy")
    assert done.returncode == 2
    assert "must be a .npy file of numbers" in done.stderr


# Options. Those that are refused at once need no process of their own.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "one CSV, or as --member and --nonmember together, got none"),
        (["S", "--member", "m.npy"], "or as --member and --nonmember together, got S and member"),
        (["--member", "m.npy"], "--member and --nonmember together, got member"),
        (["S", "--delta", "1.5"], "delta must be in [0, 1), got 1.5"),
        (["S", "--delta", "nan"], "delta must be in [0, 1), got nan"),
        (["S", "--confidence", "1"], "confidence must be in (0, 1), got 1.0"),
        (["S", "--claim", "-1"], "claim must be at least 0 and finite, got -1.0"),
        (["S", "--claim", "inf"], "claim must be at least 0 and finite, got inf"),
        (["S", "--seed", "-1"], "seed must be at least 0, got -1"),
        (["S", "--mechanism", "poisson:noise=1"], "mechanism must be SAMPLER:noise=S"),
        (["S", "--mechanism", "poisson:noise=0,q=1,rho=1,steps=1"], "noise multiplier must be"),
        (["S", *MECHANISM, "--delta", "0"], "delta must be in (0, 1) with a mechanism, got 0.0"),
        (["S", "--order", "forward"], "order must be left out, or given with a --mechanism"),
        (["S", "--threshold", "nan"], "threshold must be finite"),
        (["S", "--threshold", "1", "--split"], "given one at most, got threshold and split"),
        (["S", "--rates", "0,2"], "rates must be in (0, 1)"),
        (["S", "--rates", "few"], "rates must be numbers as 0.3,0.1, got few"),
        (["S", "--split", "--two-sided"], "two-sided must be left out"),
        (["S", "--one-run", "--split"], "split must be left out, or given with independent trials"),
        (["S", "--one-run", "--trials", "independent"], "trials must be one-run with --one-run"),
        (["S", "--plot", "x.gif"], "plot must be a file that ends in .svg, .png or .pdf"),
        (["S", "--plot", "no/x.svg"], "plot must be in an existing folder"),
        (["S", "--within", "0.5"], "within must be left out, or given with --follow"),
        (["S", "--follow", "--claim", "1"], "scores must be - (standard input) to follow, got S"),
        (["-", "--follow"], "follow must be given with --claim or --mechanism, got neither"),
        (["-", "--follow", "--claim", "1", "--split"], "split must be left out"),
        (["-", "--follow", "--claim", "1", "--seed", "1"], "seed must be left out"),
        (["-", "--follow", "--claim", "1", "--within", "2"], "within must be in (0, 1], got 2.0"),
        (["-", "--follow", "--claim", "0"], "claimed epsilon must be positive and finite"),
        (["no.csv"], "scores no.csv must be an existing CSV file"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(here: Run, options: list[str], message: str) -> None:
    done = here("estimate", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_says_what_the_exit_code_means(cropaudit: Run) -> None:
    done = cropaudit("estimate", "--help")
    assert done.returncode == 0
    assert "Exit code 1 if a claim or mechanism was stated" in " ".join(done.stdout.split())
    for panel in ("What was scored", "What is claimed", "Where scores are cut"):
        assert panel in done.stdout


# Pictures.


def test_nothing_is_overwritten_without_force(cropaudit: Run, gaussian: Path) -> None:
    path = gaussian.with_name("plot.png")
    path.write_text("mine")
    done = cropaudit("estimate", gaussian, "--plot", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "plot must be a new file, or give --force" in done.stderr
    assert path.read_text() == "mine"
    assert cropaudit("estimate", gaussian, "--plot", path, "--force", "--json").returncode == 0
    with Image.open(path) as picture:
        assert picture.size[0] > 800
        assert "ROC on logarithmic axes" in picture.info["Description"]


# Games that are followed while they run.


def lines(scores: np.ndarray, member: np.ndarray) -> str:
    return "".join(f"{s!r},{m}\n" for s, m in zip(scores.tolist(), member, strict=True))


def test_following_stops_at_a_violation(tmp_path: Path) -> None:
    plot = tmp_path / "games.svg"
    options = ("--follow", *MECHANISM, "--order", "forward", "--plot", plot)
    # What follows the decision is not even read: it would be refused.
    done = fed(lines(*games(LOUD, 2000, 3)) + "no,game\n", *options)
    assert (done.returncode, done.stderr) == (1, "")
    *_, result, assumes, tested, note, wrote = done.stdout.splitlines()
    assert result == "Result: CLAIM CONTRADICTED; this assumes nothing about what ran"
    assert assumes.startswith("e-process assumes: independent games")
    assert tested.startswith("The order of the games is tested as well")
    assert note == "Note: a lower bound never certifies epsilon"
    assert wrote == f"wrote {plot}"
    assert "claim contradicted" in plot.read_text()


def test_following_says_what_is_known_at_the_end() -> None:
    done = fed(lines(*gaussian_games(600, 1.0, 9)), "--follow", "--claim", 5)
    assert done.returncode == 0
    assert "600 games: epsilon >= " in done.stdout
    assert "Result: undecided; the claim is not contradicted" in done.stdout


def test_games_under_another_heading_are_followed() -> None:
    scores, member = gaussian_games(200, 1.0, 9)
    plain = fed(lines(scores, member), "--follow", "--claim", 5, "--json")
    words = np.where(member == 1, "yes", "no")
    rows = "".join(f"{w};{s!r}\n" for s, w in zip(scores.tolist(), words, strict=True))
    other = fed("Is Member;Attack-Score\n" + rows, "--follow", "--claim", 5, "--json")
    assert (other.returncode, other.stdout, other.stderr) == (0, plain.stdout, "")


def test_following_stops_close_to_the_claim() -> None:
    scores, member = gaussian_games(4000, 2.0, 10)
    text = "member,score\n" + "".join(
        f"{m},{s!r}\n" for s, m in zip(scores.tolist(), member, strict=True)
    )
    done = fed(text, "--follow", "--claim", 2, "--within", 0.5, "--json")
    assert done.returncode == 0
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert [state["final"] for state in states] == [False] * (len(states) - 1) + [True]
    epsilons = [state["epsilon"] for state in states]
    assert epsilons == sorted(epsilons)
    last = states[-1]
    assert (last["decision"], last["claim"], last["delta"]) == ("close", 2.0, 1e-5)
    assert 1.0 <= last["epsilon"] < 2
    assert 0.05 < last["p_value"] <= 1
    assert last["games"] < 4000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "scores from standard input must be at least one game, got none"),
        ("score,member\n", "must be at least one game"),
        ("1,1\nnan,0\n", "line 2 must be SCORE,MEMBER: a number and 0 or 1, got nan,0"),
        ("1,1\n1,2\n", "line 2 must be SCORE,MEMBER"),
        ("1,1\n\n1,0,0\n", "line 3 must be SCORE,MEMBER"),
        (b"1,1\n0,0\n\xff,1\n", "it must be in UTF-8"),
        (b"1,1\n" + b"1" * 20_000 + b",0\n", "line 2 must be below 10000 characters"),
        ("1,1\n2,-1\n3,0\n", "line 3 must be SCORE,MEMBER"),
        ("".join(f"{i**0.5!r},{i % 2}\n" for i in range(2, 12)) * 2, "games must be independent"),
    ],
)
def test_bad_games_are_one_line_and_exit_2(text: str | bytes, message: str) -> None:
    done = fed(text, "--follow", "--claim", 1, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_is_no_contradiction() -> None:
    command = [str(SCRIPT), "estimate", "-", "--follow", "--claim", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("Claim: ")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 4
    assert "interrupted" in err
