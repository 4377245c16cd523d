"""How near canaries come to the ideal pair, against slow oracles, and what crafting gains."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot, fill_slots, filled, plant
from cropaudit.training.canaries.alignment import Alignment, alignment, crops
from cropaudit.training.canaries.backgrounds import Sparse
from cropaudit.training.canaries.crafting import craft, craft_records
from cropaudit.training.canaries.designs import (
    BrightTexture,
    Crafted,
    Design,
    LabelOnly,
    ObjectPaste,
    Opposed,
    RecordPixels,
)
from cropaudit.training.canaries.gradients import clip, flat_gradients, in_chunks
from cropaudit.training.canaries.slots import footprint
from cropaudit.training.canaries.textures import Flat, NaturalTexture
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window
from cropaudit.training.data import SegmentationData
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.models import build_model
from cropaudit.training.scenes import street_scenes

pytestmark = pytest.mark.usefixtures("one_thread")

SCENES = street_scenes(3, Size(64, 64), 5)
CROP, PATCH = Crop(Size(24, 24)), Rectangle(Size(8, 8))


class Upsampled(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")


def small_net(classes: int) -> nn.Module:
    """Returns a net of about 3,000 parameters that downsamples by four."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, padding=1), nn.GroupNorm(2, 8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, padding=1), nn.GroupNorm(4, 16), nn.ReLU()),
            *(nn.Conv2d(16, 10, 3, padding=1), nn.GroupNorm(2, 10), nn.ReLU()),
            *(nn.Conv2d(10, classes, 1), Upsampled()),
        )


