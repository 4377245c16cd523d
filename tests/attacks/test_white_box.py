"""White-box attack: its likelihood ratio against dense algebra, its windows, its signs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parameters_to_vector

from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size
from cropaudit.attacks.white_box import Clutter, WhiteBox, meeting_window, slot_crops
from cropaudit.audit.estimators.scores import Scores
from cropaudit.training.canaries import CanarySlot, add_slots, fill_slots
from cropaudit.training.crops import cut
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.models import build_model
from cropaudit.training.samplers import Poisson

CPU = torch.device("cpu")
CROP = Crop(Size(16, 18), padding=2)
PATCH = Rectangle(Size(8, 8))
CLIP, RATE, SEED = 0.7, 0.3, 4


pytestmark = pytest.mark.usefixtures("one_thread")


def scenes(images: int = 4) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    shapes = [(24, 28), (26, 22), (24, 28), (31, 25)][:images]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in shapes),
        tuple(torch.randint(4, s, generator=stream, dtype=torch.uint8) for s in shapes),
        ("sky", "road", "car", "tree"),
        tuple(f"image {i}" for i in range(images)),
        "test",
    )


def white_box(data: SegmentationData, slots: tuple[CanarySlot, ...], **changes: object) -> WhiteBox:
    values = {
        "sample_rate": RATE,
        "noise_multiplier": 1.0,
        "max_grad_norm": CLIP,
        "seed": SEED,
    }
    return WhiteBox(data, slots, CROP, **{**values, **changes})  # type: ignore[arg-type]


def dense_log_ratio(
    slots: np.ndarray,
    natural: np.ndarray,
    rates: np.ndarray,
    expected: float,
    deviation: float,
    seen: np.ndarray,
) -> np.ndarray:
    """The formula of the module's head, with a full covariance inverted for every slot."""
    count, size = len(slots), slots.shape[-1]
    y = seen - expected * natural.mean(axis=0)
    found = []
    for i in range(count):
        cov = deviation**2 * np.eye(size) + expected / len(natural) * natural.T @ natural
        for j in set(range(count)) - {i}:
            others = slots[j].reshape(-1, size)
            cov += rates[j] * others.T @ others / len(others)
        inverse = np.linalg.inv(cov)
        worlds = []
        for world in range(2):
            hits = [np.exp(c @ inverse @ y - c @ inverse @ c / 2) for c in slots[i, world]]
            worlds.append(np.log(1 - rates[i] + rates[i] * np.mean(hits)))
        found.append(worlds[0] - worlds[1])
    return np.array(found)


@pytest.mark.numeric
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 12),
    st.floats(0.3, 3),
    st.floats(0.01, 0.99),
    st.integers(0, 10**6),
)
def test_log_ratio_is_that_of_dense_algebra(count, windows, naturals, size, deviation, rate, seed):
    rng = np.random.default_rng(seed)
    slots = rng.normal(size=(count, 2, windows, size)) / np.sqrt(size)
    natural = rng.normal(size=(naturals, size)) / np.sqrt(size)
    rates = np.minimum(rng.uniform(0.2, 1, count) * rate, 0.99)
    seen = 2 * deviation * rng.normal(size=size)
    clutter = Clutter(
        torch.tensor(slots, dtype=torch.float32),
        torch.tensor(natural, dtype=torch.float32),
        torch.tensor(rates),
        2.5,
        deviation,
    )
    got = clutter.log_ratio(torch.tensor(seen, dtype=torch.float32)).numpy()
    expected = dense_log_ratio(slots, natural, rates, 2.5, deviation, seen)
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.numeric
def test_swapped_worlds_swap_the_sign() -> None:
    stream = torch.Generator().manual_seed(1)
    slots = torch.randn(3, 2, 2, 20, generator=stream) / 4
    natural = torch.randn(4, 20, generator=stream) / 4
    rates, seen = torch.full((3,), 0.2).double(), torch.randn(20, generator=stream)
    one = Clutter(slots, natural, rates, 2.0, 0.5).log_ratio(seen)
    other = Clutter(slots.flip(1), natural, rates, 2.0, 0.5).log_ratio(seen)
    torch.testing.assert_close(one, -other, rtol=1e-4, atol=1e-5)


