"""Signals: closed forms, a slow oracle, one model as many, and what maps and decoys hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size
from cropaudit.attacks.black_box.collecting import collect, collect_one
from cropaudit.attacks.black_box.queries import slot_queries
from cropaudit.attacks.black_box.signals import Decoys, Signals
from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot, plant
from cropaudit.training.canaries.backgrounds import Natural
from cropaudit.training.canaries.designs import LabelOnly, Opposed
from cropaudit.training.canaries.slots import footprint
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare
from cropaudit.training.models import build_model
from cropaudit.training.stacked import StackedModels

CROPS = [Crop(Size(16, 18)), Crop(Size(16, 18), padding=4, horizontal_flip=0.5)]
ROUND = PixelMask(np.hypot(*np.mgrid[-4:5, -3:4]) <= 4.0)

pytestmark = pytest.mark.usefixtures("one_thread")


def planted(
    crop: Crop, patch: Rectangle | PixelMask, count: int = 3, seed: int = 2
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    stream = torch.Generator().manual_seed(3)
    images = tuple(
        torch.randint(256, (3, 26, 30), generator=stream, dtype=torch.uint8) for _ in range(2)
    )
    masks = tuple(torch.zeros(26, 30, dtype=torch.uint8) for _ in range(2))
    data = SegmentationData(images, masks, ("a", "b", "c", "d"), ("1", "2"), "test")
    return plant(data, Opposed(background=Natural()), count, crop, patch, seed, per_image=2)


class Constant(nn.Module):
    """Gives every pixel of every image the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        shape = (len(images), len(self.logits), *images.shape[2:])
        return self.logits[None, :, None, None].expand(shape)


def close(one: Signals, other: Signals) -> None:
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.confidences, other.confidences, rtol=1e-4, atol=1e-5)


def test_constant_logits_give_closed_forms() -> None:
    """A label then costs the same everywhere, through every window, whatever the pixels."""
    crop = CROPS[1]
    data, slots = planted(crop, ROUND)
    model = Constant([0.3, -1.0, 2.0, 0.5])
    found = collect_one(model, data, slots, crop, windows=3, seed=1, maps=2)
    p = torch.softmax(model.logits.detach().double(), dim=0)
    for number, slot in enumerate(slots):
        for world, labels in enumerate((slot.labels_a, slot.labels_b)):
            chosen = p[labels[slot.pixels].long()]
            loss, odds = -chosen.log().mean(), (chosen / (1 - chosen)).log().mean()
            np.testing.assert_allclose(found.losses[0, number, :, :, world], loss, rtol=1e-5)
            np.testing.assert_allclose(found.confidences[0, number, :, :, world], odds, rtol=1e-5)
    assert found.maps is not None
    assert found.maps.shape == (1, len(slots), 2, 2, 2, 2)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("covering", [True, False])
def test_signals_agree_with_a_slow_oracle(crop: Crop, covering: bool) -> None:
    """Crop by crop and pixel by pixel, through the windows that the queries show."""
    data, slots = planted(crop, ROUND)
    model = build_model("small-unet", 4, 0)
    found = collect_one(model, data, slots, crop, windows=2, seed=5, covering=covering)
    stream = np.random.default_rng(5)
    for number, slot in enumerate(slots):
        asked = slot_queries(data, slot, crop, 2, stream, 1, covering=covering)
        with torch.no_grad():
            p = torch.softmax(model(prepare(asked.images)).double(), dim=1)
        for row in range(4):
            pixels, window = divmod(row, 2)
            for world in range(2):
                inside = (asked.cells[row] > 0) & (asked.labels[row, world] != IGNORE)
                chosen = [
                    float(p[row, int(asked.labels[row, world, i, j]), i, j])
                    for i, j in inside.nonzero().tolist()
                ]
                at = (0, number, window, pixels, world)
                assert found.losses[at] == pytest.approx(-np.log(chosen).mean(), rel=1e-4)
                odds = np.log(np.divide(chosen, np.subtract(1, chosen))).mean()
                assert found.confidences[at] == pytest.approx(odds, rel=1e-3, abs=1e-4)


def test_queries_show_the_patch_in_both_worlds() -> None:
    """A covering window shows every pixel of the patch; outside it both worlds are alike."""
    data, slots = planted(CROPS[0], ROUND)
    for slot in slots:
        asked = slot_queries(data, slot, CROPS[0], 3, np.random.default_rng(0), 3, covering=True)
        inside = asked.cells > 0
        assert (inside.sum(dim=(1, 2)) == int(footprint(slot, data.masks[slot.record]).sum())).all()
        a, b = asked.images[:3], asked.images[3:]
        assert not (a != b).any(dim=1)[~inside[:3]].any()
        assert set(asked.cells.unique().tolist()) <= set(range(10))
        assert set(asked.cells[inside].unique().tolist()) == set(
            (torch.arange(9)[_present(slot, 3)] + 1).tolist()
        )


