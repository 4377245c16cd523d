"""The crops that are tried: windows follow the crop's law, worlds differ in the patch alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.attacks.base import AttackedRun
from cropaudit.attacks.slot_views import (
    SlotViews,
    StratifiedWindows,
    background_crops,
    in_groups,
    log_worlds,
    slot_views,
)
from cropaudit.errors import InputError
from cropaudit.training.canaries import add_slots
from cropaudit.training.canaries.backgrounds import Natural, Sparse
from cropaudit.training.canaries.designs import Opposed
from cropaudit.training.canaries.planting import plant
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops.joint import Window
from cropaudit.training.data.images import IGNORE
from tests.attacks.runs import RESIZED, attacked, scenes

CROP = Crop(Size(10, 12), padding=1, horizontal_flip=0.3)
PATCH = Rectangle(Size(5, 6))


def canaries(count: int, crop: CropLaw = CROP, **changes: object) -> AttackedRun:
    return attacked(*add_slots(scenes(3), count, crop, PATCH, seed=2), crop, **changes)


def test_windows_are_a_stratified_sample_of_the_law() -> None:
    """The mean over strata is the law's mean: of the pixels shown, and of a flip.

    2,000 samples of 4 windows: 5 deviations of the mean (simple sampling is no better than
    stratified), false failures below 1 in a million.
    """
    run = canaries(1)
    law = windows_of(run.slots[0], run.data.masks[run.slots[0].record], CROP)
    weights = law.hits() * law.weights[:, None, None]
    weights = weights / weights.sum()
    rng, strata = np.random.default_rng(0), StratifiedWindows(law, law.hits(), 4)
    assert strata.probability == pytest.approx(run.slots[0].inclusion)
    drawn = [w for _ in range(2000) for w in strata.draw(rng)]
    flips = [int(w.flipped_rows) + 2 * int(w.flipped_columns) for w in drawn]
    shown = np.array([law.shown[f, w.top, w.left] for f, w in zip(flips, drawn, strict=True)])
    assert shown.min() > 0
    for found, values in ((shown, law.shown), (np.array(flips) == 2, np.arange(4) == 2)):
        values = np.broadcast_to(
            values if values.ndim > 1 else values[:, None, None], law.shown.shape
        )
        mean = (weights * values).sum()
        spread = math.sqrt((weights * (values - mean) ** 2).sum() / len(drawn))
        assert abs(found.mean() - mean) <= 5 * spread


def test_each_window_of_a_kind_is_equally_likely() -> None:
    """One window of each of four strata: every window comes at its share of the crop's law."""
    crop, draws = Crop(Size(16, 16)), 2000
    run = canaries(1, crop)
    law = windows_of(run.slots[0], run.data.masks[run.slots[0].record], crop)
    strata, generator = StratifiedWindows(law, law.hits(), 4), np.random.default_rng(0)
    counts = np.zeros(law.shown.shape[1:])
    for _ in range(draws):
        for window in strata.draw(generator):
            counts[window.top, window.left] += 1
    hits = law.shown[0] > 0
    expected = 4 * draws / hits.sum()
    assert not counts[~hits].any()
    # Six deviations in each of at most 117 places: a false failure in 1e-7 of all seeds.
    assert np.abs(counts[hits] - expected).max() < 6 * math.sqrt(expected)


@pytest.mark.parametrize("crop", [Crop(Size(10, 12)), RESIZED], ids=str)
def test_every_stratum_is_met(crop: CropLaw) -> None:
    """Of so many strata as windows, each window is drawn once, from the least shown to the most."""
    run = canaries(1, crop)
    law = windows_of(run.slots[0], run.data.masks[run.slots[0].record], crop)
    count = int(law.hits().sum())
    strata = StratifiedWindows(law, law.hits(), count + 3)
    drawn = strata.draw(np.random.default_rng(0))
    assert strata.strata == len(drawn) == count
    if isinstance(crop, Crop):
        assert len(set(drawn)) == count
        shown = [int(law.shown[0, w.top, w.left]) for w in drawn]
        assert shown == sorted(shown)
    for none in (
        StratifiedWindows(law, law.hits(), 0),
        StratifiedWindows(law, ~law.hits() & law.hits(), 3),
    ):
        assert none.strata == 0
        assert none.draw(np.random.default_rng(0)) == []


