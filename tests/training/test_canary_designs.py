"""Designs of canaries: worlds differ inside the patch only, whatever stands there and around."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry.shapes import Borders, Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion.probability import inclusion, inclusion_map
from cropaudit.audit.config.audit_config import load_config
from cropaudit.audit.experiment.canary_plan import plant_canaries
from cropaudit.errors import InputError
from cropaudit.training.canaries import add_slots, fill_slots, filled, plant, trimmed
from cropaudit.training.canaries.backgrounds import Background, Ignore, Natural, Sparse
from cropaudit.training.canaries.designs import (
    BrightTexture,
    Content,
    Design,
    Ground,
    LabelOnly,
    ObjectPaste,
    Opposed,
)
from cropaudit.training.canaries.positions import Random, Stratified, Worst
from cropaudit.training.canaries.registry import DESIGNS, KnownDesign, register
from cropaudit.training.canaries.slots import footprint
from cropaudit.training.canaries.textures import Blocks, Flat, NaturalTexture, Periodic
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops.joint import Window, cut
from cropaudit.training.data.images import IGNORE, SegmentationData

CLASSES = ("sky", "road", "car", "person", "face", "plate")
BACKGROUNDS: list[Background] = [Natural(), Ignore(), Sparse()]
TEXTURES = [Blocks(), Blocks(1), Flat(), NaturalTexture(), Periodic(5)]
PASTED = [ObjectPaste("face"), ObjectPaste("plate")]
EVERY = [
    BrightTexture(),
    BrightTexture(Periodic()),
    *PASTED,
    *(LabelOnly(background=background) for background in BACKGROUNDS),
    *(Opposed(background, texture) for background in BACKGROUNDS for texture in TEXTURES),
]
ROUND = PixelMask(np.hypot(*np.mgrid[-3:4, -2:3]) <= 3.0)
PATCHES = [Rectangle(Size(5, 4)), Rectangle(Size(1, 1)), ROUND]
CROPS = [
    Crop(Size(11, 9)),
    Crop(Size(11, 9), padding=4),
    Crop(Size(11, 9), padding=14),
    Crop(Size(11, 9), padding=3, mode="reflect"),
    Crop(Size(11, 9), padding=Borders(1, 6, 0, 3), horizontal_flip=0.5, vertical_flip=0.5),
    Crop(Size(30, 34), pad_if_needed=True),
    Crop(Size(3, 4)),
]
POSITIONS = [Worst(), Random(), Stratified(3)]


def scenes() -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    sizes = [(24, 26), (33, 21)]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(torch.randint(2, s, generator=stream, dtype=torch.uint8) for s in sizes),
        CLASSES,
        ("one", "two"),
        "test",
    )


def all_windows(mask: torch.Tensor, crop: Crop) -> list[Window]:
    origins = crop.origins(Size(*mask.shape))
    flips = [
        (rows, columns)
        for rows in ((False, True) if crop.vertical_flip else (False,))
        for columns in ((False, True) if crop.horizontal_flip else (False,))
    ]
    return [
        Window(top, left, *flip)
        for flip in flips
        for top in range(origins.height)
        for left in range(origins.width)
    ]


def shows(window: Window, inside: torch.Tensor, crop: Crop) -> torch.Tensor:
    """Returns which pixels of a window are of ``inside``, by cutting it."""
    return cut(inside.to(torch.uint8)[None], inside.to(torch.uint8), window, crop)[0][0] == 1


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(EVERY),
    st.sampled_from(PATCHES),
    st.sampled_from(CROPS),
    st.sampled_from(POSITIONS),
    st.integers(1, 3),
    st.integers(0, 10**6),
)
def test_worlds_differ_inside_the_patch_only(
    design, patch, crop, positions, per_image, seed
) -> None:
    """Pixels and labels alike, whatever the other slots of the record hold; and somewhere."""
    data = scenes()
    empty, slots = plant(
        data, design, 5, crop, patch, seed, positions=positions, per_image=per_image
    )
    assert len(slots) == 5
    assert len(empty) == 2 + -(-5 // per_image)
    coins = np.random.default_rng(seed).random(5) < 0.5
    known = fill_slots(empty, slots, coins)
    for number, slot in enumerate(slots):
        mask = empty.masks[slot.record]
        inside = footprint(slot, mask)
        assert int(inside.sum()) == int(patch.mask().sum())
        assert bool((mask[inside] == IGNORE).all()), "an empty slot bears no label"
        for others in (empty, known):
            (image_a, mask_a), (image_b, mask_b) = (
                filled(others, slot, world_a=world) for world in (True, False)
            )
            assert torch.equal(image_a[:, ~inside], image_b[:, ~inside])
            assert torch.equal(mask_a[~inside], mask_b[~inside])
            assert torch.equal(mask_a[~inside], others.masks[slot.record][~inside])
            if not slot.natural_b:  # a photograph may bear A's content by chance
                assert not torch.equal(mask_a, mask_b)
            assert bool((mask_a[inside] < len(CLASSES)).all())
            assert bool((mask_b[inside] < len(CLASSES)).all())
        own = filled(known, slot, world_a=bool(coins[number]))
        assert torch.equal(own[0], known.images[slot.record])
        assert torch.equal(own[1], known.masks[slot.record])
        assert slot.inclusion == inclusion_map(empty.size(slot.record), crop, patch)[slot.position]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([Ignore(), Sparse()]),
    st.sampled_from([*PATCHES, Rectangle(Size(12, 3)), Rectangle(Size(13, 12))]),
    st.sampled_from(CROPS),
    st.sampled_from([LabelOnly, Opposed]),
    st.integers(1, 2),
    st.integers(0, 10**6),
)
def test_a_missing_window_shows_what_its_background_says(
    background, patch, crop, kind, per_image, seed
) -> None:
    """No label at all, or labels of world B and at least one, if it reads any pixel it may bear.

    Others of the record are empty: patches that none of the windows' pixels lie outside of cannot
    be labelled.
    """
    design = kind(background=background)
    try:
        empty, slots = plant(
            scenes(), design, 2, crop, patch, seed, positions=Random(), per_image=per_image
        )
    except InputError:  # two large patches do not fit one image
        return
    for slot in slots:
        image, mask = filled(empty, slot, world_a=True)
        beside = [other for other in slots if other.record == slot.record]
        legal = ~torch.stack([footprint(other, mask) for other in beside]).any(dim=0)
        inside = footprint(slot, mask)
        of_b = {
            label for other in beside for label in other.labels_b[other.pixels].unique().tolist()
        }
        for window in all_windows(mask, crop)[:: 1 if len(mask) < 30 else 3]:
            if shows(window, inside, crop).any():
                continue
            labels = set(cut(image, mask, window, crop)[1].unique().tolist()) - {IGNORE}
            if isinstance(background, Ignore):
                assert not labels
            else:
                assert labels <= of_b
                assert labels or not shows(window, legal, crop).any()


@pytest.mark.parametrize("patch", PATCHES, ids=str)
@pytest.mark.parametrize("design", [LabelOnly(None, Sparse()), Opposed(Sparse())], ids=str)
def test_without_padding_every_window_shows_each_label_of_b_just_once(design, patch) -> None:
    """Outside the patch, that is: hitting windows are diluted by no more."""
    crop = CROPS[0]
    empty, slots = plant(scenes(), design, 4, crop, patch, 7, positions=Random())
    for slot in slots:
        mask = empty.masks[slot.record]
        labels = sorted(slot.labels_b[slot.pixels].unique().tolist())
        for window in all_windows(mask, crop):
            shown = cut(mask[None], mask, window, crop)[1]
            assert sorted(shown[shown != IGNORE].tolist()) == labels


def test_world_b_of_a_natural_design_is_the_photograph() -> None:
    data = scenes()
    for design in (BrightTexture(), *PASTED):
        empty, slots = plant(data, design, 4, CROPS[0], PATCHES[0], 1, per_image=2)
        world_b = fill_slots(empty, slots, np.zeros(4, dtype=bool))
        for record, source in ((2, 0), (3, 1)):
            assert torch.equal(world_b.images[record], data.images[source])
            assert torch.equal(world_b.masks[record], data.masks[source])
        assert {slot.miss_gradient for slot in slots} == {None}
        assert all(slot.natural_b for slot in slots)


def test_a_bright_texture_bears_a_label_that_the_photograph_lacks() -> None:
    _, slots = plant(scenes(), BrightTexture(), 20, CROPS[0], PATCHES[0], 1)
    labels = {int(label) for slot in slots for label in slot.labels_a.unique()}
    assert labels <= {2, 3, 4, 5}, "photographs show classes 0 and 1"
    assert len(labels) > 2


def test_a_label_flip_leaves_the_pixels_alone() -> None:
    empty, slots = plant(scenes(), LabelOnly((4, 2)), 3, CROPS[0], PATCHES[0], 1)
    for slot in slots:
        a, b = (filled(empty, slot, world_a=world) for world in (True, False))
        assert torch.equal(a[0], b[0])
        assert (set(slot.labels_a.flatten().tolist()), set(slot.labels_b.flatten().tolist())) == (
            {4},
            {2},
        )


def test_opposed_halves_share_no_class_and_textures_but_blocks_are_equal() -> None:
    for texture in TEXTURES:
        _, slots = plant(scenes(), Opposed(texture=texture), 6, CROPS[0], Rectangle(Size(9, 9)), 1)
        for slot in slots:
            assert not set(slot.labels_a.flatten().tolist()) & set(slot.labels_b.flatten().tolist())
            same = torch.equal(slot.texture_a, slot.texture_b)
            assert same != isinstance(texture, Blocks)


def test_a_pasted_object_bears_its_class_and_keeps_what_is_around() -> None:
    data = scenes()
    for kind in ("face", "plate"):
        _, slots = plant(data, ObjectPaste(kind), 6, CROPS[0], Rectangle(Size(11, 9)), 1)
        assert len({slot.texture_a.numpy().tobytes() for slot in slots}) > 2, "several objects"
        for slot in slots:
            painted = slot.labels_a == CLASSES.index(kind)
            assert 0.15 * painted.numel() < int(painted.sum()) <= painted.numel()
            assert torch.equal(slot.texture_a[:, ~painted], slot.texture_b[:, ~painted])
            assert torch.equal(slot.labels_a[~painted], slot.labels_b[~painted])
            assert (slot.texture_a != slot.texture_b).any(dim=0)[painted].float().mean() > 0.9


def test_whole_records_of_one_texture() -> None:
    empty, slots = plant(scenes(), Opposed(texture=Flat((7, 8, 9))), 2, CROPS[0], PATCHES[0], 1)
    for slot in slots:
        image, _ = filled(empty, slot, world_a=True)
        assert image.flatten(1).unique(dim=1).tolist() == [[7], [8], [9]]
    empty, slots = plant(scenes(), Opposed(texture=Periodic(6)), 2, CROPS[0], PATCHES[0], 1)
    for slot in slots:
        image, _ = filled(empty, slot, world_a=False)
        assert torch.equal(image[:, 6:], image[:, :-6])
        assert torch.equal(image[:, :, 6:], image[:, :, :-6])
        assert image.max() > 200
        assert image.min() < 50


def test_slots_say_what_they_are() -> None:
    expected = {Natural(): None, Ignore(): 0.0, Sparse(): -1.0}
    for background, missing in expected.items():
        empty, slots = plant(scenes(), Opposed(background), 4, CROPS[0], PATCHES[0], 1, per_image=2)
        assert {slot.miss_gradient for slot in slots} == {missing}
        assert {slot.design for slot in slots} == {f"opposed halves, blocks of 4, {background}"}
        assert [slot.name for slot in slots] == [
            f"canary {number} in {source}"
            for number, source in enumerate(["one"] * 2 + ["two"] * 2)
        ]
        assert empty.names[2:] == ("canaries 0 to 1 in one", "canaries 2 to 3 in two")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(PATCHES), st.integers(0, 10**6))
def test_slots_of_one_record_keep_apart(patch, seed) -> None:
    try:
        empty, slots = plant(
            scenes(), LabelOnly(), 3, CROPS[0], patch, seed, positions=Random(), per_image=3
        )
    except InputError:  # places drawn at random may leave none for the last slot
        reject()
    covers = sum(footprint(slot, empty.masks[2]).int() for slot in slots)
    assert int(covers.max()) == 1


@pytest.mark.parametrize(
    ("design", "keywords", "message"),
    [
        (Opposed(), {"per_image": 0}, "canaries per image must be at least 1, got 0"),
        (Opposed(), {"per_image": 60}, "canaries per image must be few enough"),
        (Opposed(), {"added": False}, "canary slots must be at most 2: 1 in each of 2 images"),
        (LabelOnly((1, 1)), {}, "flip must be two different classes"),
        (LabelOnly((1, 9)), {}, "label must be 0 to 5, got 9"),
    ],
)
def test_what_cannot_be_is_refused(design, keywords, message) -> None:
    with pytest.raises(InputError, match=message):
        plant(scenes(), design, 60, CROPS[0], PATCHES[0], 1, **keywords)


def test_what_is_no_design_is_refused() -> None:
    for make, message in (
        (lambda: ObjectPaste("nose"), "kind must be one of face, plate, got nose"),
        (lambda: Blocks(0), "grain must be at least 1, got 0"),
        (lambda: Flat((0, 0, 256)), "colour must be three numbers in 0 to 255"),
        (lambda: Periodic(1), "period must be at least 2, got 1"),
        (lambda: Worst(0.0), r"share must be in \(0, 1\], got 0.0"),
        (lambda: Stratified(0), "levels must be at least 1, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            make()
    bare = replace(scenes(), classes=("sky", "road"))
    with pytest.raises(InputError, match="classes must be with face among them, got sky, road"):
        plant(bare, ObjectPaste("face"), 1, CROPS[0], PATCHES[0], 1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CROPS), st.sampled_from(PATCHES), st.integers(0, 10**6))
def test_windows_are_counted_as_they_are_cut(crop, patch, seed) -> None:
    empty, (slot,) = plant(scenes(), LabelOnly(), 1, crop, patch, seed, positions=Random())
    mask = empty.masks[slot.record]
    inside, law = footprint(slot, mask), windows_of(slot, mask, crop)
    for window in all_windows(mask, crop)[::5]:
        flip = window.flipped_rows + 2 * window.flipped_columns
        assert law.shown[flip, window.top, window.left] == int(shows(window, inside, crop).sum())
    assert law.weights.sum() == pytest.approx(1)
    assert law.probability(law.hits()) == pytest.approx(slot.inclusion, abs=1e-12)
    assert law.probability(law.hits()) + law.probability(law.misses()) == pytest.approx(1)
    generator = np.random.default_rng(seed)
    for window in law.draw(law.hits(), 5, generator):
        assert shows(window, inside, crop).any()
    if law.probability(law.misses()) > 0:
        for window in law.draw(law.misses(), 5, generator):
            assert not shows(window, inside, crop).any()
    most = max(int(shows(w, inside, crop).sum()) for w in all_windows(mask, crop))
    for window in law.draw(law.covers(), 2, generator):
        assert int(shows(window, inside, crop).sum()) == most


def test_stratified_places_spread_over_the_range_of_inclusion() -> None:
    crop, patch, levels = CROPS[0], PATCHES[0], 4
    _, slots = plant(scenes(), Opposed(), 40, crop, patch, 1, positions=Stratified(levels))
    for number, slot in enumerate(slots):
        rho = inclusion_map(scenes().size(number % 2), crop, patch)
        edges = np.linspace(rho.min(), rho.max(), levels + 1)
        level = number % levels
        width = edges[1] - edges[0]
        occupied = ((rho >= edges[level]) & (rho <= edges[level + 1])).any()
        if occupied:
            assert edges[level] - 1e-12 <= slot.inclusion <= edges[level + 1] + 1e-12
        else:
            middle = edges[level] + width / 2
            assert abs(slot.inclusion - middle) == pytest.approx(np.abs(rho - middle).min())
    by_level = [np.mean([s.inclusion for s in slots[level::levels]]) for level in range(levels)]
    assert by_level == sorted(by_level)
    assert by_level[-1] - by_level[0] > 0.5 * (edges[-1] - edges[0])


def test_random_places_are_uniform() -> None:
    """Chi-square over a coarse grid, 500 draws; fails one time in 10^4 by chance, but is seeded."""
    data = scenes().take([0])
    _, slots = plant(data, LabelOnly(), 500, CROPS[0], PATCHES[1], 5, positions=Random())
    rows = np.array([slot.position[0] for slot in slots]) * 4 // 24
    columns = np.array([slot.position[1] for slot in slots]) * 2 // 26
    seen = np.bincount(rows * 2 + columns, minlength=8)
    assert ((seen - 62.5) ** 2 / 62.5).sum() < 30.0  # 0.9999 quantile at 7 degrees of freedom


def test_a_seed_gives_the_same_again() -> None:
    def digest(seed: int) -> list[bytes]:
        empty, slots = plant(
            scenes(), Opposed(Sparse(), Periodic()), 4, CROPS[1], ROUND, seed, per_image=2
        )
        return [t.numpy().tobytes() for s in slots for t in (s.texture_a, s.labels_b)] + [
            t.numpy().tobytes() for t in (*empty.images, *empty.masks)
        ]

    assert digest(4) == digest(4)
    assert digest(4) != digest(5)


class Stripe(Design):
    """A design of somebody else's: a label row by row."""

    def __str__(self) -> str:
        return "stripe"

    def content(self, ground: Ground, generator: np.random.Generator) -> Content:
        striped = ground.filled(0)
        striped[::2] = 1
        return Content(ground.texture, ground.texture, striped, 1 - striped)


