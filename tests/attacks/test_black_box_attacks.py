"""The attacks on made-up answers, whose law is known: power, nulls, invariances, oracles."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from cropaudit.attacks.black_box.joint import Joint
from cropaudit.attacks.black_box.learned import Boosting, Learned, Logistic
from cropaudit.attacks.black_box.lira import LiraOffline, LiraOnline
from cropaudit.attacks.black_box.quantile import QuantileRegression
from cropaudit.attacks.black_box.references import leave_one_out
from cropaudit.attacks.black_box.registry import ATTACKS, attack_named
from cropaudit.attacks.black_box.rmia import Rmia
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import InputError

SLOTS, TARGETS, REFERENCES, DECOYS = 20, 20, 32, 60

Coins = NDArray[np.bool_]


def answers(confidences: NDArray[np.float64], features: NDArray[np.float64]) -> Signals:
    losses = np.logaddexp(0, -confidences)
    return Signals(losses, confidences, features, losses.mean(axis=2)[..., None, None])


def world(
    coins: Coins, effect: float, seed: int, slots: NDArray[np.float64], windows: int = 3
) -> Signals:
    """Draws answers: a slot's own level, an effect of the coin, and noise of deviation 1.

    The noise is common to all windows, so that averaging over them tells no more than one.
    """
    rng = np.random.default_rng(seed)
    signed = effect / 2 * (2.0 * coins - 1)
    margin = slots[:, 0] + signed + rng.normal(size=coins.shape)
    level = rng.normal(0, 0.01, (*coins.shape, windows, 2, 2)) + 0.5
    half = margin[:, :, None, None] / 2
    level[..., 0] += half
    level[..., 1] -= half
    return answers(level, slots)


def game(
    effect: float, seed: int = 0, *, targets: int = TARGETS
) -> tuple[Signals, Coins, Signals, Coins]:
    rng = np.random.default_rng([seed, 1])
    slots = rng.normal(size=(SLOTS, 1))
    mine = rng.random((targets, SLOTS)) < 0.5
    known = rng.random((REFERENCES, SLOTS)).argsort(axis=0) < REFERENCES // 2
    found = [world(c, effect, seed + i, slots) for i, c in enumerate((mine, known))]
    fresh = rng.normal(size=(DECOYS, 1))
    nobody = np.zeros((targets, DECOYS), dtype=np.bool_)
    others = world(nobody, 0, seed + 2, fresh), world(nobody[:1], 0, seed + 3, fresh)
    decoys = replace(found[0], decoys=others[0])
    return decoys, mine, found[1], known


def auc(scores: NDArray[np.float64], coins: Coins) -> float:
    a, b = scores[coins][:, None], scores[~coins][None, :]
    return float((a > b).mean() + (a == b).mean() / 2)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_clear_effect_is_found(name: str) -> None:
    """Noise of deviation 1 and an effect of 2 allow an AUC of 0.92; a slot's level costs some.

    400 coins give the AUC a deviation of 0.02; 0.75 is that of the loss difference less 4 of them.
    """
    target, coins, references, known = game(2.0)
    found = auc(attack_named(name).score(target, references, known), coins)
    least = 0.75 if name == "loss" else 0.84
    assert least < found < norm.cdf(2 / math.sqrt(2)) + 0.06


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_found_where_worlds_are_alike(name: str) -> None:
    """The AUC of 400 scores has a deviation of 0.029; five of them fail once in 1.7 million."""
    target, coins, references, known = game(0.0, seed=5)
    found = auc(attack_named(name).score(target, references, known), coins)
    assert abs(found - 0.5) < 5 * 0.029


@pytest.mark.parametrize("name", ATTACKS)
def test_equal_contents_tie_all_scores(name: str) -> None:
    """With A = B every answer is the same twice: all scores are alike, the AUC is one half."""
    target, _, references, known = game(1.0)
    twins = twinned(target), twinned(references)
    found = attack_named(name).score(*twins, known)
    np.testing.assert_allclose(found, found[0, 0], atol=1e-9)


def twinned(signals: Signals) -> Signals:
    """Returns answers as if world B had the content of world A."""

    def twin(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.broadcast_to(values[:, :, :, :1, :1], values.shape).copy()

    decoys = None if signals.decoys is None else twinned(signals.decoys)
    one = answers(twin(signals.confidences), signals.features)
    return replace(one, decoys=decoys)


@pytest.mark.parametrize("name", ATTACKS)
def test_targets_are_scored_one_by_one(name: str) -> None:
    """A target's score hangs on its own answers and the references alone, in any order."""
    target, _, references, known = game(1.0)
    attack = attack_named(name)
    whole = attack.score(target, references, known)
    assert whole.shape == (TARGETS, SLOTS)
    assert np.isfinite(whole).all()
    order = np.random.default_rng(0).permutation(TARGETS)
    np.testing.assert_allclose(attack.score(target.take(order), references, known), whole[order])
    alone = attack.score(target.take(order[:1]), references, known)
    np.testing.assert_allclose(alone, whole[order[:1]])
    mixed = np.random.default_rng(1).permutation(REFERENCES)
    again = attack.score(target, references.take(mixed), known[mixed])
    np.testing.assert_allclose(again, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"loss", "quantile"}))