def _present(slot: CanarySlot, side: int) -> list[int]:
    height, width = slot.pixels.shape
    cells = {
        (i * side // height) * side + j * side // width for i, j in slot.pixels.nonzero().tolist()
    }
    return sorted(cells)


def test_maps_average_to_the_losses() -> None:
    """With all of the patch shown and cells of one size, the mean map is the mean loss."""
    crop = CROPS[0]
    data, slots = planted(crop, Rectangle(Size(8, 8)))
    model = build_model("small-unet", 4, 0)
    found = collect_one(model, data, slots, crop, windows=3, seed=5, maps=4)
    assert found.maps is not None
    np.testing.assert_allclose(found.maps.mean(axis=(4, 5)), found.losses.mean(axis=2), rtol=1e-5)


def test_an_ensemble_is_its_models_one_by_one() -> None:
    crop = CROPS[1]
    data, slots = planted(crop, ROUND)
    singles = [build_model("small-unet", 4, seed) for seed in range(3)]
    models = StackedModels(build_model("small-unet", 4, 9))
    rows = torch.stack([models.flatten(model) for model in singles])
    decoys = Decoys(*planted(crop, ROUND, seed=8))
    kept = models.flatten(models.skeleton).clone()
    given = {"windows": 2, "seed": 4, "maps": 2}
    found = collect(models, rows, data, slots, crop, decoys=decoys, **given)  # type: ignore[arg-type]
    assert torch.equal(kept, models.flatten(models.skeleton))
    assert found.decoys is not None
    assert found.maps is not None
    for number, model in enumerate(singles):
        alone = collect_one(model, data, slots, crop, decoys=decoys, **given)  # type: ignore[arg-type]
        close(found.take(slice(number, number + 1)), alone)
        assert alone.decoys is not None
        assert alone.maps is not None
        close(found.decoys.take(slice(number, number + 1)), alone.decoys)
        np.testing.assert_allclose(found.maps[number], alone.maps[0], rtol=1e-4, atol=1e-5)


def test_other_slots_of_a_record_are_shown_empty() -> None:
    """What stands in them is behind coins that the adversary does not know."""
    crop = CROPS[0]
    data, slots = planted(crop, Rectangle(Size(8, 8)), count=2)
    other = replace(slots[1], texture_a=255 - slots[1].texture_a, labels_a=slots[1].labels_b)
    model = build_model("small-unet", 4, 0)
    first, second = (
        collect_one(model, data, pair, crop, windows=2, seed=4)
        for pair in (slots, (slots[0], other))
    )
    assert slots[0].record == slots[1].record
    assert np.array_equal(first.losses[:, 0], second.losses[:, 0])
    assert not np.array_equal(first.losses[:, 1], second.losses[:, 1])


def test_a_public_model_informs_the_features() -> None:
    crop = CROPS[0]
    data, slots = planted(crop, ROUND)
    decoys = Decoys(*planted(crop, ROUND, count=2, seed=8))
    target, public = (
        collect_one(
            build_model("small-unet", 4, s), data, slots, crop, windows=2, seed=4, decoys=decoys
        )
        for s in range(2)
    )
    found = target.informed(public)
    assert found.decoys is not None
    assert found.features.shape == (3, 12 + 4 + 3)
    assert found.decoys.features.shape == (2, 12 + 4 + 3)
    np.testing.assert_allclose(found.features[:, 16], public.gap()[0].mean(axis=1))
    np.testing.assert_array_equal(found.losses, target.losses)
    with pytest.raises(InputError, match=r"^public must be shown the same decoys"):
        target.informed(replace(public, decoys=None))
    with pytest.raises(InputError, match=r"^public must be one model"):
        target.informed(public.take(slice(0, 0)))


def test_equal_worlds_answer_alike() -> None:
    crop = CROPS[0]
    data, slots = planted(crop, ROUND)
    null = [replace(s, texture_b=s.texture_a, labels_b=s.labels_a) for s in slots]
    found = collect_one(build_model("small-unet", 4, 0), data, null, crop, windows=2, seed=4)
    assert not found.gap().any()
    assert not found.margins().any()
    assert not found.features[:, 12:].any()


def test_a_label_flip_between_two_classes_has_opposite_confidences() -> None:
    """With two classes log p / (1 - p) of one label is minus that of the other."""
    crop = CROPS[0]
    data, _ = planted(crop, ROUND)
    two = replace(data, classes=("a", "b"))
    empty, slots = plant(two, LabelOnly(), 2, crop, ROUND, 1)
    found = collect_one(build_model("small-unet", 2, 0), empty, slots, crop, windows=2, seed=4)
    np.testing.assert_allclose(found.confidences[..., 0], -found.confidences[..., 1], atol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("windows", 0), ("maps", -1), ("slots", None)])
def test_bad_arguments_are_named(name: str, value: int | None) -> None:
    data, slots = planted(CROPS[0], ROUND)
    given = {"windows": 1, "seed": 0, "maps": 0} | ({} if value is None else {name: value})
    with pytest.raises(InputError, match=f"^{name} must be"):
        collect_one(
            Constant([0.0] * 4),
            data,
            () if value is None else slots,
            CROPS[0],
            **given,  # type: ignore[arg-type]
        )
