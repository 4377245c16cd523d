"""Designs of canaries: worlds differ inside the patch only, whatever stands there and around."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Borders, Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot, fill_slots, filled, plant
from cropaudit.training.canaries.backgrounds import Background, Ignore, Natural, Sparse
from cropaudit.training.canaries.designs import (
    BrightTexture,
    LabelOnly,
    ObjectPaste,
    Opposed,
)
from cropaudit.training.canaries.positions import At, Random, Stratified, Worst
from cropaudit.training.canaries.slots import footprint
from cropaudit.training.canaries.textures import Blocks, Flat, NaturalTexture, Periodic
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import IGNORE, SegmentationData

CLASSES = ("sky", "road", "car", "person", "face", "plate")
BACKGROUNDS: list[Background] = [Natural(), Ignore(), Sparse()]
TEXTURES = [Blocks(), Blocks(1), Flat(), NaturalTexture(), Periodic(5)]
PASTED = [ObjectPaste("face"), ObjectPaste("plate"), ObjectPaste("face", 1)]
DESIGNS = [
    BrightTexture(),
    BrightTexture(3, Periodic()),
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


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DESIGNS),
    st.sampled_from(PATCHES),
    st.sampled_from(CROPS),
    st.sampled_from(POSITIONS),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 10**6),
)
def test_worlds_differ_inside_the_patch_only(
    design, patch, crop, positions, per_image, margin, seed
) -> None:
    """Pixels and labels alike, whatever the other slots of the record hold; and somewhere."""
    data = scenes()
    empty, slots = plant(
        data, design, 5, crop, patch, seed, positions=positions, per_image=per_image, margin=margin
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


@settings(max_examples=50, deadline=None)
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
        empty, slots = plant(data, design, 4, CROPS[0], PATCHES[0], 1, per_image=2, margin=2)
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
    _, slots = plant(scenes(), BrightTexture(1), 3, CROPS[0], PATCHES[0], 1)
    assert {int(label) for slot in slots for label in slot.labels_a.unique()} == {1}


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
            assert 0.2 * painted.numel() < int(painted.sum()) <= painted.numel()
            assert torch.equal(slot.texture_a[:, ~painted], slot.texture_b[:, ~painted])
            assert torch.equal(slot.labels_a[~painted], slot.labels_b[~painted])
            assert (slot.texture_a != slot.texture_b).any(dim=0)[painted].float().mean() > 0.9


def test_a_pasted_object_may_bear_another_class() -> None:
    _, slots = plant(scenes(), ObjectPaste("face", 3), 3, CROPS[0], Rectangle(Size(11, 9)), 1)
    for slot in slots:
        assert 3 in slot.labels_a
        assert CLASSES.index("face") not in slot.labels_a


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
@given(st.sampled_from(PATCHES), st.integers(0, 4), st.integers(0, 10**6))
def test_slots_of_one_record_keep_apart(patch, margin, seed) -> None:
    try:
        empty, slots = plant(
            scenes(), LabelOnly(), 3, CROPS[0], patch, seed,
            positions=Random(), per_image=3, margin=margin,
        )  # fmt: skip
    except InputError:  # places drawn at random may leave none for the last slot
        reject()
    mask = empty.masks[2]
    for slot in slots:
        near = torch.nn.functional.max_pool2d(
            footprint(slot, mask)[None].float(), 2 * margin + 1, 1, margin
        )[0].bool()
        for other in slots:
            assert other is slot or not bool((near & footprint(other, mask)).any())


@pytest.mark.parametrize(
    ("design", "keywords", "message"),
    [
        (Opposed(), {"per_image": 0}, "canaries per image must be at least 1, got 0"),
        (Opposed(), {"margin": -1}, "margin must be at least 0, got -1"),
        (Opposed(), {"per_image": 3, "margin": 40}, "canaries per image must be few enough"),
        (
            Opposed(),
            {"positions": At((22, 0))},
            r"place must be within the image and free, got \(22",
        ),
        (
            Opposed(),
            {"positions": At((3, 3)), "per_image": 2},
            r"place must be within the image and free, got \(3, 3\)",
        ),
        (BrightTexture(6), {}, "label must be 0 to 5, got 6"),
        (LabelOnly((1, 1)), {}, "flip must be two different classes"),
        (LabelOnly((1, 9)), {}, "label must be 0 to 5, got 9"),
        (ObjectPaste("face", -1), {}, "label must be 0 to 5, got -1"),
    ],
)
def test_what_cannot_be_is_refused(design, keywords, message) -> None:
    with pytest.raises(InputError, match=message):
        plant(scenes(), design, 4, CROPS[0], PATCHES[0], 1, **keywords)


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


def test_a_place_asked_for_is_taken() -> None:
    _, slots = plant(scenes(), Opposed(), 4, CROPS[0], PATCHES[0], 1, positions=At((6, 7)))
    assert {slot.position for slot in slots} == {(6, 7)}


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


def test_slots_have_a_box() -> None:
    (slot,) = plant(scenes(), LabelOnly(), 1, CROPS[0], ROUND, 1, positions=At((2, 3)))[1]
    assert isinstance(slot, CanarySlot)
    assert slot.box == (slice(2, 9), slice(3, 8))
