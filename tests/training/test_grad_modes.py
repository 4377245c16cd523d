"""The grad-sample mode is one that is exact on the model, and fits the memory."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.dpsgd import grad_modes, mode_trials
from cropaudit.training.dpsgd.grad_modes import ALL_MODES, ModeChoice, fitting_mode
from cropaudit.training.dpsgd.mode_trials import Taken, distance, drawn, take, truth
from cropaudit.training.models.build import build_model, mend

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grad_modes, "_SEEN", {})


def chosen(model: nn.Module, batch=2, crop=(32, 32), **options) -> ModeChoice:
    """The choice for a model as if it were small-unet, whose recipe says hooks."""
    return fitting_mode("small-unet", model, crop, 3, batch, **options)


def test_the_recipes_mode_is_taken_where_it_fits_and_the_model_is_left_alone():
    model = build_model("small-unet", 3, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    choice = chosen(model)
    assert torch.equal(torch.rand(1), expected)
    assert choice.mode == "hooks"
    assert choice.reason.startswith("the recipe's mode; exact, and takes ")
    (trial,) = choice.trials
    assert trial.error < 1e-12
    # More than the gradient and less than 10 MB an image.
    assert 4 * 40_000 < trial.peak_bytes < 2e7
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(hasattr(p, "grad_sample") or p.grad is not None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_wrong_mode_is_never_chosen():
    """A model short of one mend: Opacus' hooks take its gradients wrongly."""
    model = build_model("small-unet", 3, 0).to(memory_format=torch.channels_last)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    for choice in (chosen(model), chosen(model, room=1)):
        assert choice.mode != "hooks"
    (wrong,) = (trial for trial in choice.trials if trial.mode == "hooks")
    assert wrong.error > 1e-3
    assert "off by" in wrong.note


def test_a_model_that_no_mode_takes_is_refused():
    mixing = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    with pytest.raises(InputError, match="exact per-sample gradients, got small-unet: hooks: NotI"):
        chosen(mixing)


def deep(layers: int = 24, width: int = 64) -> nn.Module:
    sizes = [3, *[width] * layers, 3]
    return mend(nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes))))


def test_ghost_clipping_is_chosen_where_memory_is_short():
    """Only ghost clipping holds one layer's per-sample gradients at a time."""
    model, batch = deep(), 50
    whole = batch * 4 * sum(p.numel() for p in model.parameters())
    choice = chosen(model, batch=batch, crop=(4, 4), room=whole // 2)
    peaks = {trial.mode: trial.peak_bytes for trial in choice.trials}
    assert set(peaks) == set(ALL_MODES)
    assert peaks.pop("ghost") < whole // 2
    assert all(whole < peak < 3 * whole for peak in peaks.values()), (whole, peaks)
    assert choice.mode == "ghost"
    assert "takes the least memory" in choice.reason
    able = chosen(model, batch=batch, crop=(4, 4), room=1, modes=("hooks", "functorch"))
    assert able.mode in ("hooks", "functorch"), "only what is allowed is considered"
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        chosen(model, batch=0)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_an_error_far_below_any_of_opacus_is_seen(mode, monkeypatch):
    """A gradient off by 1e-8 of the whole, in one parameter of one image, is no longer exact."""
    model = build_model("small-unet", 3, 0).double()
    images = drawn(2, (16, 16), 3, dtype=torch.float64)
    right = truth(model, images)
    found = take(model, mode, images, right.bound)
    assert distance(found, right.taken) < 1e-12
    norms = found.norms.clone()
    norms[1, 5] += 1e-8 * norms[1].norm()
    assert distance(Taken(norms, found.total), right.taken) > 5e-9
    whole = torch.stack([part.norm() for part in found.total]).norm()
    total = [part + 1e-8 * whole * (i == 3) for i, part in enumerate(found.total)]
    assert distance(Taken(found.norms, total), right.taken) > 5e-9
    assert distance(Taken(float("nan") * norms, found.total), right.taken) == math.inf


def test_the_truth_clips_each_image_alone():
    """With one 1x1 convolution the gradient is known: dL/dW summed over pixels."""
    model = nn.Conv2d(3, 2, 1, bias=False).double()
    images = drawn(3, (4, 4), 2, dtype=torch.float64)
    found = truth(model, images)
    chances = model(images.pixels).detach().softmax(dim=1)
    aims = nn.functional.one_hot(images.labels, 2).movedim(-1, 1)
    rows = torch.einsum("nkhw,nchw->nkc", chances - aims, images.pixels) / 16
    norms = rows.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.taken.norms[:, 0], norms)
    assert found.bound == pytest.approx(float(norms.min()) / 2)
    factors = found.bound / (norms + mode_trials._SLACK)
    total = torch.einsum("n,nkc->kc", factors, rows)[..., None, None]
    torch.testing.assert_close(found.taken.total[0], total)