@pytest.mark.parametrize("crop", [CROP, RESIZED], ids=str)
def test_views_show_both_worlds_at_the_same_windows(crop: CropLaw) -> None:
    """A sample of 4,096 resized windows places an inclusion within 0.04 but once in a million."""
    run = canaries(3, crop)
    for views in slot_views(run, 5, seed=0):
        images, masks = views.crops(run)
        assert len(views) == len(images) == len(masks) == 10
        assert views.misses == ()
        a, b = masks[:5], masks[5:]
        labelled = a != IGNORE
        assert torch.equal(labelled, b != IGNORE)
        same = (images[:5] == images[5:]).all(dim=1)
        if isinstance(crop, Crop):  # resized, a pixel beside the patch is blended with it
            assert bool(labelled.flatten(1).any(dim=1).all())
            assert bool(same[~labelled].all()), "worlds differ inside the patch only"
        assert not bool(same.all())
        assert views.inclusion == pytest.approx(views.slot.inclusion, abs=0.04)
        assert views.loudness == 1.0


def test_several_crops_show_the_patch_more_often_or_more_loudly() -> None:
    one = slot_views(canaries(1), 2, seed=0)[0]
    for clipped in ("together", "apart"):
        several = slot_views(canaries(1, crops_per_image=3, clipped=clipped), 2, seed=0)[0]
        assert several.inclusion == pytest.approx(1 - (1 - one.inclusion) ** 3)
        hits = 3 * one.inclusion / several.inclusion
        assert several.loudness == pytest.approx(hits if clipped == "apart" else 1.0)


@pytest.mark.parametrize(
    ("crop", "background"), [(CROP, Sparse()), (RESIZED, Natural())], ids=["uniform", "resized"]
)
def test_misses_are_tried_where_the_record_bears_labels(
    crop: CropLaw, background: Sparse | Natural
) -> None:
    data, slots = plant(scenes(3), Opposed(background=background), 2, crop, PATCH, 1)
    run = attacked(data, slots, crop)
    for views in slot_views(run, 5, seed=0):
        assert len(views.misses) == 5
        images, masks = views.crops(run)
        assert len(images) == len(views) == 15
        assert bool((masks[10:] != IGNORE).any()), "labels show in missing windows"


def test_sparse_labels_need_windows_of_one_size() -> None:
    with pytest.raises(InputError, match="crop must be a crop of one size, for sparse labels"):
        plant(scenes(3), Opposed(background=Sparse()), 2, RESIZED, PATCH, 1)


def test_no_windows_are_refused() -> None:
    with pytest.raises(InputError, match="windows must be at least 1, got 0"):
        slot_views(canaries(1), 0, seed=0)


def test_background_crops() -> None:
    run = canaries(4)
    stream = torch.Generator().manual_seed(0)
    images, masks, share = background_crops(run, 12, stream)
    assert images.shape == (12, 3, 10, 12)
    assert masks.shape == (12, 10, 12)
    assert share == 3 / 12, "slots on ignored backgrounds add nothing"
    assert bool((masks != IGNORE).flatten(1).any(dim=1).all())
    bare = attacked(run.data.take([3, 4]), (), CROP)
    images, masks, share = background_crops(bare, 12, stream)
    assert (images.shape, masks.shape, share) == ((0, 3, 10, 12), (0, 10, 12), 0.0)


def test_groups_keep_slots_whole_and_in_order() -> None:
    views = slot_views(canaries(9), 10, seed=0)
    groups = list(in_groups(views))
    assert [len(group) for group in groups] == [3, 3, 3]
    assert [one for group in groups for one in group] == list(views)
    assert list(in_groups(())) == []


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0.01, 0.4, 1.0]),
    st.sampled_from([0.2, 0.9, 1.0]),
    st.integers(0, 10**6),
)
def test_log_worlds_is_the_mixture(hits, misses, rate, inclusion, seed) -> None:
    slot = canaries(1).slots[0]
    views = SlotViews(slot, inclusion, 1.0, (Window(0, 0),) * hits, (Window(0, 0),) * misses)
    exponents = np.random.default_rng(seed).normal(size=2 * hits + misses) * 3
    a, b, missed = np.split(np.exp(exponents), [hits, 2 * hits])
    miss = missed.mean() if misses else 1.0
    rest = 1 - rate + rate * (1 - inclusion) * miss
    expected = [math.log(rest + rate * inclusion * world.mean()) for world in (a, b)]
    found = log_worlds(torch.tensor(exponents), views, rate)
    assert [float(value) for value in found] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_log_worlds_overflows_nowhere() -> None:
    slot = canaries(1).slots[0]
    views = SlotViews(slot, 0.5, 1.0, (Window(0, 0),) * 2, ())
    exponents = torch.tensor([5000.0, -5000.0, -9000.0, -9000.0], dtype=torch.float64)
    a, b = log_worlds(exponents, views, 0.3)
    assert float(a) == pytest.approx(5000 + math.log(0.3 * 0.5 / 2))
    assert float(b) == pytest.approx(math.log(1 - 0.15))