def test_references_must_be_there_and_fit(name: str) -> None:
    target, _, references, known = game(1.0)
    attack = attack_named(name)
    with pytest.raises(InputError, match=f"^references must be given with their coins for {name}"):
        attack.score(target, None, None)
    if name not in ("calibrated", "rmia"):
        with pytest.raises(InputError, match=r"^coins must be of shape"):
            attack.score(target, references, known[:, 1:])
        with pytest.raises(InputError, match=r"^(references|coins) must be"):
            attack.score(target, references, np.ones_like(known))


def test_attacks_without_references_do_not_look_at_them() -> None:
    target, _, references, known = game(1.0)
    for name in ("loss", "quantile"):
        attack = attack_named(name)
        given = attack.score(target, references, known)
        assert np.array_equal(given, attack.score(target, None, None))
    for name in ("calibrated", "rmia"):
        attack = attack_named(name)
        given = attack.score(target, references, known)
        assert np.array_equal(given, attack.score(target, references, ~known))


@pytest.mark.numeric
def test_lira_online_is_the_ratio_of_two_gaussian_densities() -> None:
    """Slow oracle: densities of scipy, with the covariance pooled over worlds and slots."""
    target, _, references, known = game(1.0)
    found = LiraOnline(prior=1e12).score(target, references, known)
    seen, values = (one.margins().mean(axis=2) for one in (target, references))
    parts = [
        values[coins[:, s], s] - values[coins[:, s], s].mean(axis=0)
        for coins in (known, ~known)
        for s in range(SLOTS)
    ]
    away = np.concatenate(parts)
    common = away.T @ away / (SLOTS * (REFERENCES - 2))
    common += 1e-6 * np.trace(common) / 2 * np.eye(2)
    for slot in range(SLOTS):
        a, b = (values[coins[:, slot], slot].mean(axis=0) for coins in (known, ~known))
        laws = [multivariate_normal(mean, common).logpdf(seen[:, slot]) for mean in (a, b)]
        np.testing.assert_allclose(found[:, slot], laws[0] - laws[1], rtol=1e-6, atol=1e-8)


@pytest.mark.numeric
def test_lira_offline_is_a_normal_deviate_of_world_b() -> None:
    target, _, references, known = game(1.0)
    found = LiraOffline(prior=0).score(target, references, known)
    seen, values = (one.margins().mean(axis=(2, 3)) for one in (target, references))
    for slot in range(SLOTS):
        out = values[~known[:, slot], slot]
        expected = (seen[:, slot] - out.mean()) / out.std(ddof=1)
        np.testing.assert_allclose(found[:, slot], expected, rtol=1e-5)
    spoilt = replace(references, confidences=references.confidences.copy())
    spoilt.confidences[known] = 1e3
    other = LiraOffline(prior=0).score(target, spoilt, known)
    np.testing.assert_allclose(other, found, rtol=1e-12)


