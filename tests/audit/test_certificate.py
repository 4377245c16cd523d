"""The component certificate: exact limits, its level over many seeds, faults it must find."""

import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2, kstest, ttest_1samp

from cropaudit.accounting.accountant import bracket, epsilon_at
from cropaudit.accounting.mechanisms import (
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.certificate import Certificate, certificate, certify
from cropaudit.audit.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.errors import InputError

LEVEL, DELTA = 0.05, 1e-5
CLAIM = PoissonPatch(1.0, 0.1, 0.3, 100)


def noise(sigma: float = 1.0, size: int | tuple[int, int] = 2000, seed: int = 0) -> NoiseLog:
    return NoiseLog.of(np.random.default_rng(seed).normal(0, sigma, size))


def apart(q: float, rho: float, steps: int, windows: int, rng: np.random.Generator) -> InclusionLog:
    records = Tally(int(rng.binomial(steps, q)), steps)
    return InclusionLog(records, Tally(int(rng.binomial(windows, rho)), windows))


def certified(
    claim: PatchMechanism = CLAIM,
    noise: NoiseLog | None = None,
    inclusion: InclusionLog | None = None,
) -> Certificate:
    return certificate(claim, DELTA, LEVEL, noise=noise, inclusion=inclusion)


@pytest.mark.parametrize("size", [3, 10, 2000, (50, 40)])
def test_noise_limits_are_the_textbook_ones(size: int | tuple[int, int]) -> None:
    log = noise(1.3, size)
    variance, freedom = np.var(log.samples, ddof=1), log.samples.size - 1
    for level in (0.2, 0.01):
        low, estimate, high = log.limits(level)
        assert estimate == pytest.approx(math.sqrt(variance), rel=1e-12)
        assert low == pytest.approx(math.sqrt(freedom * variance / chi2.isf(level, freedom)))
        assert high == pytest.approx(math.sqrt(freedom * variance / chi2.ppf(level, freedom)))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.2, 0.01]))
