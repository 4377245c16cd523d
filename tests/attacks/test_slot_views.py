"""The crops that are tried: windows follow the crop's law, worlds differ in the patch alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.attacks.slot_views import (
    SlotViews,
    background_crops,
    in_groups,
    log_worlds,
    slot_views,
    stratified,
)
from cropaudit.errors import InputError
from cropaudit.training.canaries import add_slots
from cropaudit.training.canaries.backgrounds import Sparse
from cropaudit.training.canaries.designs import Opposed
from cropaudit.training.canaries.planting import plant
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window
from cropaudit.training.data import IGNORE, SegmentationData

CROP = Crop(Size(10, 12), padding=1, horizontal_flip=0.3)
PATCH = Rectangle(Size(5, 6))


def scenes(images: int = 3) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    shapes = [(24, 28), (26, 22), (31, 25)][:images]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in shapes),
        tuple(torch.randint(4, s, generator=stream, dtype=torch.uint8) for s in shapes),
        ("sky", "road", "car", "tree"),
        tuple(f"image {i}" for i in range(images)),
        "test",
    )


def test_windows_are_a_stratified_sample_of_the_law() -> None:
    """The mean over strata is the law's mean: of the pixels shown, and of a flip.

    2,000 samples of 4 windows: 5 deviations of the mean (simple sampling is no better than
    stratified), false failures below 1 in a million.
    """
    data, slots = add_slots(scenes(), 1, CROP, PATCH, seed=2)
    law = windows_of(slots[0], data.masks[slots[0].record], CROP)
    weights = law.hits() * law.weights[:, None, None]
    weights = weights / weights.sum()
    rng = np.random.default_rng(0)
    drawn = [w for _ in range(2000) for w in stratified(law, law.hits(), 4, rng)]
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


def test_every_stratum_is_met() -> None:
    """Of so many strata as windows, each window is drawn once."""
    data, slots = add_slots(scenes(), 1, Crop(Size(10, 12)), PATCH, seed=2)
    law = windows_of(slots[0], data.masks[slots[0].record], Crop(Size(10, 12)))
    count = int(law.hits().sum())
    drawn = stratified(law, law.hits(), count, np.random.default_rng(0))
    assert len(set(drawn)) == count
    assert stratified(law, law.hits(), 0, np.random.default_rng(0)) == ()


def test_views_show_both_worlds_at_the_same_windows() -> None:
    data, slots = add_slots(scenes(), 3, CROP, PATCH, seed=2)
    for views in slot_views(data, slots, CROP, 5, seed=0):
        images, masks = views.crops(data, CROP)
        assert len(views) == len(images) == len(masks) == 10
        assert views.misses == ()
        a, b = masks[:5], masks[5:]
        labelled = a != IGNORE
        assert torch.equal(labelled, b != IGNORE)
        assert bool(labelled.flatten(1).any(dim=1).all())
        same = (images[:5] == images[5:]).all(dim=1)
        assert bool(same[~labelled].all()), "worlds differ inside the patch only"
        assert views.inclusion == pytest.approx(views.slot.inclusion)


def test_misses_are_tried_where_the_record_bears_labels() -> None:
    data, slots = plant(scenes(), Opposed(background=Sparse()), 2, CROP, PATCH, 1)
    for views in slot_views(data, slots, CROP, 5, seed=0):
        assert len(views.misses) == 5
        images, masks = views.crops(data, CROP)
        assert len(images) == len(views) == 15
        assert bool((masks[10:] != IGNORE).any()), "sparse labels show in missing windows"


def test_no_windows_are_refused() -> None:
    data, slots = add_slots(scenes(), 1, CROP, PATCH, seed=2)
    with pytest.raises(InputError, match="windows must be at least 1, got 0"):
        slot_views(data, slots, CROP, 0, seed=0)


def test_background_crops() -> None:
    data, _ = add_slots(scenes(), 4, CROP, PATCH, seed=2)
    stream = torch.Generator().manual_seed(0)
    images, masks, share = background_crops(data, CROP, 12, stream)
    assert images.shape == (12, 3, 10, 12)
    assert masks.shape == (12, 10, 12)
    assert share == 3 / 12, "slots on ignored backgrounds add nothing"
    assert bool((masks != IGNORE).flatten(1).any(dim=1).all())
    bare = data.take([3, 4])
    images, masks, share = background_crops(bare, CROP, 12, stream)
    assert (images.shape, masks.shape, share) == ((0, 3, 10, 12), (0, 10, 12), 0.0)


def test_groups_keep_slots_whole_and_in_order() -> None:
    data, slots = add_slots(scenes(), 9, CROP, PATCH, seed=2)
    views = slot_views(data, slots, CROP, 10, seed=0)
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
    slot = add_slots(scenes(1), 1, CROP, PATCH, seed=2)[1][0]
    views = SlotViews(slot, inclusion, (Window(0, 0),) * hits, (Window(0, 0),) * misses)
    exponents = np.random.default_rng(seed).normal(size=2 * hits + misses) * 3
    a, b, missed = np.split(np.exp(exponents), [hits, 2 * hits])
    miss = missed.mean() if misses else 1.0
    rest = 1 - rate + rate * (1 - inclusion) * miss
    expected = [math.log(rest + rate * inclusion * world.mean()) for world in (a, b)]
    found = log_worlds(torch.tensor(exponents), views, rate)
    assert [float(value) for value in found] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_log_worlds_overflows_nowhere() -> None:
    slot = add_slots(scenes(1), 1, CROP, PATCH, seed=2)[1][0]
    views = SlotViews(slot, 0.5, (Window(0, 0),) * 2, ())
    exponents = torch.tensor([5000.0, -5000.0, -9000.0, -9000.0], dtype=torch.float64)
    a, b = log_worlds(exponents, views, 0.3)
    assert float(a) == pytest.approx(5000 + math.log(0.3 * 0.5 / 2))
    assert float(b) == pytest.approx(math.log(1 - 0.15))