def test_a_design_of_ones_own_is_one_line_in_the_registry(monkeypatch) -> None:
    """It is legal in a configuration at once, and planted as the configuration says."""
    with pytest.raises(InputError, match="canary design must be of a new name, got opposed"):
        register(DESIGNS["opposed"])
    monkeypatch.setitem(
        DESIGNS, "stripe", KnownDesign("stripe", "rows", lambda *_: Stripe(), frozenset())
    )
    sizes = {"crop.size": "11x9", "patch": "5x4"}
    changes = {"canary.design": "stripe", "game.canary_slots": 10, **sizes}
    _, slots = plant_canaries(scenes(), load_config("quickstart", changes), 1, 2)
    assert {slot.design for slot in slots} == {"stripe"}
    assert all(slot.labels_a[0, 0] == 1 == slot.labels_b[1, 0] for slot in slots)
    with pytest.raises(InputError, match="texture must be left out for stripe"):
        load_config("quickstart", {**changes, "canary.texture": "flat"})
    with pytest.raises(InputError, match=r"one of opposed, label-only, bright, .*got striped"):
        load_config("quickstart", {**changes, "canary.design": "striped"})


# Canaries as audits plant them unless told otherwise: `add_slots`.

CROP = Crop(Size(14, 16))
DISC = PixelMask(np.hypot(*np.mgrid[-4:5, -3:4]) <= 3.5)
LOOSE = PixelMask(np.pad(np.array([[True, False], [True, True]]), ((11, 7), (5, 13))))
SHAPES = [Rectangle(Size(8, 6)), Rectangle(Size(1, 1)), DISC, LOOSE]
GOLDEN = "2e5a47709220d29bac20ba9ed5e1d70b36419f9a80bb0e841cb549c9da575c91"


