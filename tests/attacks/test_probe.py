"""The pipeline probe: its hits, its noise and its scores follow the laws that are claimed."""

import dataclasses
import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy import stats

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.geometry import Crop, Patch, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.pairs import StepPair
from cropaudit.attacks.probe import Probe, ProbeScores, run_probe
from cropaudit.audit.curve_tests import CountsTest, CurveTest
from cropaudit.audit.design import Plan, plan_game, scoring_pairs
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.ranks import ranked_counts
from cropaudit.audit.estimators.rate_test import likely_hits
from cropaudit.audit.estimators.run_methods import coin_p_value
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError
from cropaudit.training.samplers import FixedSize, Poisson, Sampling, Shuffle

IMAGE, CROP, PATCH = Size(30, 36), Crop(Size(12, 14)), Rectangle(Size(5, 4))
WORST = inclusion(IMAGE, CROP, PATCH)
ROUND = PixelMask(np.hypot(*np.mgrid[-4:5, -3:4]) <= 3.5)
LOOSE = PixelMask(np.pad(np.array([[True, False], [True, True]]), ((11, 7), (5, 13))))
SAMPLERS: list[Sampling] = [Poisson(0.2), FixedSize(4), Shuffle(4)]
RECORDS, STEPS, DELTA = 20, 40, 1e-5
UP = StepPair((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), 1.0)  # log ratio 2x: shows the sum as it was seen


pytestmark = pytest.mark.usefixtures("one_thread")


def mechanism_of(sampling: Sampling, sigma: float = 1.0, rho: float | None = None):
    rho = WORST.probability if rho is None else rho
    kinds = {Poisson: PoissonPatch, FixedSize: FixedSizePatch, Shuffle: ShufflePatch}
    return kinds[type(sampling)](sigma, 0.2, rho, STEPS)


