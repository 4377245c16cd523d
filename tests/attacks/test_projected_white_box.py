"""The projected attack and the last iterate: likelihood ratios from whole gradients, nulls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.attacks.base import AttackedRun
from cropaudit.attacks.slot_views import slot_views
from cropaudit.attacks.white_box import last_iterate
from cropaudit.attacks.white_box.last_iterate import last_iterate_scores, summed_updates
from cropaudit.attacks.white_box.projected import ProjectedWhiteBox
from cropaudit.attacks.white_box.projections import Projector
from cropaudit.errors import InputError
from cropaudit.estimators.scores import Scores
from cropaudit.training.canaries import add_slots, fill_slots, plant
from cropaudit.training.canaries.backgrounds import Sparse
from cropaudit.training.canaries.crafting import clip, flat_gradients
from cropaudit.training.canaries.designs import Opposed
from cropaudit.training.canaries.slots import filled
from cropaudit.training.crops.cutting import cut_windows
from cropaudit.training.dpsgd.loop import StepView, Trained, train
from cropaudit.training.models.build import build_model
from cropaudit.training.sampling.samplers import FixedSize
from tests.attacks.runs import CLIP, RATE, RESIZED, attacked, scenes

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CROP = Crop(Size(14, 16))
PATCH = Rectangle(Size(6, 6))


def canaries(count: int, crop: CropLaw = CROP, **changes: object) -> AttackedRun:
    return attacked(*add_slots(scenes(), count, crop, PATCH, seed=2), crop, **changes)


def unet() -> nn.Module:
    return build_model("small-unet", 4, 0)


def clipped(model: nn.Module, shown: tuple[Tensor, Tensor]) -> Tensor:
    """Whole clipped gradients (B, P) of raw crops, float64."""
    return (clip(flat_gradients(model)(*shown), CLIP) * CLIP).double()


def dense_scores(box: ProjectedWhiteBox, view: StepView, mean: Tensor) -> np.ndarray:
    """The formula of the module's head from whole gradients, in the first step."""
    run, seen = box.run, view.noisy_sum.double() - mean
    tried = []
    for views in box.views:
        worlds = [filled(run.data, views.slot, world_a=world) for world in (True, False)]
        cuts = [
            cut_windows(worlds[:1], views.hits, CROP),
            cut_windows(worlds[1:], views.hits, CROP),
        ]
        cuts += [cut_windows(worlds[1:], views.misses, CROP)] if views.misses else []
        tried.append([clipped(view.model, cut) * views.loudness for cut in cuts])
    # The mean square along unit vectors, drawn towards that of all slots, at least the noise's.
    along = [
        torch.cat([g @ seen / g.norm(dim=1) for g in parts]).square().mean() for parts in tried
    ]
    pooled = torch.stack(along).mean()
    found = []
    for views, parts, own in zip(box.views, tried, along, strict=True):
        variance = max(float((own + 10 * pooled) / 11), box.variance)
        means = [
            float(((g @ seen - g.square().sum(dim=1) / 2) / variance).exp().mean()) for g in parts
        ]
        miss, rho = (means[2] if views.misses else 1.0), views.inclusion
        ratios = [
            np.log(1 - RATE + RATE * (1 - rho) * miss + RATE * rho * hit) for hit in means[:2]
        ]
        found.append(ratios[0] - ratios[1])
    return np.array(found)


