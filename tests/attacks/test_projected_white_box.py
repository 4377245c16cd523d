"""The projected attack: its likelihood ratio from whole gradients, its nulls, its power."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.attacks.last_iterate import RunFacts, last_iterate_scores
from cropaudit.attacks.projected_white_box import (
    Adversary,
    KnownBackground,
    ProjectedWhiteBox,
    UnknownBackground,
)
from cropaudit.attacks.projections import Projector
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot, add_slots, fill_slots, plant
from cropaudit.training.canaries.backgrounds import Sparse
from cropaudit.training.canaries.designs import Opposed
from cropaudit.training.canaries.gradients import clip, flat_gradients
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, Trained, train
from cropaudit.training.models import build_model
from cropaudit.training.samplers import FixedSize, Poisson

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CROP = Crop(Size(14, 16))
PATCH = Rectangle(Size(6, 6))
CLIP, RATE = 0.7, 0.3


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


def attack(
    data: SegmentationData, slots: tuple[CanarySlot, ...], **changes: object
) -> ProjectedWhiteBox:
    values = {
        "sampling": Poisson(RATE),
        "noise_multiplier": 1.0,
        "max_grad_norm": CLIP,
        "seed": 4,
        "windows": 3,
    }
    return ProjectedWhiteBox(data, slots, CROP, **{**values, **changes})  # type: ignore[arg-type]


def clipped(model: nn.Module, shown: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Whole clipped gradients (B, P) of raw crops."""
    images, masks = (torch.stack(part) for part in zip(*shown, strict=True))
    return clip(flat_gradients(model)(images, masks), CLIP) * CLIP


def dense_scores(
    box: ProjectedWhiteBox, data: SegmentationData, view: StepView, variance: float
) -> np.ndarray:
    """The formula of the module's head from whole gradients, for a known background."""
    batch = [
        clipped(view.model, [cut(data.images[i], data.masks[i], window, CROP)])[0]
        for i, window in zip(view.indices, view.windows, strict=True)
    ]
    found = []
    for views in box.views:
        others = [g for i, g in zip(view.indices, batch, strict=True) if i != views.slot.record]
        y = view.noisy_sum - sum(others, torch.zeros_like(view.noisy_sum))
        worlds = []
        for content in ("a", "b"):
            image, mask = (data.images[views.slot.record].clone(), data.masks[views.slot.record])
            mask = mask.clone()
            rows, columns = views.slot.box
            image[:, rows, columns] = getattr(views.slot, f"texture_{content}")
            mask[rows, columns] = getattr(views.slot, f"labels_{content}")
            means = []
            for windows in (views.hits, views.misses):
                if not windows:
                    means.append(1.0)
                    continue
                g = clipped(view.model, [cut(image, mask, w, CROP) for w in windows]).double()
                exponents = (g @ y.double() - g.square().sum(dim=1) / 2) / variance
                means.append(float(exponents.exp().mean()))
            hit, miss = means
            rho = views.inclusion
            worlds.append(np.log(1 - RATE + RATE * (1 - rho) * miss + RATE * rho * hit))
        found.append(worlds[0] - worlds[1])
    return np.array(found)


def one_step(data: SegmentationData, model: nn.Module) -> StepView:
    """A step with two slots in the batch and three records out of it, and noise."""
    indices, windows = (0, 4, 6), (Window(2, 3), Window(5, 4), Window(4, 6))
    shown = [
        cut(data.images[i], data.masks[i], w, CROP) for i, w in zip(indices, windows, strict=True)
    ]
    total = clipped(model, shown).sum(dim=0)
    noise = torch.randn(total.shape, generator=torch.Generator().manual_seed(5))
    return StepView(0, indices, windows, total + CLIP * noise, model)


@pytest.mark.parametrize("background", ["ignored", "sparse"])
def test_known_background_is_the_dense_formula(background: str) -> None:
    design = Opposed() if background == "ignored" else Opposed(background=Sparse())
    data, slots = plant(scenes(), design, 3, CROP, PATCH, 2)
    full = fill_slots(data, slots, np.array([True, False, True]))
    model = build_model("small-unet", 4, 0)
    view = one_step(full, model)
    box = attack(data, slots, adversary=KnownBackground(full), model_error=0.2)
    box(view)
    expected = dense_scores(box, full, view, (1 + 0.2**2) * CLIP**2)
    assert np.abs(expected).min() > 1e-4
    np.testing.assert_allclose(box.scores(), expected, rtol=1e-3, atol=1e-5)


