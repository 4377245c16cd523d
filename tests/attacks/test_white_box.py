"""White-box attack: its likelihood ratio against dense algebra, its windows, its signs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parameters_to_vector

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Crop, PixelMask, Rectangle, Size
from cropaudit.attacks.base import AttackedRun
from cropaudit.attacks.white_box.likelihood_ratio import (
    Clutter,
    WhiteBox,
    covering_window,
    slot_crops,
)
from cropaudit.estimators.scores import Scores
from cropaudit.training.canaries import add_slots, fill_slots
from cropaudit.training.crops.cutting import cut_window
from cropaudit.training.data.images import IGNORE
from cropaudit.training.dpsgd.loop import StepView, train
from cropaudit.training.models.build import build_model
from cropaudit.training.models.losses import pixel_losses, prepare
from tests.attacks.runs import CLIP, RESIZED, attacked, scenes

CPU = torch.device("cpu")
CROP = Crop(Size(16, 18), padding=2)
PATCH = Rectangle(Size(8, 8))
SEED = 4


pytestmark = pytest.mark.usefixtures("one_thread")


def canaries(count: int, crop: CropLaw = CROP, **changes: object) -> AttackedRun:
    law = changes.pop("crop", crop)
    return attacked(*add_slots(scenes(), count, law, PATCH, seed=2), law, **changes)


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


@pytest.mark.parametrize("crop", [CROP, Crop(Size(5, 6)), Crop(Size(22, 20)), RESIZED], ids=str)
def test_windows_cover_the_patch(crop: CropLaw) -> None:
    """They show all of the patch, or of one that is larger than they are nothing else."""
    shape = PixelMask(np.ones((8, 7), dtype=bool))
    run = attacked(*add_slots(scenes(), 6, crop, shape, seed=2), crop)
    stream = torch.Generator().manual_seed(0)
    for slot in run.slots:
        size = run.data.size(slot.record)
        mask = torch.zeros(size.height, size.width, dtype=torch.uint8)
        row, column = slot.position
        mask[row : row + 8, column : column + 7] = 1
        for _ in range(25):
            window = covering_window(slot, run, stream)
            if isinstance(crop, Crop):
                origins = crop.origins(size)
                assert 0 <= window.top < origins.height
                assert 0 <= window.left < origins.width
                _, shown = cut_window(run.data.images[slot.record], mask, window, crop)
                most = min(8, crop.size.height) * min(7, crop.size.width)
                assert int((shown == 1).sum()) == most
            else:
                assert window.size is not None
                rows = slice(window.top, window.top + window.size.height)
                columns = slice(window.left, window.left + window.size.width)
                assert int(mask[rows, columns].sum()) == 56


def test_slot_crops_show_both_worlds_at_one_window() -> None:
    """All of world A, then all of B; outside the patch the crops agree, so windows do."""
    run = canaries(5)
    images, masks = slot_crops(run, torch.Generator().manual_seed(0))
    assert images.shape == (10, 3, 16, 18)
    assert masks.shape == (10, 16, 18)
    for number, slot in enumerate(run.slots):
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
        assert torch.equal(run.data.images[index], scenes().images[index])
    assert all(bool((run.data.masks[slot.record] == IGNORE).all()) for slot in run.slots)


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


def view_of(noisy_sum: torch.Tensor, model: torch.nn.Module, step: int = 0) -> StepView:
    return StepView(step, (), (), noisy_sum, model)


@pytest.mark.numeric
@pytest.mark.parametrize("covered", [0, 2])
@pytest.mark.parametrize("several", [1, 2])
def test_a_slot_is_seen_on_the_side_of_its_world(covered: int, several: int) -> None:
    """The sum holds one slot's clipped gradient, taken here by plain autograd, and no noise."""
    crops = {"crops_per_image": several, "clipped": "apart"}
    run = canaries(4, noise_multiplier=0.2, **crops)
    model = build_model("small-unet", 4, 0)
    attack = WhiteBox(run, SEED)
    images, masks = slot_crops(run, torch.Generator().manual_seed(9))
    for sign, at in ((1, covered), (-1, covered + 4)):
        model.zero_grad(set_to_none=True)
        loss = pixel_losses(model(prepare(images[[at]])), masks[[at]])
        torch.autograd.backward(loss.sum())
        flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        attack.total.zero_()
        attack(view_of(flat * (CLIP / flat.norm()).clamp(max=1), model))
        assert sign * attack.scores()[covered] > 0
        assert int(np.abs(attack.scores()).argmax()) == covered


def played(
    seed: int, members: np.ndarray, sigma: float, steps: int = 12, **changes: object
) -> WhiteBox:
    run = canaries(len(members), steps=steps, noise_multiplier=sigma, seed=seed, **changes)
    attack = WhiteBox(run, SEED)
    train(fill_slots(run.data, run.slots, members), run.spec, device=CPU, observe=attack)
    return attack


@pytest.mark.parametrize(
    "crops",
    [
        {},
        {"crop": RESIZED, "crops_per_image": 2, "clipped": "together"},
    ],
    ids=str,
)
def test_power_with_little_noise(crops: dict[str, object]) -> None:
    """A sanity bound, below what is reached: AUC above .75 at a noise multiplier of .05.

    With 24 canaries, scores that know nothing would pass it with probability 2%.
    """
    members = np.random.default_rng(0).permutation(np.arange(24) < 12)
    assert Scores.labelled(played(1, members, 0.05, **crops).scores(), members).auc() > 0.75


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
    run = canaries(3)
    model = build_model("small-unet", 4, 0)
    size = parameters_to_vector(model.parameters()).numel()
    sums = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    attack = WhiteBox(run, SEED, refresh=100)
    apart = []
    for step in range(3):
        before = attack.scores()
        attack(view_of(sums[step], model, step))
        apart.append(attack.scores() - before)
    alone = WhiteBox(run, SEED, refresh=100)
    alone(view_of(sums[2], model))
    np.testing.assert_allclose(alone.scores(), apart[2], rtol=1e-9, atol=1e-12)


@pytest.mark.numeric
def test_a_model_that_is_too_large_keeps_its_last_coordinates(monkeypatch) -> None:
    run = canaries(3)
    model = build_model("small-unet", 4, 0)
    size = parameters_to_vector(model.parameters()).numel()
    monkeypatch.setattr("cropaudit.attacks.white_box.likelihood_ratio._ENTRIES", 30 * 50)
    seen = torch.randn(size, generator=torch.Generator().manual_seed(0))
    attack, other = WhiteBox(run, SEED), WhiteBox(run, SEED)
    attack(view_of(seen, model))
    seen[: size - 50] = 1e6  # not looked at
    other(view_of(seen, model))
    assert np.isfinite(attack.scores()).all()
    assert np.array_equal(attack.scores(), other.scores())