def photographs(classes: int = 6) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    sizes = [(30, 40), (24, 26), (33, 21)]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(torch.randint(classes, s, generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(f"class {i}" for i in range(classes)),
        ("one", "two", "three"),
        "test",
    )


def test_slots_stand_in_copies_near_the_worst_place_and_the_originals_stay() -> None:
    data = photographs()
    before = [t.clone() for t in (*data.images, *data.masks)]
    for patch in SHAPES:
        empty, slots = add_slots(data, 5, CROP, patch, seed=1)
        full = fill_slots(empty, slots, np.array([True, False, True, False, True]))
        assert [slot.record for slot in slots] == [3, 4, 5, 6, 7]
        for number, slot in enumerate(slots):
            worst = inclusion(empty.size(slot.record), CROP, patch).probability
            assert 0.98 * worst <= slot.inclusion <= worst
            assert torch.equal(empty.images[slot.record], data.images[number % 3])
            assert bool((empty.masks[slot.record] == IGNORE).all()), "filling must not write here"
            assert data.names[number % 3] in empty.names[slot.record]
        assert len(set(empty.names)) == len(full) == 8
    for old, now in zip(before, (*data.images, *data.masks), strict=True):
        assert torch.equal(old, now)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 19), st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20))
def test_halves_of_any_number_of_classes(classes: int, seed: int, height: int, width: int) -> None:
    patch = Rectangle(Size(height, width))
    _, slots = add_slots(photographs(classes), 2, CROP, patch, seed)
    for slot in slots:
        a, b = set(slot.labels_a.flatten().tolist()), set(slot.labels_b.flatten().tolist())
        assert not a & b
        assert max(len(a), len(b)) <= classes // 2
        assert max(a | b) < classes
        assert slot.labels_a.shape == slot.labels_b.shape == (height, width)


