"""A mechanism at every value of one number: order, search and the limit without noise."""

import itertools
import math

import numpy as np
import pytest

from cropaudit.accounting.accountant import pair_bracket
from cropaudit.accounting.mechanisms import (
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.estimators import family as module
from cropaudit.audit.estimators.family import Axis, Family, Rejected, noiseless_tpr
from cropaudit.errors import InputError

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 100)
FIXED = FixedSizePatch(1.0, 0.1, 0.3, 30)
SHUFFLE = ShufflePatch(1.0, 0.1, 0.3, 100)
NOISE, INCLUSION, RATE = "noise multiplier", "inclusion probability", "sampling rate"
FPR = np.concatenate([[0.0], np.geomspace(1e-6, 0.5, 80), np.linspace(0.51, 1.0, 50)])


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few members, far apart: a search can be held against a scan."""
    monkeypatch.setattr(module, "_STEP", 0.25)
    monkeypatch.setattr(module, "_LOUDER", 5.0)
    monkeypatch.setattr(module, "_QUIETER", 10.0)
    monkeypatch.setattr(module, "_LEAST", 1e-3)


@pytest.mark.parametrize(
    ("mechanism", "axis"),
    [
        *itertools.product((POISSON, FIXED), (NOISE, INCLUSION, RATE)),
        *itertools.product((SHUFFLE, FullBatchPatch(1.0, 1.0, 0.3, 3)), (NOISE, INCLUSION)),
    ],
    ids=str,
)
def test_louder_members_allow_more_at_every_rate(mechanism: PatchMechanism, axis: Axis) -> None:
    """Curves are nested, in both orders of the worlds, up to what their grids smear.

    That is all the search needs, and what makes the rejection of a member one of all quieter ones.
    """
    family = Family(mechanism, DELTA, axis)
    low, high = family.span
    steps = [max(low, -1500), -400, -60, 0, 60, min(400, high)]
    indices = sorted({min(max(step, low), high) for step in steps})
    for quiet, loud in itertools.pairwise(indices):
        assert family.epsilon(quiet) <= family.epsilon(loud)
        for below, above in zip(family.played(quiet), family.played(loud), strict=True):
            assert np.all(below(FPR) <= above(FPR) + 1e-3 * (1 - FPR) + 2e-4)


@pytest.mark.parametrize("axis", [NOISE, INCLUSION, RATE])
def test_members_are_the_mechanism_at_other_values(axis: Axis) -> None:
    family = Family(POISSON, DELTA, axis)
    assert family.member(0) == POISSON
    field = {
        NOISE: "noise_multiplier",
        INCLUSION: "inclusion",
        RATE: "sample_rate",
    }[axis]
    low, high = family.span
    for index in (low, -700, -1, 1, high):
        member = family.member(index)
        assert getattr(member, field) == family.value(index)
        others = {"noise_multiplier", "inclusion", "sample_rate", "steps"} - {field}
        assert all(getattr(member, name) == getattr(POISSON, name) for name in others)
    values = [family.value(index) for index in (low, -700, 0, 700, high)]
    assert values == sorted(values, reverse=axis == NOISE)
    if axis != NOISE:
        assert family.value(high) == 1.0
        assert 0.99e-6 <= family.value(low) <= 1.002e-6
    else:
        assert family.value(low) == pytest.approx(module._QUIETER, rel=1e-3)
        assert family.value(high) == pytest.approx(1 / module._LOUDER, rel=1e-3)


def test_a_certain_crop_is_the_loudest_of_its_axis() -> None:
    family = Family(PoissonPatch(1.0, 0.1, 1.0, 5), DELTA, INCLUSION)
    assert family.span[1] == 0
    assert family.value(0) == 1.0
    rare = Family(PoissonPatch(1.0, 0.1, 1e-7, 5), DELTA, INCLUSION)
    assert rare.span[0] == 0
    assert rare.value(0) == 1e-7


@pytest.mark.parametrize("index", [-900, -100, 0, 100, 500])
def test_curve_and_epsilon_bracket_the_game(index: int) -> None:
    """The curve lies above a far finer composition, epsilon below it."""
    for mechanism in (POISSON, FIXED):
        family = Family(mechanism, DELTA)
        fine = pair_bracket(family.member(index).pair(), mechanism.compositions, DELTA, 1e-4)
        assert family.epsilon(index) <= fine.upper
        assert family.epsilon(index) >= 0.97 * fine.lower
        for own, exact in zip(family.played(index), fine.curve.trade_offs(), strict=True):
            assert np.all(own(FPR) >= exact(FPR) - 3e-4)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("axis", [NOISE, INCLUSION])
def test_index_of_is_the_quietest_member_that_is_loud_enough(axis: Axis) -> None:
    family = Family(POISSON, DELTA, axis)
    low, high = family.span
    every = np.array([family.epsilon(index) for index in range(low, high + 1)])
    assert np.all(np.diff(every) >= 0)
    wanted = [0.0, *every, *(every * 1.000001), *(every * 0.999), every[-1] + 1]
    for epsilon in wanted:
        enough = np.flatnonzero(every >= epsilon)
        expected = None if enough.size == 0 else low + int(enough[0])
        assert family.index_of(float(epsilon)) == expected


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("axis", "order"),
    [(NOISE, "either"), (NOISE, "forward"), (NOISE, "backward"), (INCLUSION, "either")],
)
def test_loudest_rejected_is_that_of_a_scan(axis: Axis, order: str) -> None:
    """Measurements: a point (fpr, tpr) rejects what does not allow it."""
    family = Family(POISSON, DELTA, axis, order)
    low, high = family.span
    found = []
    for fpr, tpr in itertools.product((0.0, 0.1, 0.6), (1e-4, 0.01, 0.2, 0.5, 1.0)):

        def rejects(curve, fpr: float = fpr, tpr: float = tpr) -> bool:
            return float(curve(np.array([fpr]))[0]) < tpr

        scan = [family.rejected(index, rejects) for index in range(low, high + 1)]
        outside = all(rejects(limit) for limit in family.limits())
        got = family.loudest_rejected(rejects)
        if not scan[0]:
            assert got == Rejected(0.0, None)
        elif outside:
            assert got == Rejected(math.inf, None, outside=True)
            assert all(scan)
        else:
            last = low + max(i for i, hit in enumerate(scan) if hit)
            assert got == Rejected(family.epsilon(last), family.value(last), False, last)
        found.append((got.value is None, got.outside))
    assert len(set(found)) == 3, "all three outcomes occur"


def test_orders_of_the_worlds() -> None:
    """Either means both are needed; views share what was computed."""
    family = Family(POISSON, DELTA)
    forward, backward = family.in_one_order()
    assert (forward.order, backward.order) == ("forward", "backward")
    assert [one.order for one in forward.in_one_order()] == ["forward"]
    at = np.array([0.01, 0.2])
    both = [curve(at) for curve in family.played(0)]
    assert np.array_equal(forward.played(0)[0](at), both[0])
    assert np.array_equal(backward.played(0)[0](at), both[1])
    assert not np.allclose(both[0], both[1])
    assert forward.curve(0) is family.curve(0)
    # A point between both curves contradicts one order only.
    height = float((both[0][0] + both[1][0]) / 2)
    seen = [
        item.rejected(0, lambda curve: float(curve(at)[0]) < height)
        for item in (family, forward, backward)
    ]
    assert seen == [False, both[0][0] < height, both[1][0] < height]


def test_the_other_order_is_the_mirrored_curve() -> None:
    """Q against P: what is a false positive becomes a hit (self-dual up to the grids)."""
    forward, backward = Family(FIXED, DELTA).played(0)
    fpr = np.linspace(0.02, 0.9, 20)
    tpr = forward(fpr)
    assert backward(1 - tpr) == pytest.approx(1 - fpr, abs=5e-3)


def brute_noiseless(mechanism: PatchMechanism, fpr: float, *, exchanged: bool) -> float:
    """Neyman and Pearson over all 3^T sequences of means."""
    pair, steps = mechanism.pair(), mechanism.compositions
    world_a, world_b = (pair.q, pair.p) if exchanged else (pair.p, pair.q)
    atoms = [
        (math.prod(world_a[i] for i in path), math.prod(world_b[i] for i in path))
        for path in itertools.product(range(3), repeat=steps)
    ]
    atoms.sort(key=lambda atom: -math.inf if atom[1] == 0 else -atom[0] / atom[1])
    tpr, left = 0.0, fpr
    for a, b in atoms:
        take = 1.0 if b == 0 else min(1.0, left / b)
        tpr, left = tpr + take * a, left - take * b
        if take < 1:
            break
    return tpr


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.3, 0.4, 5),
        PoissonPatch(1.0, 1.0, 0.4, 3),
        PoissonPatch(1.0, 0.3, 1.0, 4),
        PoissonPatch(1.0, 1.0, 1.0, 2),
        PoissonPatch(1.0, 0.3, 0.001, 4),
        FixedSizePatch(1.0, 0.3, 0.4, 5),
        FixedSizePatch(1.0, 1.0, 1.0, 2),
        ShufflePatch(1.0, 0.5, 0.4, 6),
        CyclicPatch(1.0, 0.5, 1.0, 6),
        FullBatchPatch(1.0, 1.0, 0.7, 4),
    ],
    ids=str,
)
def test_noiseless_rates_are_those_of_all_sequences(
    mechanism: PatchMechanism, exchanged: bool
) -> None:
    rates = np.array([0.0, 1e-6, 0.01, 0.2, 0.5, 0.9, 1.0])
    found = noiseless_tpr(mechanism, rates, exchanged=exchanged)
    for fpr, tpr in zip(rates, found, strict=True):
        expected = brute_noiseless(mechanism, float(fpr), exchanged=exchanged)
        assert tpr == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mechanism", [POISSON, FIXED, SHUFFLE], ids=str)
def test_noise_never_helps(mechanism: PatchMechanism) -> None:
    """No member allows more than the limit without noise, up to what the curves' grids smear.

    Curves of far louder members are coarse and lie above it by up to 0.105: that costs power only.
    """
    family = Family(mechanism, DELTA)
    for index, smear in ((0, 1e-9), (400, 5e-4), (1000, 0.11)):
        for curve, limit in zip(family.played(index), family.limits(), strict=True):
            assert np.all(curve(FPR) <= limit(FPR) + smear)


@pytest.mark.parametrize("order", ["either", "forward"])
@pytest.mark.parametrize("axis", [NOISE, INCLUSION, RATE])
def test_what_no_member_allows_is_outside(axis: Axis, order: str) -> None:
    """All hits and no alarms: with noise 1 even a certain crop errs, as do 30 noiseless steps."""
    family = Family(PoissonPatch(1.0, 0.05, 0.1, 30), DELTA, axis, order)
    found = family.loudest_rejected(lambda curve: float(curve(np.array([1e-9]))[0]) < 0.999)
    assert found == Rejected(math.inf, None, outside=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((POISSON, 0.0), r"delta must be in \(0, 1\), got 0"),
        ((POISSON, 1.0), r"delta must be in \(0, 1\), got 1"),
        ((PoissonPatch(1.0, 0.1, 0.0, 9), DELTA), "record rate must be above 0, got 0"),
        ((PoissonPatch(1.0, 0.1, 0.3, 9, crops=2), DELTA), "crops must be 1 in a family, got 2"),
        ((SHUFFLE, DELTA, RATE), "sampler must be poisson or fixed to vary its rate, got shuffle"),
        (
            (FullBatchPatch(1.0, 1.0, 0.5, 3), DELTA, RATE),
            "sampler must be poisson or fixed to vary its rate, got full",
        ),
    ],
)
def test_what_is_no_family_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Family(*arguments)