class Bias(nn.Module):
    """Logits that are the same everywhere: a gradient is just p less the mean onehot."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor) -> Tensor:
        shape = (len(images), len(self.bias), *images.shape[-2:])
        return self.bias[None, :, None, None].expand(shape)


NET = small_net(10)


def two_classes() -> SegmentationData:
    masks = tuple((mask == 3).to(torch.uint8) for mask in SCENES.masks)
    return SegmentationData(SCENES.images, masks, ("other", "road"), SCENES.names, "test")


def measured(
    design: Design, model: nn.Module = NET, data: SegmentationData = SCENES, **options: float
) -> Alignment:
    empty, (slot,) = plant(data, design, 1, CROP, PATCH, 3)
    settings = {"windows": 24, "max_grad_norm": 1.0, "seed": 1, **options}
    return alignment(model, empty, slot, CROP, **settings)


def test_gradients_are_those_of_one_sample_at_a_time() -> None:
    """Against a plain backward pass, and in units of the clip."""
    empty, (slot,) = plant(SCENES, Opposed(), 1, CROP, PATCH, 3)
    windows = [Window(20, 20), Window(0, 0), Window(30, 5)]
    images, masks = crops(empty, slot, CROP, windows, True)
    found = in_chunks(flat_gradients(NET), images, masks, NET)
    for image, mask, row in zip(images, masks, found, strict=True):
        loss = pixel_losses(NET(prepare(image[None])), mask[None])[0]
        slow = torch.cat([g.flatten() for g in torch.autograd.grad(loss, NET.parameters())])
        torch.testing.assert_close(row, slow, rtol=1e-4, atol=1e-6)
    clipped = clip(found, 2.0)
    assert clipped.norm(dim=1).max() <= 1 + 1e-6
    long = found.norm(dim=1) > 2
    torch.testing.assert_close(clipped[~long], found[~long] / 2)
    rows = torch.tensor([[3.0, 4.0], [0.9, 1.2], [0.3, 0.4]])  # of norm 5, 1.5 and 0.5
    torch.testing.assert_close(clip(rows, 2.0).norm(dim=1), torch.tensor([1.0, 0.75, 0.25]))
    torch.testing.assert_close(clip(rows, 0.25).norm(dim=1), torch.ones(3))
    assert clip(torch.zeros(2, 5), 1.0).tolist() == [[0.0] * 5] * 2


def test_a_bias_alone_gives_the_ideal_pair() -> None:
    """Two classes, p = 1/2: gradients (-1/2, 1/2) and its negative, of norm 0.707, always."""
    for design in (LabelOnly(), Opposed()):
        found = measured(design, Bias(2), two_classes(), max_grad_norm=0.5)
        assert (found.m_a, found.m_b) == (pytest.approx(1), pytest.approx(-1))
        assert found.m_miss == 0
        assert found.a.spread == pytest.approx(0, abs=1e-6)
        assert found.a.below == found.b.below == 0
        assert found.miss is not None
        assert found.miss.below == 1
    found = measured(LabelOnly(background=Sparse()), Bias(2), two_classes(), max_grad_norm=2.0)
    assert found.m_miss == pytest.approx(-(0.5**0.5) / 2)
    assert found.m_b == pytest.approx(-(0.5**0.5) / 2)
    assert found.b.below == 1
    assert found.m_a < -found.m_b, "a hitting window is diluted by B's pixel"


def test_residuals_of_two_labels_are_nearly_orthogonal_and_halves_opposed() -> None:
    """Cosine -1 / (K - 1) of single labels: along their difference sqrt((1 + 1/9) / 2) each."""
    found = measured(LabelOnly(), Bias(10), max_grad_norm=0.1)
    assert found.m_a == pytest.approx(((1 + 1 / 9) / 2) ** 0.5, abs=1e-5)
    covering = measured(Opposed(), Bias(10), max_grad_norm=0.1).covering
    assert covering is not None
    assert covering[0] > 0.97
    assert covering[1] < -0.97


def test_projections_are_those_of_a_slow_loop() -> None:
    """One window at a time, its direction from the windows of the other parity."""
    empty, (slot,) = plant(SCENES, Opposed(Sparse()), 1, CROP, PATCH, 3)
    found = alignment(NET, empty, slot, CROP, windows=9, max_grad_norm=0.7, seed=6)
    law, generator = windows_of(slot, empty.masks[slot.record], CROP), np.random.default_rng(6)
    met, missed = (law.draw(c, 9, generator) for c in (law.hits(), law.misses()))

    def gradients(world_a: bool, windows: list[Window]) -> Tensor:
        image, mask = filled(empty, slot, world_a=world_a)
        rows = []
        for w in windows:
            box = slice(w.top, w.top + 24), slice(w.left, w.left + 24)
            loss = pixel_losses(NET(prepare(image[None, :, *box])), mask[None, *box])[0]
            flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, NET.parameters())])
            rows.append(flat / max(0.7, float(flat.norm())))
        return torch.stack(rows)

    a, b, miss = gradients(True, met), gradients(False, met), gradients(True, missed)
    directions = [(a - b)[1::2].mean(dim=0), (a - b)[::2].mean(dim=0)]
    for rows, projected in ((a, found.a), (b, found.b), (miss, found.miss)):
        along = [
            float(row @ directions[i % 2] / directions[i % 2].norm()) for i, row in enumerate(rows)
        ]
        assert projected is not None
        assert projected.mean == pytest.approx(np.mean(along), abs=1e-4)
        assert projected.spread == pytest.approx(np.std(along), abs=1e-4)


def test_equal_worlds_do_not_seem_apart() -> None:
    empty, (slot,) = plant(SCENES, Opposed(), 1, CROP, PATCH, 3)
    same = CanarySlot(**{**vars(slot), "texture_b": slot.texture_a, "labels_b": slot.labels_a})
    found = alignment(NET, empty, same, CROP, windows=12, max_grad_norm=1.0, seed=1)
    assert found.m_a == found.m_b == 0


def test_covering_windows_are_told_from_grazing_ones() -> None:
    found = measured(Opposed(), windows=40)
    assert found.covering is not None
    assert found.grazing is not None
    assert found.covering[0] > found.grazing[0] > 0
    assert found.covering[1] < found.grazing[1] < 0
    assert 0.1 < found.cover < 0.9
    whole = Crop(Size(64, 64))
    empty, (slot,) = plant(SCENES, Opposed(), 1, whole, PATCH, 3)
    found = alignment(NET, empty, slot, whole, windows=4, max_grad_norm=1.0, seed=1)
    assert (found.miss, found.m_miss, found.grazing, found.cover) == (None, None, None, 1.0)


def test_a_sparse_flat_record_makes_misses_give_the_gradient_of_b() -> None:
    """What photographs cannot: the Poisson worst case, to four fifths of B's own projection."""
    flat = measured(Opposed(Sparse(), Flat()), data=two_classes(), model=small_net(2))
    assert flat.m_miss is not None
    assert flat.m_miss < 0.8 * flat.m_b < -0.3
    assert measured(Opposed(texture=Flat())).m_miss == 0