@pytest.mark.numeric
@pytest.mark.parametrize("rate", [0.0, 1e-12, 1.0 - 1e-12, 1.0])
def test_extreme_rates_give_numbers(rate: float) -> None:
    stream = torch.Generator().manual_seed(1)
    slots = torch.randn(3, 2, 1, 20, generator=stream)
    natural = torch.randn(4, 20, generator=stream)
    clutter = Clutter(slots, natural, torch.full((3,), rate).double(), 2.0, 0.5)
    found = clutter.log_ratio(slots[0, 0, 0])
    assert bool(torch.isfinite(found).all())
    if rate == 0:
        assert not found.any()


@pytest.mark.parametrize("covering", [True, False])
@pytest.mark.parametrize("crop", [CROP, Crop(Size(5, 6)), Crop(Size(22, 20))], ids=str)
def test_windows_meet_the_patch(crop: Crop, covering: bool) -> None:
    """Valid origins; covering windows show all of the patch, or nothing but the patch."""
    shape = PixelMask(np.ones((8, 7), dtype=bool))
    data, slots = add_slots(scenes(), 6, crop, shape, seed=2)
    stream = torch.Generator().manual_seed(0)
    for slot in slots:
        size = data.size(slot.record)
        origins = crop.origins(size)
        mask = torch.zeros(size.height, size.width, dtype=torch.uint8)
        row, column = slot.position
        mask[row : row + 8, column : column + 7] = 1
        seen = []
        for _ in range(25):
            window = meeting_window(slot, data, crop, stream, covering=covering)
            assert 0 <= window.top < origins.height
            assert 0 <= window.left < origins.width
            _, shown = cut(data.images[slot.record], mask, window, crop)
            seen.append(int((shown == 1).sum()))
        most = min(8, crop.size.height) * min(7, crop.size.width)
        assert min(seen) == most if covering else min(seen) >= 1


def test_slot_crops_show_both_worlds_at_one_window() -> None:
    """All of world A, then all of B; outside the patch the crops agree, so windows do."""
    data, slots = add_slots(scenes(), 5, CROP, PATCH, seed=2)
    stream = torch.Generator().manual_seed(0)
    images, masks = slot_crops(data, slots, CROP, stream, covering=True)
    assert images.shape == (10, 3, 16, 18)
    assert masks.shape == (10, 16, 18)
    for number, slot in enumerate(slots):
        a, b = masks[number], masks[5 + number]
        labelled = a != IGNORE
        assert torch.equal(labelled, b != IGNORE)
        assert int(labelled.sum()) == 64
        assert torch.equal(a[labelled], slot.labels_a.flatten())
        assert torch.equal(b[labelled], slot.labels_b.flatten())
        assert torch.equal(images[number][:, labelled], slot.texture_a.flatten(1))
        assert torch.equal(images[5 + number][:, labelled], slot.texture_b.flatten(1))
        assert torch.equal(images[number][:, ~labelled], images[5 + number][:, ~labelled])
    for index in range(4):  # the data set is left as it was
        assert torch.equal(data.images[index], scenes().images[index])
    assert all(bool((data.masks[slot.record] == IGNORE).all()) for slot in slots)


@pytest.mark.numeric
def test_noise_of_nothing_is_no_reason_to_fail() -> None:
    """A run without noise, and many like images: the covariance is all but singular."""
    stream = torch.Generator().manual_seed(1)
    natural = torch.randn(1, 4000, generator=stream).repeat(24, 1)
    natural += 1e-3 * torch.randn(24, 4000, generator=stream)
    natural *= CLIP / natural.norm(dim=1, keepdim=True)
    slots = torch.randn(6, 2, 1, 4000, generator=stream)
    slots *= CLIP / slots.norm(dim=3, keepdim=True)
    clutter = Clutter(slots, natural, torch.full((6,), 0.3).double(), 200.0, 1e-3 * CLIP)
    found = clutter.log_ratio(slots[:3, 0, 0].sum(dim=0) + 200 * natural.mean(dim=0))
    assert bool(torch.isfinite(found).all())
    assert bool((found[:3] > 0).all())