def test_rate_limits_are_the_textbook_ones(trials: int, share: float, level: float) -> None:
    count = round(share * trials)
    low, estimate, high = Tally(count, trials).limits(level)
    expected = binomtest(count, trials).proportion_ci(1 - 2 * level, "exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-8, abs=1e-12)
    assert estimate == count / trials


def test_p_values_of_noise_are_uniform() -> None:
    """Small and large logs with a mean and a scale. False-failure rate 4e-4 (four KS tests)."""
    for size in (10, 400):
        logs = [noise(2.0, size, seed) for seed in range(400)]
        assert kstest([log.mean_p_value() for log in logs], "uniform").pvalue > 1e-4
        shifted = [NoiseLog.of(log.samples + 5) for log in logs]
        assert kstest([log.normal_p_value() for log in shifted], "uniform").pvalue > 1e-4


def test_mean_and_normality_against_the_textbook_and_known_faults() -> None:
    """Laplace, uniform and shifted noise. No false failures: seeded, p-values far apart."""
    log = noise(1.0, 500)
    assert log.mean_p_value() == pytest.approx(ttest_1samp(log.samples, 0).pvalue)
    rng = np.random.default_rng(3)
    for wrong in (rng.laplace(size=4000), rng.uniform(-1, 1, size=4000), np.ones(9)):
        assert NoiseLog.of(wrong).normal_p_value() < 1e-6
    assert NoiseLog.of(log.samples + 0.3).mean_p_value() < 1e-6
    assert NoiseLog.of(np.ones(9)).mean_p_value() == 0
    assert NoiseLog.of(np.zeros(9)).mean_p_value() == 1


def test_units_and_shapes() -> None:
    values = np.random.default_rng(1).normal(0, 2, (30, 8))
    one = NoiseLog.of(values, max_grad_norm=2.0).limits(0.05)
    assert one == pytest.approx(NoiseLog.of(values.ravel() / 2).limits(0.05))


def test_epsilon_is_bracketed_at_both_corners() -> None:
    """Bonferroni over three parameters, each with two limits, and a fifth for the noise's tests."""
    log = InclusionLog(Tally(120, 1000), Tally(310, 1000))
    found = certified(noise=noise(), inclusion=log)
    share = 0.8 * LEVEL / 6
    assert sum(item.share for item in found.judged) <= 0.2 * LEVEL
    untested = certificate(CLAIM, DELTA, LEVEL, noise=noise(), judge=False)
    assert (untested.judged, untested.limits[0].low) == ((), noise().limits(LEVEL / 2)[0])
    sigma, q, rho = (x.limits(share) for x in (noise(), Tally(120, 1000), Tally(310, 1000)))
    low = bracket(PoissonPatch(sigma[2], q[0], rho[0], 100), DELTA).lower
    high = bracket(PoissonPatch(sigma[0], q[2], rho[2], 100), DELTA).upper
    assert found.epsilon_low == pytest.approx(low, rel=1e-5)
    assert found.epsilon_high == pytest.approx(high, rel=1e-5)
    assert found.epsilon_low <= low < found.claimed_epsilon < high <= found.epsilon_high
    assert found.claimed_epsilon == epsilon_at(CLAIM, DELTA)
    assert {item.name: (item.low, item.estimate, item.high) for item in found.limits} == {
        "noise multiplier": sigma,
        "sampling rate": q,
        "inclusion probability": rho,
    }
    assert (found.causes, found.assumed, found.steps) == ((), (), 100)


@pytest.mark.parametrize("kind", [PoissonPatch, FixedSizePatch])
def test_epsilon_grows_along_every_axis(kind: type[PoissonPatch | FixedSizePatch]) -> None:
    """What makes the corners the ends; the last axis is the sampling rate at a fixed product."""
    axes = [
        [kind(sigma, 0.1, 0.3, 100) for sigma in (2.0, 1.0, 0.5)],
        [kind(1.0, q, 0.3, 100) for q in (0.05, 0.1, 0.5, 1.0)],
        [kind(1.0, 0.1, rho, 100) for rho in (0.01, 0.3, 0.7, 1.0)],
        [kind(1.0, q, 0.03 / q, 100) for q in (0.03, 0.1, 0.5, 1.0)],
    ]
    for axis in axes:
        found = [bracket(mechanism, DELTA) for mechanism in axis]
        assert all(one.lower <= other.upper for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("claim", "games"), [(CLAIM, 300), (FixedSizePatch(2.0, 0.1, 0.2, 50), 100)]
)
def test_null_a_correct_mechanism_stays_within_its_certificate(
    claim: PatchMechanism, games: int
) -> None:
    """Seeded logs, level 0.2: the claim is outside at most as often as the level says.

    False-failure rate at most 1e-4 for each claim (Binomial(games, .2)).
    """
    rng, level, outside, causes = np.random.default_rng(7), 0.2, 0, 0
    for _ in range(games):
        samples = NoiseLog.of(rng.normal(0, claim.noise_multiplier, 200))
        log = apart(claim.sample_rate, claim.inclusion, 400, 200, rng)
        found = certificate(claim, DELTA, level, noise=samples, inclusion=log)
        outside += not found.epsilon_low <= found.claimed_epsilon <= found.epsilon_high
        causes += bool(found.causes)
    assert outside <= causes <= binom.isf(1e-4, games, level)


def test_power_too_little_noise_is_found() -> None:
    """0.8 of the claimed noise, 2,000 samples: found and named in all of 50 games.

    Misses fewer than one game in 1e12: the upper limit is 2.2 / sqrt(4000) above the estimate, and
    the claim 25%, fourteen deviations. So the false-failure rate is nil.
    """
    for seed in range(50):
        found = certified(noise=noise(0.8, 2000, seed))
        assert found.causes == ("noise multiplier",)
        assert found.exceeded
        assert found.assumed == ("sampling rate", "inclusion probability")


def test_power_too_large_an_inclusion_probability_is_found() -> None:
    """0.375 for a claimed 0.3, beside noise and records: 1,000 windows find it in 99%.

    Computed: the count whose lower limit at a sixth of the level passes 0.3, and its law.
    """
    least = next(n for n in range(1001) if Tally(n, 1000).limits(0.8 * LEVEL / 6)[0] > 0.3)
    assert binom.sf(least - 1, 1000, 0.375) > 0.99
    log = InclusionLog(Tally(100, 1000), Tally(least, 1000))
    assert certified(noise=noise(), inclusion=log).causes == ("inclusion probability",)
    log = InclusionLog(Tally(100, 1000), Tally(least - 1, 1000))
    assert certified(noise=noise(), inclusion=log).causes == ()


def test_power_too_high_a_sampling_rate_is_found_and_epsilon_with_it() -> None:
    found = certified(inclusion=InclusionLog(Tally(1500, 10_000), Tally(3000, 10_000)))
    assert found.causes == ("sampling rate",)
    assert found.exceeded
    assert "sampling rate 0.142 to 0.1582 (OUTSIDE, claimed 0.1)" in found.words


def test_joint_events_move_the_inclusion_probability_at_the_claimed_sampling_rate() -> None:
    joint = Tally(35, 1000)
    found = certified(inclusion=InclusionLog(joint=joint))
    low, _, high = joint.limits(LEVEL / 2)
    expected = [bracket(PoissonPatch(1.0, 0.1, r / 0.1, 100), DELTA) for r in (low, high)]
    assert found.epsilon_low == pytest.approx(expected[0].lower, rel=1e-5)
    assert found.epsilon_high == pytest.approx(expected[1].upper, rel=1e-5)
    assert found.assumed == ("noise multiplier", "sampling rate")
    assert found.limits[0].name == "record rate"
    assert found.limits[0].claimed == pytest.approx(0.03)


def test_joint_events_of_several_crops() -> None:
    claim = PoissonPatch(1.0, 0.1, 0.3, 20, crops=2)
    found = certified(claim, inclusion=InclusionLog(joint=Tally(51, 1000)))
    assert found.limits[0].claimed == pytest.approx(0.1 * (1 - 0.7**2))
    assert found.epsilon_low < found.claimed_epsilon < found.epsilon_high
    assert found.causes == ()


def test_joint_events_that_refute_the_sampling_rate_leave_no_upper_end() -> None:
    found = certified(inclusion=InclusionLog(joint=Tally(400, 1000)))
    low = Tally(400, 1000).limits(LEVEL / 2)[0]
    at_least = bracket(PoissonPatch(1.0, low, 1.0, 100), DELTA).lower
    assert found.epsilon_low == pytest.approx(at_least, rel=1e-5)
    assert found.epsilon_high == math.inf
    assert found.causes == ("record rate",)
    # Within the claimed rate's reach, the inclusion probability ends at 1.
    near = certified(inclusion=InclusionLog(joint=Tally(100, 1000)))
    assert near.epsilon_high == pytest.approx(bracket(CLAIM.without_crop(), DELTA).upper, rel=1e-5)


@pytest.mark.parametrize("kind", [ShufflePatch, CyclicPatch])
def test_batches_of_a_fixed_order_have_participations(
    kind: type[ShufflePatch | CyclicPatch],
) -> None:
    claim = kind(4.0, 0.1, 0.3, 100, epochs=10)
    log = InclusionLog(Tally(10, 100), Tally(30, 100))
    found = certified(claim, inclusion=log)
    assert [item.name for item in found.limits] == ["inclusion probability"]
    assert (found.steps, found.assumed, found.causes) == (10, ("noise multiplier",), ())
    ends = [kind(4.0, 0.1, x, 100, epochs=10) for x in Tally(30, 100).limits(LEVEL / 2)[::2]]
    assert found.epsilon_low == pytest.approx(bracket(ends[0], DELTA).lower, rel=1e-5)
    assert found.epsilon_high == pytest.approx(bracket(ends[1], DELTA).upper, rel=1e-5)
    # 41 times in two runs: at least 21 in one of them, which an order of ten epochs forbids.
    often = certified(claim, inclusion=InclusionLog(Tally(41, 200), Tally(300, 1000)))
    assert often.causes == ("participations",)
    assert often.limits[-1].estimate == 21
    assert often.exceeded
    with pytest.raises(InputError, match=r"inclusion log must be of windows for .* depend on one"):
        certified(claim, inclusion=InclusionLog(joint=Tally(3, 100)))
    with pytest.raises(InputError, match="logs must be of noise or windows"):
        certified(claim, inclusion=InclusionLog(Tally(10, 100)))


def test_full_batches_have_windows_only() -> None:
    claim = FullBatchPatch(8.0, 1.0, 0.3, 10)
    found = certified(claim, inclusion=InclusionLog(Tally(10, 10), Tally(3, 10)))
    assert [item.name for item in found.limits] == ["inclusion probability"]
    assert found.epsilon_low < found.claimed_epsilon < found.epsilon_high


def test_noise_that_is_off_or_repeated_is_named() -> None:
    off = certified(noise=NoiseLog.of(np.zeros((50, 4))))
    assert (off.epsilon_low, off.epsilon_high) == (math.inf, math.inf)
    assert (off.causes, off.judged) == (("noise multiplier",), ())
    harmless = certificate(
        PoissonPatch(1.0, 1e-7, 0.3, 10), 1e-5, LEVEL, noise=NoiseLog.of(np.zeros(5))
    )
    assert (harmless.epsilon_low, harmless.epsilon_high) == (0.0, math.inf)
    samples = noise(1.0, (50, 40)).samples.copy()
    samples[7] = samples[3]
    again = certified(noise=NoiseLog.of(samples))
    assert again.causes == ("noise is not fresh",)
    assert (again.epsilon_low, again.epsilon_high, again.stated) == (0.0, math.inf, False)
    assert again.words.endswith("noise is not fresh")
    assert "no epsilon at delta" in again.words


TRUTH = bracket([CLAIM.with_noise(0.2).with_steps(50), CLAIM.with_noise(1.4).with_steps(50)], DELTA)
"""Noise of 0.2 in half of the steps and 1.4 in the others: 1 in the mean square, epsilon 97.1."""


@pytest.mark.parametrize("first", [True, False])
def test_noise_that_changes_is_accounted_for_step_by_step(first: bool) -> None:
    steps = np.arange(100)[:, None]
    sigma = np.where(steps < 50 if first else steps % 2, 0.2, 1.4)
    found = certified(noise=NoiseLog.of(sigma * noise(1.0, (100, 64)).samples))
    assert found.causes == ("noise is not constant over steps",)
    assert CLAIM.noise_multiplier < found.epsilon_low <= TRUTH.lower
    assert TRUTH.upper <= found.epsilon_high < 4 * TRUTH.upper
    assert found.exceeded
    # Of other steps than those of the claim only the least and the most are known.
    other = certified(noise=NoiseLog.of((sigma * noise(1.0, (100, 64)).samples)[20:80]))
    assert other.epsilon_low <= TRUTH.lower < TRUTH.upper < other.epsilon_high
    flat = certified(noise=NoiseLog.of((sigma * noise(1.0, (100, 64)).samples).ravel()))
    assert (flat.causes, flat.stated) == (("noise is not normal",), False)


def test_a_single_step_without_noise_shows_everything() -> None:
    samples = noise(1.0, (100, 64)).samples * (np.arange(100) != 7)[:, None]
    found = certified(noise=NoiseLog.of(samples))
    assert (found.epsilon_low, found.epsilon_high) == (math.inf, math.inf)


def test_shuffled_batches_take_the_least_noise_for_every_participation() -> None:
    claim = ShufflePatch(4.0, 0.1, 0.3, 100, epochs=10)
    sigma = np.where(np.arange(100) % 10 == 3, 1.0, 4.0)[:, None]
    found = certified(claim, noise=NoiseLog.of(sigma * noise(1.0, (100, 64)).samples))
    assert found.causes == ("noise is not constant over steps",)
    assert found.epsilon_high > epsilon_at(claim.with_noise(1.0), DELTA)
    assert found.epsilon_low < epsilon_at(claim.with_noise(4.0), DELTA)


def test_nothing_met_and_everything_met() -> None:
    none = certified(inclusion=InclusionLog(Tally(0, 50), Tally(0, 50)))
    assert none.epsilon_low == 0
    every = certified(inclusion=InclusionLog(Tally(50, 50), Tally(50, 50)))
    assert every.causes == ("sampling rate", "inclusion probability")
    worst = bracket(PoissonPatch(1.0, 1.0, 1.0, 100), DELTA).upper
    assert every.epsilon_high == pytest.approx(worst, rel=1e-5)


def test_words_say_what_it_is() -> None:
    found = certified(noise=noise(), inclusion=InclusionLog(Tally(100, 1000)))
    assert found.words.startswith("certifies parameters, not the pipeline: delivered epsilon ")
    assert "0.95 confidence" in found.words
    assert "patch substitution" in found.words
    assert found.words.endswith("inclusion probability taken as claimed")
    assert "OUTSIDE" not in found.words


@pytest.mark.parametrize("rows", [11, 300])
def test_logs_of_more_steps_than_claimed_are_refused(rows: int, tmp_path: Path) -> None:
    """An epsilon of the claimed steps would be none of what ran."""
    text, log = "poisson:noise=1,q=0.5,rho=0.5,steps=10", tmp_path / "log.csv"
    np.save(tmp_path / "noise.npy", np.random.default_rng(5).normal(size=(rows, 30)))
    lines = [f"{step},{record},0,0" for record in "ab" for step in range(rows)]
    log.write_text("\n".join(["step,record,included,met", *lines]), encoding="utf-8")
    with pytest.raises(InputError, match=f"of at most the 10 claimed steps .*got {rows} rows"):
        certify(text, delta=DELTA, noise=tmp_path / "noise.npy")
    with pytest.raises(InputError, match=f"of at most the 10 claimed steps .*got {rows} of a rec"):
        certify(text, delta=DELTA, inclusion=log)


def test_files_are_read(tmp_path: Path) -> None:
    samples = np.random.default_rng(5).normal(0, 3, (10, 60)).astype(np.float32)
    np.save(tmp_path / "noise.npy", samples)
    lines = ["0,0,", "1,1,0", "2,1,1", "3,0,0", "4,0,", "5,1,1"]
    (tmp_path / "log.csv").write_text("\n".join(["step,included,met", *lines]), encoding="utf-8")
    text = "poisson:noise=1,q=0.5,rho=0.5,steps=10"
    found = certify(
        text,
        delta=DELTA,
        noise=tmp_path / "noise.npy",
        max_grad_norm=3.0,
        inclusion=tmp_path / "log.csv",
    )
    log = InclusionLog(Tally(3, 6), Tally(2, 3))
    expected = certificate(
        PoissonPatch(1.0, 0.5, 0.5, 10),
        DELTA,
        1 - 0.95,
        noise=NoiseLog.of(samples, 3.0),
        inclusion=log,
    )
    assert replace(found, rated=()) == expected
    assert [item.refuted for item in found.rated] == [False] * 3


def test_windows_of_several_crops_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,included,met\n0,1,2\n1,1,0\n2,0,\n", encoding="utf-8")
    assert InclusionLog.read(path, crops=2) == InclusionLog(Tally(2, 3), Tally(2, 4))
    path.write_text("step,included,met\n0,0,\n1,0,0\n", encoding="utf-8")
    assert InclusionLog.read(path) == InclusionLog(Tally(0, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns step, included and met, and rows"),
        ("step,included\n0,1\n", "must have the columns step, included and met, and rows"),
        ("step,included,met\n0,2,0\n", "line 2 must be included 0 or 1 .* got 2 and 0"),
        ("step,included,met\n0,1,0\n1,0,1\n", "line 3 .* got 0 and 1"),
        ("step,included,met\n0,1,2\n", "line 2 .* met at most 1 if included .* got 1 and 2"),
        ("step,included,met\n0,1,\n", "line 2 .* got 1 and nothing"),
        ("step,included,met\n0\n", "line 2 .* got nothing and nothing"),
        ("step,included,met\n,1,0\n", "line 2 must have a whole step, got none"),
        ("step,included,met\n0.5,1,0\n", "line 2 must have a whole step, got 0.5"),
        ("step,included,met\n0,-1,0\n1,0,0\n", "line 3 must be included 0 or 1 .* got 0 and 0"),
        ("step,included,met\n0,1,-1\n", "line 2 must be included 0 or 1 .* got 1 and -1"),
        ("step,included,met,step\n0,1,1,1\n", "must have each column once, got step again"),
        ("Step;drawn;met\n0;1;1\n", "included and met, and rows; got step, drawn, met"),
    ],
)
def test_inclusion_logs_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        InclusionLog.read(path)


def log_text(steps: Sequence[int], drawn: Sequence[int], record: str = "") -> str:
    """Returns the rows of a log; every third of the draws meets the patch."""
    mark = f"{record}," if record else ""
    return "".join(
        f"{mark}{step},{bit},{int(bit and step % 3 == 0)}\n"
        for step, bit in zip(steps, drawn, strict=True)
    )


STEPS_LOGGED = range(1000)
DRAWN = (np.random.default_rng(8).random(1000) < 0.1).astype(int)
HEAD = "step,included,met\n"
BROKEN_LOGS = {
    "appended three times": (
        log_text(STEPS_LOGGED, DRAWN) * 3,
        r"each step once, got step 0 in lines 2 and 1002: was it appended to",
    ),
    "resumed from a checkpoint": (
        log_text(range(600), DRAWN[:600]) + log_text(range(500, 1000), DRAWN[500:]),
        r"each step once, got step 500 in lines 502 and 602",
    ),
    "every row twice": (
        "".join(2 * f"{row}\n" for row in log_text(STEPS_LOGGED, DRAWN).splitlines()),
        r"each step once, got step 0 in lines 2 and 3",
    ),
    "drawn steps alone": (
        log_text(np.flatnonzero(DRAWN).tolist(), [1] * int(DRAWN.sum())),
        r"every step, got step \d+ in line \d+ after step \d+: steps that did not draw .* belong",
    ),
    "a tenth of the steps": (
        log_text(range(0, 1000, 10), DRAWN[::10]),
        r"every step, got step 10 in line 3 after step 0",
    ),
    "one step missing": (
        log_text([*range(500), *range(501, 1000)], np.delete(DRAWN, 500)),
        r"every step, got step 501 in line 502 after step 499",
    ),
    "another order": (
        log_text(range(999, -1, -1), DRAWN[::-1]),
        r"in order, got step 998 in line 3 after step 999",
    ),
}


@pytest.mark.parametrize("name", BROKEN_LOGS)
def test_steps_that_are_repeated_or_left_out_are_named(name: str, tmp_path: Path) -> None:
    """Read as they stand they would give another rate, and limits that are too narrow."""
    text, message = BROKEN_LOGS[name]
    path = tmp_path / "log.csv"
    path.write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^inclusion log {re.escape(str(path))} .*{message}"):
        InclusionLog.read(path)


def test_logs_in_other_forms_say_the_same(tmp_path: Path) -> None:
    path, plain = tmp_path / "log.csv", HEAD + log_text(STEPS_LOGGED, DRAWN)
    met = int(sum(bit and step % 3 == 0 for step, bit in enumerate(DRAWN)))
    wanted = InclusionLog(Tally(int(DRAWN.sum()), 1000), Tally(met, int(DRAWN.sum())))
    words = [f"{i};{('No', 'Yes')[bit]};{('', 'false')[bit]}" for i, bit in enumerate(DRAWN)]
    words = [w.replace("false", "true") if i % 3 == 0 else w for i, w in enumerate(words)]
    others = {
        "log.csv": plain.encode("utf-8-sig"),
        "late.csv": (HEAD + log_text(range(7, 1007), DRAWN)).encode(),
        "words.csv": ("Step;Included;MET\n" + "\n".join(words)).encode(),
        "log.csv.gz": gzip.compress(plain.replace(",", "\t").encode()),
        "minus.csv": plain.replace(",0,", ",-1,").encode(),
    }
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        found = InclusionLog.read(tmp_path / name)
        assert found.records == wanted.records, name
        assert name == "late.csv" or found == wanted, name
    assert path.exists()


def test_several_records_are_told_apart(tmp_path: Path) -> None:
    path, head = tmp_path / "log.csv", "record,step,included,met\n"
    other = (np.random.default_rng(9).random(1000) < 0.1).astype(int)
    both = log_text(STEPS_LOGGED, DRAWN, "a") + log_text(STEPS_LOGGED, other, "b")
    path.write_text(head + both, encoding="utf-8")
    assert InclusionLog.read(path).records == Tally(int(DRAWN.sum() + other.sum()), 2000)
    path.write_text(head + both + log_text([3], [0], "b"), encoding="utf-8")
    with pytest.raises(InputError, match="each step once of record b, got step 3 in lines 1005 an"):
        InclusionLog.read(path)
    same = log_text(STEPS_LOGGED, DRAWN, "a") + log_text(STEPS_LOGGED, DRAWN, "b")
    path.write_text(head + same, encoding="utf-8")
    with pytest.raises(InputError, match="drawn apart, got a and b in the very same"):
        InclusionLog.read(path)
    few = log_text(range(4), [1, 1, 0, 1], "a") + log_text(range(4), [1, 1, 0, 1], "b")
    path.write_text(head + few, encoding="utf-8")
    assert InclusionLog.read(path).records == Tally(6, 8)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inclusion log .* must be an existing CSV file"):
        InclusionLog.read(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"noise .* must be an existing \.npy file"):
        NoiseLog.read(tmp_path / "none.npy")
    (tmp_path / "bytes.npy").write_bytes(b"\x93NUMPY nonsense")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    np.savez(tmp_path / "many.npz", np.zeros(3))
    for name in ("bytes.npy", "objects.npy", "words.npy", "many.npz"):
        with pytest.raises(InputError, match=r"noise .* must be a \.npy file of numbers"):
            NoiseLog.read(tmp_path / name)
    (tmp_path / "latin.csv").write_bytes(b"step,included,met\n0,\xff,0\n")
    with pytest.raises(InputError, match="must be a readable CSV file"):
        InclusionLog.read(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("values", "norm", "message"),
    [
        ([1.0, 2.0], 1.0, r"noise must be at least 3 samples, .* got \(2,\)"),
        (np.zeros((2, 2, 2)), 1.0, "noise must be at least 3 samples, flat or"),
        ([1.0, math.nan, 0.0], 1.0, "noise must be finite"),
        ([1.0, 2.0, 0.0], 0.0, "max_grad_norm must be positive and finite, got 0.0"),
        ([1.0, 2.0, 0.0], math.nan, "max_grad_norm must be positive and finite, got nan"),
    ],
)
def test_illegal_noise_is_refused(values: object, norm: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NoiseLog.of(values, norm)  # type: ignore[arg-type]


def test_illegal_values_are_refused() -> None:
    with pytest.raises(InputError, match="trials must be at least 1, got 0"):
        Tally(0, 0)
    with pytest.raises(InputError, match="count must be 0 to 5, got 6"):
        Tally(6, 5)
    with pytest.raises(InputError, match="records and windows, or joint events alone"):
        InclusionLog()
    with pytest.raises(InputError, match="records and windows, or joint events alone"):
        InclusionLog(Tally(1, 2), joint=Tally(1, 2))
    with pytest.raises(InputError, match="logs must be of noise or windows"):
        certificate(CLAIM, DELTA, LEVEL)
    with pytest.raises(InputError, match=r"level must be in \(0, 1\), got 1.0"):
        certificate(CLAIM, DELTA, 1.0, noise=noise())
    with pytest.raises(InputError, match=r"delta must be in \(0, 1\), got 0.0"):
        certificate(CLAIM, 0.0, LEVEL, noise=noise())
    with pytest.raises(InputError, match=r"confidence must be in \(0, 1\), got 0.0"):
        certify(CLAIM, delta=DELTA, confidence=0.0)