@pytest.mark.parametrize("model", [NET, build_model("small-unet", 10, 0)], ids=["net", "unet"])
def test_designs_of_the_worst_case_are_far_apart_and_natural_ones_are_not(model) -> None:
    for design in (LabelOnly(), Opposed(), Opposed(texture=NaturalTexture())):
        found = measured(design, model)
        assert found.m_a - found.m_b > 0.7
    for design in (BrightTexture(), ObjectPaste("face")):
        found = measured(design, model)
        assert found.m_a - found.m_b < 0.5


def gaps(
    slots: tuple[CanarySlot, ...], data: SegmentationData, model: nn.Module = NET
) -> list[float]:
    found = [
        alignment(model, data, slot, CROP, windows=48, max_grad_norm=1.0, seed=9) for slot in slots
    ]
    return [one.m_a - one.m_b for one in found]


def test_crafting_brings_natural_and_opposed_designs_nearer_to_the_ideal() -> None:
    """On windows that it has not seen, half of the gain of 0.1 or more; nothing outside moves."""
    for design, least in ((ObjectPaste("face"), 0.05), (Opposed(), 0.05)):
        empty, slots = plant(SCENES, design, 2, CROP, PATCH, 5)
        made = craft(slots, NET, CROP, empty, steps=8, windows=8, max_grad_norm=1.0, seed=4)
        gain = np.mean(gaps(made, empty)) - np.mean(gaps(slots, empty))
        assert gain > least
        for slot, old in zip(made, slots, strict=True):
            assert (slot.position, slot.record, slot.name) == (old.position, old.record, old.name)
            assert slot.design == f"crafted {old.design}"
            assert slot.texture_a.dtype == slot.labels_a.dtype == torch.uint8
            if old.natural_b:
                assert torch.equal(slot.texture_b, old.texture_b)
                assert torch.equal(slot.labels_b, old.labels_b)
        world_a = fill_slots(empty, made, np.ones(2, dtype=bool))
        for slot in made:
            outside = ~footprint(slot, empty.masks[slot.record])
            before, after = empty.images[slot.record], world_a.images[slot.record]
            assert torch.equal(before[:, outside], after[:, outside])


def test_crafting_the_record_too_makes_grazing_windows_agree() -> None:
    """Twice what the patch alone gives; 0.35 in all after these few steps."""
    data, base = SCENES.take([0]), Opposed(texture=NaturalTexture())
    empty, slots = plant(data, base, 1, CROP, PATCH, 3)
    design = Crafted(base, NET, 1.0, 12, 8, RecordPixels())
    planted, made = plant(data, design, 1, CROP, PATCH, 3)
    assert gaps(made, planted)[0] > gaps(slots, empty)[0] + 0.2