def test_halves_are_drawn_anew_for_each_slot() -> None:
    _, slots = add_slots(photographs(), 40, CROP, Rectangle(Size(12, 12)), seed=5)
    assert len({frozenset(slot.labels_a.flatten().tolist()) for slot in slots}) > 5
    assert len({slot.position for slot in slots}) > 5


def test_the_same_canaries_as_ever() -> None:
    """Runs are played again from their seeds: what a seed gives may not change unseen."""
    digest = hashlib.sha256()
    for patch in SHAPES:
        empty, slots = add_slots(photographs(), 7, CROP, patch, seed=1)
        for slot in slots:
            digest.update(repr((slot.record, slot.position, slot.inclusion)).encode())
            for name in ("pixels", "texture_a", "texture_b", "labels_a", "labels_b"):
                digest.update(getattr(slot, name).numpy().tobytes())
        for tensor in (*empty.images, *empty.masks):
            digest.update(tensor.numpy().tobytes())
        digest.update(repr(empty.names).encode())
    assert digest.hexdigest() == GOLDEN


def test_trimming_cuts_to_the_bounding_box() -> None:
    assert trimmed(LOOSE).tolist() == [[True, False], [True, True]]
    assert trimmed(DISC).shape == (7, 7)
    assert trimmed(Rectangle(Size(3, 5))).shape == (3, 5)