def test_lira_by_windows_uses_every_window() -> None:
    """One window with the signal, one with noise that is much louder: the mean drowns."""
    rng = np.random.default_rng(0)
    slots, coins = np.zeros((SLOTS, 1)), rng.random((80, SLOTS)) < 0.5
    clear = world(coins, 2.0, 1, slots, windows=2)
    loud = rng.normal(0, 30, (80, SLOTS, 1))
    clear.confidences[:, :, 1, :, 0] += loud
    target, references = clear.take(slice(0, 20)), clear.take(slice(20, 80))
    mean, each = (
        auc(LiraOnline(per_window=one).score(target, references, coins[20:]), coins[:20])
        for one in (False, True)
    )
    assert mean < 0.65
    assert each > 0.85


def test_rmia_counts_the_contents_that_are_beaten() -> None:
    """Slow oracle of the definition, over other slots and over decoys."""
    target, _, references, known = game(1.0, targets=3)
    own = target.decoys
    assert own is not None
    both = replace(references, decoys=own.take(np.arange(REFERENCES) % 3))
    for theirs in (references, both):
        found = Rmia(gamma=1.1).score(target, theirs, known)
        for t in range(3):
            for s in range(0, SLOTS, 7):
                assert found[t, s] == pytest.approx(_rmia(target, theirs, t, s))


def _likelihood(signals: Signals, model: int, slot: int, side: int) -> float:
    return math.exp(-signals.losses[model, slot, :, side, side].mean())


def _rmia(target: Signals, references: Signals, model: int, slot: int) -> float:
    def ratio(one: Signals, known: Signals, s: int, side: int) -> float:
        mean = np.mean([_likelihood(known, r, s, side) for r in range(len(known))])
        return _likelihood(one, model, s, side) / float(mean)

    if references.decoys is not None and target.decoys is not None:
        pair, others = (target.decoys, references.decoys), range(DECOYS)
        population = [ratio(*pair, z, side) for z in others for side in (0, 1)]
    else:
        others = [z for z in range(SLOTS) if z != slot]  # type: ignore[assignment]
        population = [ratio(target, references, z, side) for z in others for side in (0, 1)]
    a, b = (ratio(target, references, slot, side) for side in (0, 1))
    share = [np.mean([x / z >= 1.1 for z in population]) for x in (a, b)]
    return float(share[0] - share[1])


def test_quantiles_take_away_what_the_content_explains() -> None:
    """A slot's level is its feature here: the score is about the noise's normal deviate."""
    target, _, _, _ = game(0.0, targets=2)
    found = QuantileRegression().score(target)
    level = target.features[:, 0]
    noise = target.margins().mean(axis=(2, 3)) - level
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.85
    assert abs(np.corrcoef(found.ravel(), np.tile(level, 2))[0, 1]) < 0.5
    with pytest.raises(InputError, match=r"^decoys must be given for quantile"):
        QuantileRegression().score(replace(target, decoys=None))


def test_joint_decoding_takes_the_other_coins_off() -> None:
    """Every coin moves all margins; alone a slot is blurred by 19 others, together none is."""
    rng = np.random.default_rng(0)
    coins = rng.random((100, SLOTS)) < 0.5
    mixing = np.eye(SLOTS) + 0.4 * rng.normal(size=(SLOTS, SLOTS))
    margins = (2.0 * coins - 1) @ mixing + 0.2 * rng.normal(size=coins.shape)
    level = np.zeros((*coins.shape, 1, 2, 2))
    level[:, :, 0, :, 0] = margins[:, :, None]
    signals = answers(level, np.zeros((SLOTS, 1)))
    target, references = signals.take(slice(0, 20)), signals.take(slice(20, 100))
    alone, together = (
        auc(attack.score(target, references, coins[20:]), coins[:20])
        for attack in (LiraOnline(), Joint())
    )
    assert alone < 0.9
    assert together > 0.97


def test_joint_decoding_with_an_infinite_penalty_is_the_calibrated_margin() -> None:
    target, _, references, known = game(1.0)
    found = Joint(penalties=(1e12,)).score(target, references, known)
    seen, rows = (one.margins().mean(axis=(2, 3)) for one in (target, references))
    expected = (seen - rows.mean(axis=0)) / rows.std(axis=0)
    np.testing.assert_allclose(found / found[0, 0], expected / expected[0, 0], rtol=1e-6)