def test_the_slots_own_coin_is_not_looked_at() -> None:
    """Out of the batch, a slot's content in the known data changes nothing of its own score."""
    data, slots = add_slots(scenes(), 3, CROP, PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    coins = np.array([True, False, True])
    view = one_step(fill_slots(data, slots, coins), model)  # the second slot is not in the batch
    scores = []
    for coin in (True, False):
        full = fill_slots(data, slots, np.array([True, coin, True]))
        box = attack(data, slots, adversary=KnownBackground(full))
        box(view)
        scores.append(box.scores())
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("covered", [0, 2])
def test_an_unknown_background_leaves_each_slot_on_its_side(covered: int) -> None:
    """The sum holds one slot's gradient and what natural images are expected to add."""
    data, slots = add_slots(scenes(), 3, CROP, PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    box = attack(data, slots, noise_multiplier=0.2, adversary=UnknownBackground(natural=60))
    other = attack(data, slots, adversary=UnknownBackground(natural=60), seed=9)
    mean = other._background(Projector(model, max_grad_norm=CLIP), 60)
    for world, sign in ((0, 1), (1, -1)):
        images, masks = box.views[covered].crops(data, CROP)
        at = slice(3 * world + 2, 3 * world + 3)  # the window that shows most
        own = Projector(model, max_grad_norm=CLIP).clipped_sum(images[at], masks[at])
        box.total.zero_()
        box(StepView(0, (), (), own + mean, model))
        assert sign * box.scores()[covered] > 0


def test_norms_are_taken_every_few_steps_only(monkeypatch) -> None:
    data, slots = add_slots(scenes(), 2, CROP, PATCH, seed=2)
    model = build_model("small-unet", 4, 0)
    box = attack(data, slots, refresh=3, adversary=UnknownBackground(natural=2))
    calls = []
    for name in ("project", "dots"):
        plain = getattr(Projector, name)
        monkeypatch.setattr(
            Projector, name, lambda *a, n=name, f=plain: (calls.append(n), f(*a))[1]
        )
    seen = torch.zeros(sum(p.numel() for p in model.parameters()))
    for step in range(5):
        box(StepView(step, (), (), seen, model))
    assert calls == ["project", "dots", "dots", "project", "dots"]


def played(
    coins: np.ndarray, sigma: float, steps: int, *, equal_worlds: bool = False
) -> tuple[dict[str, np.ndarray], Trained]:
    """Trains once; returns the scores of all three adversaries, and the run."""
    data, slots = add_slots(scenes(), len(coins), CROP, PATCH, seed=2)
    if equal_worlds:
        slots = tuple(replace(s, texture_b=s.texture_a, labels_b=s.labels_a) for s in slots)
    full = fill_slots(data, slots, coins)
    adversaries: dict[str, Adversary] = {
        "known": KnownBackground(full),
        "unknown": UnknownBackground(natural=8),
    }
    boxes = {
        name: attack(data, slots, noise_multiplier=sigma, adversary=adversary)
        for name, adversary in adversaries.items()
    }
    spec = DpSgdSpec("small-unet", CROP, Poisson(RATE), steps, sigma, CLIP, 0.1, seed=1)
    run = train(
        full, spec, device=CPU, observe=lambda view: [box(view) for box in boxes.values()] and None
    )
    before = build_model("small-unet", 4, 0)
    before.load_state_dict(run.initial)
    facts = RunFacts(Poisson(RATE), steps, 0.1, sigma, CLIP)
    last = last_iterate_scores(
        before, run.model, data, slots, CROP, facts, seed=4, windows=3, natural=8
    )
    scores = {name: box.scores() for name, box in boxes.items()}
    return {**scores, "last iterate": last}, run


def test_equal_worlds_cannot_be_told() -> None:
    """A = B: scores are exactly 0, whoever looks, so that the AUC is exactly one half."""
    coins = np.array([True, False, True, False])
    for name, scores in played(coins, 1.0, 3, equal_worlds=True)[0].items():
        assert not scores.any(), name
        assert Scores.labelled(scores, coins).auc() == 0.5


def test_power_without_noise() -> None:
    """A sanity bound, below what is reached (1.0): AUC above .9 for who knows the background.

    With 6 canaries in each world scores that know nothing would pass with probability 0.9%. The
    others are only asked to give numbers here: 12 steps of clutter are no noiseless channel.
    """
    coins = np.random.default_rng(0).permutation(np.arange(12) < 6)
    scores, _ = played(coins, 0.0, 8)
    assert Scores.labelled(scores["known"], coins).auc() > 0.9
    for name, found in scores.items():
        assert found.shape == (12,), name
        assert found.dtype == np.float64
        assert np.isfinite(found).all()
        assert found.any()


def test_scores_are_reproducible() -> None:
    coins = np.array([True, False])
    one, other = (played(coins, 1.0, 2)[0] for _ in range(2))
    for name in one:
        assert np.array_equal(one[name], other[name])


def test_refusals() -> None:
    data, slots = add_slots(scenes(), 2, CROP, PATCH, seed=2)
    known = KnownBackground(data)
    with pytest.raises(InputError, match="sampling must be Poisson for an adversary who knows"):
        attack(data, slots, sampling=FixedSize(2), adversary=known)
    assert attack(data, slots, sampling=FixedSize(2)).rate == pytest.approx(2 / 6)
    with pytest.raises(InputError, match="refresh must be at least 1, got 0"):
        attack(data, slots, refresh=0)
    with pytest.raises(InputError, match="model_error must be above 0, got 0"):
        attack(data, slots, model_error=0)
    with pytest.raises(InputError, match="natural crops must be at least 1, got 0"):
        UnknownBackground(natural=0)
    model = build_model("small-unet", 4, 0)
    seen = torch.zeros(sum(p.numel() for p in model.parameters()))
    view = StepView(0, (0,), (Window(0, 0), Window(1, 1)), seen, model)
    with pytest.raises(InputError, match="crops an image must be 1 for a known background, got 2"):
        attack(data, slots, adversary=known)(view)