def test_both_worlds_share_a_crafted_record() -> None:
    data, base = SCENES.take([0]), Opposed(Sparse())
    empty, slots = plant(data, base, 2, CROP, PATCH, 3, per_image=2, margin=4)
    design = Crafted(base, NET, 1.0, 8, 8, RecordPixels())
    planted, made = plant(data, design, 2, CROP, PATCH, 3, per_image=2, margin=4)
    assert sum(gaps(made, planted)) > sum(gaps(slots, empty))
    assert torch.equal(planted.masks[1], empty.masks[1])
    assert not torch.equal(planted.images[1], empty.images[1])
    assert torch.equal(planted.images[0], data.images[0])
    for slot in made:
        assert slot.design == f"crafted record {base}" == str(design)
        (image_a, mask_a), (image_b, mask_b) = (
            filled(planted, slot, world_a=world) for world in (True, False)
        )
        inside = footprint(slot, mask_a)
        assert torch.equal(image_a[:, ~inside], image_b[:, ~inside])
        assert torch.equal(mask_a[~inside], mask_b[~inside])
        assert not torch.equal(slot.texture_a, slot.texture_b)


def test_a_photograph_that_is_world_b_is_not_crafted() -> None:
    with pytest.raises(InputError, match="base must be LabelOnly or Opposed where the record"):
        Crafted(BrightTexture(), NET, 1.0, reach=RecordPixels())
    empty, slots = plant(SCENES, BrightTexture(), 1, CROP, PATCH, 3)
    with pytest.raises(InputError, match="world B must be no photograph where records are crafted"):
        craft_records(slots, NET, CROP, empty, steps=1, windows=2, max_grad_norm=1.0, seed=1)


def test_crafting_keeps_what_the_design_promises() -> None:
    empty, slots = plant(SCENES, LabelOnly(background=Sparse()), 2, CROP, PATCH, 3)
    made = craft(slots, NET, CROP, empty, steps=4, windows=4, max_grad_norm=1.0, seed=4)
    for slot, old in zip(made, slots, strict=True):
        assert torch.equal(slot.texture_a, slot.texture_b), "pixels stay equal in both worlds"
        assert torch.equal(slot.labels_a, old.labels_a), "the background bears B's labels already"
        assert torch.equal(slot.labels_b, old.labels_b)
    empty, slots = plant(SCENES, Opposed(), 2, CROP, PATCH, 3)
    made = craft(slots, NET, CROP, empty, steps=0, windows=4, max_grad_norm=1.0, seed=4)
    for slot, old in zip(made, slots, strict=True):
        assert torch.equal(slot.texture_a, old.texture_a), "no steps, no pixels"
        assert not set(slot.labels_a.flatten().tolist()) & set(slot.labels_b.flatten().tolist())
        assert len(slot.labels_a.unique()) == 5


def test_a_crafted_design_is_planted_crafted() -> None:
    base = ObjectPaste("plate")
    empty, slots = plant(SCENES, base, 1, CROP, PATCH, 3)
    expected = craft(slots, NET, CROP, empty, steps=3, windows=4, max_grad_norm=1.0, seed=3)
    design = Crafted(base, NET, 1.0, steps=3, windows=4)
    planted, made = plant(SCENES, design, 1, CROP, PATCH, 3)
    assert torch.equal(made[0].texture_a, expected[0].texture_a)
    assert made[0].design == f"crafted {base}" == str(design)
    assert torch.equal(planted.images[-1], empty.images[-1])


def test_the_model_is_left_alone() -> None:
    before = [parameter.clone() for parameter in NET.parameters()]
    empty, slots = plant(SCENES, Opposed(), 1, CROP, PATCH, 3)
    craft(slots, NET, CROP, empty, steps=2, windows=2, max_grad_norm=1.0, seed=4)
    for parameter, old in zip(NET.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"windows": 0}, "windows must be at least 1, got 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, got 0.0"),
    ],
)
def test_what_cannot_be_is_refused(keywords, message) -> None:
    empty, slots = plant(SCENES, Opposed(), 1, CROP, PATCH, 3)
    settings = {"steps": 1, "windows": 2, "max_grad_norm": 1.0, "seed": 0, **keywords}
    with pytest.raises(InputError, match=message):
        craft(slots, NET, CROP, empty, **settings)
    with pytest.raises(InputError, match="windows must be at least 4, got 3"):
        alignment(NET, empty, slots[0], CROP, windows=3, max_grad_norm=1.0, seed=0)