def test_joint_decoding_leaves_one_reference_out_to_choose() -> None:
    """Slow oracle of the chosen penalty: fits without each row in turn."""
    target, _, references, known = game(1.0)
    rows = references.margins().mean(axis=(2, 3))
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    signs = 2.0 * known - 1
    left = signs - float((rows * signs).sum() / (rows**2).sum()) * rows
    grid = (0.03, 0.3, 3.0)
    errors = {math.inf: (left**2).sum()}
    for penalty in grid:
        ridge = penalty * REFERENCES * np.eye(SLOTS)
        total = 0.0
        for row in range(REFERENCES):
            others = np.delete(np.arange(REFERENCES), row)
            x, y = rows[others], left[others]
            total += (
                (left[row] - rows[row] @ np.linalg.solve(x.T @ x + ridge, x.T @ y)) ** 2
            ).sum()
        errors[penalty] = total
    best = min(errors, key=lambda penalty: errors[penalty])
    chosen = Joint(penalties=(1e12,) if best == math.inf else (best,))
    np.testing.assert_allclose(
        Joint(penalties=grid).score(target, references, known),
        chosen.score(target, references, known),
        rtol=1e-6,
    )


@pytest.mark.parametrize("classifier", [Logistic(), Boosting(rounds=30)])
def test_learned_attacks_generalise(classifier: Logistic | Boosting) -> None:
    """Both find an effect that allows an AUC of 0.92, and are the same in every call."""
    target, coins, references, known = game(2.0)
    attack = Learned(classifier)
    found = attack.score(target, references, known)
    assert auc(found, coins) > 0.82
    assert np.array_equal(found, attack.score(target, references, known))


def test_learned_attacks_read_maps() -> None:
    """An effect in one cell of the map, and nowhere else, is found."""
    rng = np.random.default_rng(0)
    coins = rng.random((60, SLOTS)) < 0.5
    plain = world(coins, 0.0, 1, np.zeros((SLOTS, 1)))
    maps = rng.normal(size=(60, SLOTS, 2, 2, 3, 3))
    maps[:, :, 0, 0, 1, 2] -= 3.0 * coins
    with_maps = replace(plain, maps=maps)
    for signals, low, high in ((with_maps, 0.85, 1.0), (plain, 0.4, 0.6)):
        target, references = signals.take(slice(0, 20)), signals.take(slice(20, 60))
        assert low < auc(Learned().score(target, references, coins[20:]), coins[:20]) < high


@pytest.mark.numeric
def test_leave_one_out_is_the_attack_with_the_others() -> None:
    _, _, signals, coins = game(1.0)
    found = leave_one_out(LiraOnline(), signals, coins)
    others = np.arange(1, REFERENCES)
    first = LiraOnline().score(signals.take(slice(0, 1)), signals.take(others), coins[1:])
    np.testing.assert_allclose(found[:1], first, rtol=1e-9)
    flipped = coins.copy()
    flipped[0] = ~flipped[0]
    again = leave_one_out(LiraOnline(), signals, flipped)[:1]
    np.testing.assert_allclose(again, first, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Joint(penalties=()), "penalties must be"),
        (lambda: LiraOnline(prior=-1), "prior must be"),
        (lambda: LiraOffline(prior=-1), "prior must be"),
        (lambda: Rmia(gamma=0), "gamma must be"),
        (lambda: Logistic(0), "inverse_penalty must be"),
        (lambda: Boosting(rounds=0), "rounds must be"),
        (lambda: Boosting(leaves=1), "leaves must be"),
        (lambda: QuantileRegression(levels=(0.5, 0.2)), "levels must be"),
        (lambda: QuantileRegression(penalty=-1), "penalty must be"),
        (lambda: attack_named("lira"), "attack must be one of loss, lira-online"),
    ],
)
def test_bad_settings_are_named(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"^{message}"):
        make()