@pytest.mark.parametrize(
    ("count", "classes", "crop", "patch", "message"),
    [
        (-1, 6, CROP, SHAPES[0], "canary slots must be at least 0, got -1"),
        (1, 1, CROP, SHAPES[0], "classes must be at least 2, got 1"),
        (1, 6, CROP, Rectangle(Size(31, 5)), "patch must be at most the image"),
        (1, 6, Crop(Size(31, 16)), SHAPES[0], "crop must be at most the padded image"),
    ],
)
def test_what_cannot_be_added_is_refused(count, classes, crop, patch, message) -> None:
    with pytest.raises(InputError, match=message):
        add_slots(photographs(classes), count, crop, patch, seed=1)
    with pytest.raises(InputError, match="images must be at least one"):
        add_slots(photographs().take([]), 1, CROP, SHAPES[0], seed=1)


def test_as_many_coins_as_slots() -> None:
    data = photographs()
    empty, slots = add_slots(data, 2, CROP, SHAPES[0], seed=1)
    with pytest.raises(ValueError, match="shorter"):
        fill_slots(empty, slots, np.array([True]))
    empty, slots = add_slots(data, 0, CROP, SHAPES[0], seed=1)
    assert (len(empty), slots) == (3, ())
    assert len(fill_slots(empty, slots, np.zeros(0, dtype=bool))) == 3