def probe(sampling: Sampling, **changes: object) -> Probe:
    spec = Probe(
        image=IMAGE,
        position=WORST.position,
        patch=PATCH,
        crop=CROP,
        sampling=sampling,
        records=RECORDS,
        steps=STEPS,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        pairs=(mechanism_of(sampling).pair(),),
        slots=600,
        seed=5,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def split(found: ProbeScores) -> Scores:
    return Scores.labelled(found.scores[0], found.member)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_coins_are_fair_and_hits_follow_the_claimed_rate(sampling: Sampling) -> None:
    """Hits are binomial in each slot. False-failure rate 2e-6 for the mean, 1e-6 for the shape.

    Under shuffling a slot takes part exactly 8 times and hits by rho alone.
    """
    found = run_probe(probe(sampling, slots=1500))
    mechanism = mechanism_of(sampling)
    trials = mechanism.compositions
    rate = mechanism.pair().p[2]
    assert coin_p_value(int(found.member.sum()), int((~found.member).sum())) > 1e-6
    total = stats.binom(1500 * trials, rate)
    assert total.ppf(1e-6) <= found.hits.sum() <= total.isf(1e-6)
    cuts = [int(stats.binom.ppf(x, trials, rate)) for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
    cuts = sorted({-1, *cuts, trials})
    seen = np.histogram(found.hits, np.array(cuts) + 0.5)[0]
    expected = 1500 * np.diff(stats.binom.cdf(cuts, trials, rate))
    assert stats.chisquare(seen, expected).pvalue > 1e-6
    # Both worlds are drawn and cropped alike.
    worlds = [found.hits[found.member == world] for world in (True, False)]
    assert stats.ttest_ind(*worlds).pvalue > 1e-6


@pytest.mark.parametrize(
    ("patch", "crop", "position"),
    [
        (PATCH, CROP, (0, 0)),
        (PATCH, Crop(Size(12, 14), padding=6), (25, 32)),
        (PATCH, Crop(IMAGE), (3, 3)),
        (Rectangle(IMAGE), CROP, (0, 0)),
        (ROUND, CROP, (23, 29)),
        (LOOSE, CROP, (28, 34)),
        (LOOSE, CROP, (12, 15)),
    ],
    ids=str,
)
def test_hits_follow_the_inclusion_map(patch: Patch, crop: Crop, position) -> None:
    """At any place, with padding, for any shape. False-failure rate 2e-6 a case."""
    found = run_probe(probe(Poisson(1.0), patch=patch, crop=crop, position=position, slots=100))
    rate = float(inclusion_map(IMAGE, crop, patch)[position])
    total = stats.binom(100 * STEPS, rate)
    assert total.ppf(1e-6) <= found.hits.sum() <= total.isf(1e-6)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
@pytest.mark.parametrize("factor", [1.0, 0.6])
def test_scores_follow_the_law_of_the_pair(sampling: Sampling, factor: float) -> None:
    """Kolmogorov distance in either world, at the noise claimed and at less.

    False-failure rate 2e-6 a world (DKW inequality, both samples), at about 750 slots each.
    """
    found = split(run_probe(probe(sampling, slots=1500, noise_multiplier=factor)))
    claimed = mechanism_of(sampling)
    played = claimed.with_noise(factor).pair()
    worlds = simulated(claimed.pair(), played, claimed.compositions, 30_000)
    for scores, drawn in zip((found.member, found.nonmember), worlds, strict=True):
        allowed = sum(math.sqrt(math.log(2e6) / (2 * n)) for n in (len(scores), len(drawn)))
        assert stats.ks_2samp(scores, drawn, method="asymp").statistic < allowed


def simulated(scoring: StepPair, played: StepPair, steps: int, n: int) -> list[np.ndarray]:
    """Draws summed scores of world A, which is P of the pair, and of world B."""
    rng = np.random.default_rng(0)
    worlds = []
    for weights in (played.p, played.q):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(n, steps))
        worlds.append(scoring.log_ratio(rng.normal(means, played.sigma)).sum(axis=1))
    return worlds


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_members_are_world_a_of_the_pair_and_not_world_b(sampling: Sampling) -> None:
    """The game's curve is that of P by Q: exchanged worlds would be another game.

    At little noise every step shows what was played. Members never give what Q alone gives more
    often than P, nonmembers never a +1: shares of steps at -1, 0, +1, each within 1e-6 in either
    world; and the shares exchanged are out of the question.
    """
    loud = dataclasses.replace(mechanism_of(sampling).pair(), sigma=0.05)
    spec = probe(sampling, slots=400, steps=1, noise_multiplier=0.05, pairs=(UP,))
    if isinstance(sampling, Shuffle):  # one batch of all records: each takes part
        spec = dataclasses.replace(spec, sampling=Shuffle(RECORDS))
    found = split(run_probe(spec))
    for seen, weights, others in (
        (found.member, loud.p, loud.q),
        (found.nonmember, loud.q, loud.p),
    ):
        means = np.rint(seen / 2)
        off = False
        for mean, weight, other in zip((-1, 0, 1), weights, others, strict=True):
            count = int((means == mean).sum())
            assert stats.binomtest(count, len(seen), weight).pvalue > 1e-6
            off |= stats.binomtest(count, len(seen), other).pvalue < 1e-6
        assert off, "the other world would have shown"


def test_worlds_exchanged_are_accused_and_so_must_never_be() -> None:
    """Why the order matters: the same honest scores, told from the other world, look guilty.

    A game that took Q for P would accuse an honest pipeline at the ranks where Q by P is the higher
    curve. The probe cannot: its bits are its own coins, and the tests above tie them to P.
    """
    mechanism = FixedSizePatch(0.5, 0.1, 0.3, 20)
    forward, backward = pair_curve(mechanism.pair(), 20, DELTA).trade_offs()
    member, nonmember = simulated(mechanism.pair(), mechanism.pair(), 20, 2000)
    told, exchanged = Scores.of(member, nonmember), Scores.of(-nonmember, -member)
    for scores, allowed, wrong in ((told, forward, None), (exchanged, backward, forward)):
        test = CountsTest(ranked_counts(scores, [1000])[0], 1e-4)
        assert not test.rejects([allowed])
        assert wrong is None or test.rejects([wrong])


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
@pytest.mark.parametrize("miss", [-1.0, 0.0])
def test_without_noise_the_sums_are_known(sampling: Sampling, miss: float) -> None:
    """A hit adds +1 in world A and -1 in world B; a miss what was asked for."""
    found = run_probe(probe(sampling, noise_multiplier=0.0, pairs=(UP,), miss_gradient=miss))
    sums = found.scores[0] / 2
    sign = np.where(found.member, 1, -1)
    if isinstance(sampling, FixedSize):  # absent records are replaced by ones that give -1
        substitutes = sums - sign * found.hits - miss * 0
        assert np.all(substitutes <= 1e-3)
        if miss == -1:
            np.testing.assert_allclose(sums, sign * found.hits - (STEPS - found.hits), atol=1e-3)
    elif isinstance(sampling, Shuffle):
        np.testing.assert_allclose(sums, sign * found.hits + miss * (8 - found.hits), atol=1e-3)
    elif miss == 0:
        np.testing.assert_allclose(sums, sign * found.hits, atol=1e-3)
    else:
        misses = sign * found.hits - sums
        assert np.all(misses > -1e-3)
        rate = 0.2 * (1 - WORST.probability)
        total = stats.binom(600 * STEPS, rate)
        assert total.ppf(1e-6) <= round(misses.sum()) <= total.isf(1e-6)


@pytest.mark.parametrize("sampling", [Poisson(1e-9), Poisson(1.0)], ids=str)
@pytest.mark.parametrize("clip", [1.0, 0.03, 40.0])
def test_noise_has_the_stated_deviation(sampling: Sampling, clip: float) -> None:
    """In units of C, with empty batches and with full ones; fresh in each block and step.

    False-failure rate 1e-6 for each of the three tests of a case.
    """
    spec = probe(
        sampling, steps=2, noise_multiplier=1.7, max_grad_norm=clip, pairs=(UP,), slots=1500
    )
    signal = run_probe(dataclasses.replace(spec, noise_multiplier=0.0)).scores[0] / 2
    noise = (run_probe(spec).scores[0] / 2 - signal) / (1.7 * math.sqrt(2))
    if isinstance(sampling, Poisson) and sampling.sample_rate < 0.5:
        assert not signal.any()
    law = stats.chi2(noise.size)
    assert law.ppf(5e-7) < float(np.square(noise).sum()) < law.isf(5e-7)
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    blocks = noise.reshape(3, 500)  # each block draws its own
    assert np.abs(np.corrcoef(blocks)[np.triu_indices(3, 1)]).max() < 5.1 / math.sqrt(500)


@pytest.mark.parametrize("clip", [0.01, 25.0])
def test_the_clip_is_a_unit_only(clip: float) -> None:
    plain = run_probe(probe(Poisson(0.2), slots=100))
    other = run_probe(probe(Poisson(0.2), slots=100, max_grad_norm=clip))
    np.testing.assert_allclose(other.scores, plain.scores, atol=2e-3)
    assert np.array_equal(other.hits, plain.hits)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_worlds_part_where_they_differ_and_only_there(sampling: Sampling) -> None:
    """AUC at strong leakage above .9; in the null control within 5.5 deviations (4e-8) of .5."""
    loud = mechanism_of(sampling, sigma=0.5).pair()
    apart = split(run_probe(probe(sampling, noise_multiplier=0.5, pairs=(loud,))))
    assert apart.auc() > 0.9
    alike = split(run_probe(probe(sampling, noise_multiplier=0.5, pairs=(loud,), different=False)))
    assert abs(alike.auc() - 0.5) < 5.5 * alike.auc_deviation()
    # The control shows content B in every slot, in the very same game.
    assert np.array_equal(alike.nonmember, apart.nonmember)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_same_seed_same_game(sampling: Sampling) -> None:
    spec = probe(sampling, slots=60, steps=10)
    torch.manual_seed(1)
    first = run_probe(spec)
    torch.manual_seed(2)
    second = run_probe(spec)
    other = run_probe(dataclasses.replace(spec, seed=6))
    for name in ("scores", "member", "hits"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    # Scores do not steer the game: another adversary plays the same one.
    guess = run_probe(dataclasses.replace(spec, pairs=(UP,)))
    assert np.array_equal(guess.hits, first.hits)
    assert np.array_equal(guess.member, first.member)


def test_empty_batches_are_steps_of_pure_noise() -> None:
    found = run_probe(probe(Poisson(1e-9), slots=40, steps=5))
    assert not found.hits.any()
    assert np.isfinite(found.scores).all()
    assert len(set(found.scores[0])) == 40


def test_blocks_are_played_apart_and_reported() -> None:
    done: list[int] = []
    found = run_probe(probe(Poisson(0.2), slots=1020, steps=3), progress=done.append)
    assert done == [500, 1000, 1020]
    assert found.scores.shape == (1, 1020)
    assert found.member.shape == found.hits.shape == (1020,)
    assert not np.array_equal(found.member[:500], found.member[500:1000])


@lru_cache
def planned(sampling: Sampling, trials: int) -> Plan:
    return plan_game(mechanism_of(sampling), DELTA, trials, trials, 0.05)


def measured(sampling: Sampling, found: ProbeScores) -> tuple[CurveTest, ...]:
    """Returns what the plan for so many slots measures in a game."""
    scores = [Scores.labelled(row, found.member) for row in found.scores]
    plan = planned(sampling, len(found.member) // 2)
    trials = len(scores[0].member), len(scores[0].nonmember)
    roc = RankSum(plan.family, *trials)
    return dataclasses.replace(plan, roc=roc).tests(scores, 0.05)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_halved_noise_is_found_out(sampling: Sampling) -> None:
    """Power: 1,500 slots at half the noise, scored by who expects it, reject the claimed curve.

    The rank is fixed beforehand. False-failure rate at most 1e-4: hits that are reached but for
    that chance still reject.
    """
    mechanism, level = mechanism_of(sampling), 0.05
    loud, steps = mechanism.with_noise(0.5).pair(), mechanism.compositions
    allowed = pair_curve(mechanism.pair(), steps, DELTA).trade_offs()[:1]
    truth = pair_curve(loud, steps, DELTA).trade_offs()[0]
    few = 650  # fair coins give each world more than this, but for 1e-6
    rank = 13
    blank = ranked_counts(Scores.of(np.zeros(few), np.zeros(few)), [rank])[0]
    assert CountsTest(likely_hits(blank, truth, 1 - 1e-4), level).rejects(allowed)
    found = split(run_probe(probe(sampling, slots=1500, noise_multiplier=0.5, pairs=(loud,))))
    assert CountsTest(ranked_counts(found, [rank])[0], level).rejects(allowed)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_the_honest_pipeline_is_not_accused(sampling: Sampling) -> None:
    """Six games of 300 slots at level .05; false-failure rate at most 1e-4 (Binomial(6, .05)).

    And at half the noise the same plan accuses one game of 1,500 slots.
    """
    mechanism, level = mechanism_of(sampling), 0.05
    allowed = pair_curve(mechanism.pair(), mechanism.compositions, DELTA).trade_offs()[:1]
    pairs = scoring_pairs(mechanism)

    def accused(**changes: object) -> bool:
        found = run_probe(probe(sampling, pairs=pairs, **changes))
        return any(test.rejects(allowed) for test in measured(sampling, found))

    honest = sum(accused(slots=300, seed=seed) for seed in range(6))
    assert honest <= stats.binom.isf(1e-4, 6, level)
    assert accused(slots=1500, noise_multiplier=0.5)


def test_every_pair_scores_the_same_game() -> None:
    sampling = SAMPLERS[0]
    pairs = (mechanism_of(sampling).pair(), UP)
    both = run_probe(probe(sampling, pairs=pairs, slots=60))
    for row, pair in zip(both.scores, pairs, strict=True):
        alone = run_probe(probe(sampling, pairs=(pair,), slots=60))
        assert np.array_equal(alone.scores[0], row)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 19}, "probe slots must be at least 20, got 19"),
        ({"miss_gradient": 1.0}, "miss gradient must be 0 or -1, got 1.0"),
        ({"miss_gradient": -0.5}, "miss gradient must be 0 or -1"),
        ({"position": (26, 0)}, "patch position must be within"),
        ({"position": (-1, 0)}, "patch position must be within"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_illegal_probes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        probe(Poisson(0.2), **changes)


def test_a_batch_beyond_the_records_is_refused() -> None:
    with pytest.raises(InputError, match="batch must be at most the 20 records"):
        run_probe(probe(FixedSize(21)))