def view_of(data: SegmentationData, noisy_sum, model, step: int = 0) -> StepView:
    return StepView(step, (), (), noisy_sum, model)


@pytest.mark.numeric
@pytest.mark.parametrize("covered", [0, 2])
def test_a_slot_is_seen_on_the_side_of_its_world(covered: int) -> None:
    """The sum holds one slot's clipped gradient, taken here by plain autograd, and no noise."""
    data, slots = add_slots(scenes(), 4, Crop(Size(22, 20)), PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    attack = white_box(data, slots, noise_multiplier=0.2)
    images, masks = slot_crops(data, slots, CROP, torch.Generator().manual_seed(9), covering=True)
    for sign, at in ((1, covered), (-1, covered + len(slots))):
        model.zero_grad(set_to_none=True)
        loss = pixel_losses(model(prepare(images[[at]])), masks[[at]])
        torch.autograd.backward(loss.sum())
        flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        attack.total.zero_()
        attack(view_of(data, flat * (CLIP / flat.norm()).clamp(max=1), model))
        assert sign * attack.scores()[covered] > 0
        assert int(np.abs(attack.scores()).argmax()) == covered


def played(seed: int, members: np.ndarray, sigma: float, steps: int = 12) -> WhiteBox:
    data, slots = add_slots(scenes(), len(members), CROP, PATCH, seed=2)
    attack = white_box(data, slots, noise_multiplier=sigma)
    spec = DpSgdSpec(
        model="small-unet",
        crop=CROP,
        sampling=Poisson(RATE),
        steps=steps,
        noise_multiplier=sigma,
        max_grad_norm=CLIP,
        learning_rate=0.1,
        seed=seed,
    )
    train(fill_slots(data, slots, members), spec, device=CPU, observe=attack)
    return attack


def test_power_with_little_noise() -> None:
    """A sanity bound, below what is reached: AUC above .75 at a noise multiplier of .05.

    With 24 canaries, scores that know nothing would pass it with probability 2%.
    """
    members = np.random.default_rng(0).permutation(np.arange(24) < 12)
    assert Scores.labelled(played(1, members, 0.05).scores(), members).auc() > 0.75


def test_scores_are_reproducible_and_observing_changes_nothing() -> None:
    members = np.array([True, False, True])
    torch.manual_seed(1)
    first = played(1, members, 1.0, steps=3)
    torch.manual_seed(2)
    second = played(1, members, 1.0, steps=3)
    assert first.scores().dtype == np.float64
    assert first.scores().shape == (3,)
    assert np.isfinite(first.scores()).all()
    assert np.array_equal(first.scores(), second.scores())
    assert not np.array_equal(first.scores(), played(2, members, 1.0, steps=3).scores())
    own = first.scores()
    own[:] = 0
    assert first.scores().any(), "scores are handed out as a copy"


def test_steps_add_up() -> None:
    data, slots = add_slots(scenes(), 3, CROP, PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    size = parameters_to_vector(model.parameters()).numel()
    sums = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    attack = white_box(data, slots, refresh=100)
    apart = []
    for step in range(3):
        before = attack.scores()
        attack(view_of(data, sums[step], model, step))
        apart.append(attack.scores() - before)
    alone = white_box(data, slots, refresh=100)
    alone(view_of(data, sums[2], model))
    np.testing.assert_allclose(alone.scores(), apart[2], rtol=1e-9, atol=1e-12)


@pytest.mark.numeric
def test_a_model_that_is_too_large_keeps_its_last_coordinates(monkeypatch) -> None:
    data, slots = add_slots(scenes(), 3, CROP, PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    size = parameters_to_vector(model.parameters()).numel()
    monkeypatch.setattr("cropaudit.attacks.white_box._ENTRIES", 30 * 50)
    seen = torch.randn(size, generator=torch.Generator().manual_seed(0))
    attack, other = white_box(data, slots), white_box(data, slots)
    attack(view_of(data, seen, model))
    seen[: size - 50] = 1e6  # not looked at
    other(view_of(data, seen, model))
    assert np.isfinite(attack.scores()).all()
    assert np.array_equal(attack.scores(), other.scores())