@pytest.mark.parametrize("background", ["ignored", "sparse"])
@pytest.mark.parametrize("several", [1, 3])
def test_the_score_is_the_dense_formula(background: str, several: int) -> None:
    design = Opposed() if background == "ignored" else Opposed(background=Sparse())
    data, slots = plant(scenes(), design, 3, CROP, PATCH, 2)
    run = attacked(data, slots, CROP, crops_per_image=several, clipped="apart")
    model, box = unet(), ProjectedWhiteBox(run, 4, windows=3)
    mean = ProjectedWhiteBox(run, 4, windows=3)._background(Projector(model, max_grad_norm=CLIP))
    noise = torch.Generator().manual_seed(5)
    total = mean.float() + CLIP * torch.randn(mean.shape, generator=noise)
    view = StepView(0, (), (), total, model)
    box(view)
    expected = dense_scores(box, view, mean)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(box.scores(), expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("covered", [0, 2])
def test_each_slot_is_on_its_side(covered: int) -> None:
    """The sum holds one slot's gradient and what natural images are expected to add."""
    run = canaries(3, noise_multiplier=0.2)
    model, box = unet(), ProjectedWhiteBox(run, 4, windows=3)
    mean = ProjectedWhiteBox(run, 9)._background(Projector(model, max_grad_norm=CLIP))
    for world, sign in ((0, 1), (1, -1)):
        images, masks = box.views[covered].crops(run)
        at = slice(3 * world + 2, 3 * world + 3)  # the window that shows most
        own = Projector(model, max_grad_norm=CLIP).clipped_sum(images[at], masks[at])
        box.total.zero_()
        box(StepView(0, (), (), own + mean, model))
        assert sign * box.scores()[covered] > 0


def test_norms_are_taken_every_few_steps_only(monkeypatch) -> None:
    model, box = unet(), ProjectedWhiteBox(canaries(2), 4, windows=3, refresh=3)
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
    coins: np.ndarray, sigma: float, steps: int, *, equal_worlds: bool = False, **changes: object
) -> tuple[dict[str, np.ndarray], Trained]:
    """Trains once; returns the scores of both adversaries, and the run."""
    run = canaries(len(coins), steps=steps, noise_multiplier=sigma, **changes)
    if equal_worlds:
        slots = tuple(replace(s, texture_b=s.texture_a, labels_b=s.labels_a) for s in run.slots)
        run = replace(run, slots=slots)
    box = ProjectedWhiteBox(run, 4, windows=3)
    trained = train(fill_slots(run.data, run.slots, coins), run.spec, device=CPU, observe=box)
    before = unet()
    before.load_state_dict(trained.initial)
    last = last_iterate_scores(run, before, trained.model, 4)
    return {"projected": box.scores(), "last iterate": last}, trained


def test_equal_worlds_cannot_be_told() -> None:
    """A = B: scores are exactly 0, whoever looks, so that the AUC is exactly one half."""
    coins = np.array([True, False, True, False])
    for name, scores in played(coins, 1.0, 3, equal_worlds=True)[0].items():
        assert not scores.any(), name
        assert Scores.labelled(scores, coins).auc() == 0.5


def test_scores_are_numbers_for_resized_crops_of_which_several_are_averaged() -> None:
    coins = np.array([True, False, True])
    for scores in played(coins, 1.0, 2, crop=RESIZED, crops_per_image=2)[0].values():
        assert scores.shape == (3,)
        assert np.isfinite(scores).all()
        assert scores.any()


def test_scores_are_reproducible() -> None:
    coins = np.array([True, False])
    one, other = (played(coins, 1.0, 2)[0] for _ in range(2))
    for name in one:
        assert np.array_equal(one[name], other[name])


def test_refusals() -> None:
    assert canaries(2, sampling=FixedSize(2)).sample_rate == pytest.approx(2 / 6)
    with pytest.raises(InputError, match="refresh must be at least 1, got 0"):
        ProjectedWhiteBox(canaries(2), 4, refresh=0)


@pytest.mark.numeric
def test_the_last_iterate_gives_back_the_sum_of_the_noisy_sums() -> None:
    run, sums = attacked(scenes(), (), steps=4), []
    trained = train(
        run.data, run.spec, device=CPU, observe=lambda view: sums.append(view.noisy_sum.clone())
    )
    before = unet()
    before.load_state_dict(trained.initial)
    got = summed_updates(before, trained.model, run)
    torch.testing.assert_close(got, torch.stack(sums).double().sum(dim=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("world_a", [True, False])
def test_the_last_iterate_sees_a_slot_on_its_side(
    world_a: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights moved by a slot's mean gradient and by nothing else."""
    monkeypatch.setattr(last_iterate, "_WINDOWS", 3)
    run = canaries(2)
    before, after = unet(), unet()
    views = slot_views(run, 3, seed=4)[1]
    images, masks = views.crops(run)
    world = slice(0, 3) if world_a else slice(3, 6)
    moved = Projector(before, max_grad_norm=CLIP).clipped_sum(images[world], masks[world])
    moved *= 10 * RATE * views.inclusion / 3
    natural = 0.1 / (RATE * len(run.data))  # learning rate over the expected batch
    parameters = [p for p in after.parameters() if p.requires_grad]
    pieces = torch.split(moved * natural, [p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter -= piece.view_as(parameter)
    bare = replace(run.data, masks=tuple(torch.full_like(m, 255) for m in run.data.masks))
    scores = last_iterate_scores(replace(run, data=bare), before, after, 4)
    assert (scores[1] > 0) == world_a
    assert abs(scores[1]) > abs(scores[0])


def test_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="model_after must be of the same parameters"):
        summed_updates(unet(), build_model("small-unet", 5, 0), canaries(2))
