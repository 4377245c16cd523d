"""The grad-sample mode is chosen among the exact ones, by measured time and memory."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training import grad_modes, mode_trials
from cropaudit.training.grad_modes import ALL_MODES, ModeChoice, ModeTrial, choose_mode
from cropaudit.training.mode_trials import Taken, distance, drawn, take, truth
from cropaudit.training.models import build_model, mend

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def chosen(model: nn.Module, default="hooks", batch=2, crop=(32, 32), **options) -> ModeChoice:
    return choose_mode(model, crop, 3, batch, default=default, device=CPU, **options)


def by_mode(choice: ModeChoice) -> dict[str, ModeTrial]:
    return {trial.mode: trial for trial in choice.trials}


def channels_last() -> nn.Module:
    """A model short of one mend: Opacus' hooks take its gradients wrongly."""
    model = build_model("small-unet", 3, 0).to(memory_format=torch.channels_last)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    return model


def test_all_exact_modes_are_measured_and_the_model_is_left_alone():
    model = build_model("small-unet", 3, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    choice = chosen(model)
    assert torch.equal(torch.rand(1), expected)
    trials = by_mode(choice)
    assert set(trials) == set(ALL_MODES)
    for trial in trials.values():
        assert trial.exact, trial
        assert trial.error < 1e-12
        assert 0 < trial.seconds < 60
        # More than the gradient and less than 10 MB an image.
        assert 4 * 40_000 < trial.peak_bytes < 2e7
    assert choice.reason.startswith("exact, ")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(hasattr(p, "grad_sample") or p.grad is not None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_wrong_mode_is_never_chosen():
    choice = chosen(channels_last(), default="hooks")
    trials = by_mode(choice)
    assert trials["hooks"].error > 1e-3
    assert not trials["hooks"].exact
    assert math.isnan(trials["hooks"].seconds)
    assert trials[choice.mode].exact


def test_a_refused_mode_is_noted():
    model = mend(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 1)))
    choice = chosen(model, default="ew")
    assert "cannot handle function conv_transpose2d" in by_mode(choice)["ew"].note
    assert choice.mode != "ew"


def test_a_model_that_no_mode_takes_is_refused():
    mixing = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    with pytest.raises(InputError, match="exact per-sample gradients, got hooks: NotImplemented"):
        chosen(mixing)


def deep(layers: int = 24, width: int = 64) -> nn.Module:
    sizes = [3, *[width] * layers, 3]
    return mend(nn.Sequential(*(nn.Conv2d(a, b, 1) for a, b in pairwise(sizes))))


def test_ghost_clipping_is_chosen_where_memory_is_short():
    """Only ghost clipping holds one layer's per-sample gradients at a time."""
    model, batch = deep(), 50
    whole = batch * 4 * sum(p.numel() for p in model.parameters())
    choice = chosen(model, batch=batch, crop=(4, 4), memory=whole // 2)
    peaks = {mode: trial.peak_bytes for mode, trial in by_mode(choice).items()}
    assert peaks.pop("ghost") < whole // 2
    assert all(whole < peak < 3 * whole for peak in peaks.values()), (whole, peaks)
    assert choice.mode == "ghost"
    assert math.isnan(by_mode(choice)["hooks"].seconds)
    assert "no other is exact and fits" in choice.reason


def test_the_least_hungry_mode_is_taken_where_none_fits():
    choice = chosen(deep(), batch=50, crop=(4, 4), memory=1)
    assert choice.mode == "ghost"
    assert "takes the least memory of all" in choice.reason
    assert all(math.isnan(trial.seconds) for trial in choice.trials)


def test_nothing_is_measured_where_there_is_no_time(monkeypatch):
    model = build_model("small-unet", 3, 0)
    assert chosen(model, default="ew", seconds=0) == ModeChoice(
        "ew", "the recipe's mode; none was measured"
    )
    monkeypatch.setattr(grad_modes, "_forward_seconds", lambda bench: 0.5)
    choice = chosen(model, default="functorch")
    assert choice.mode == "functorch"
    assert choice.trials == ()
    assert "one forward pass of one image takes 0.5 s" in choice.reason


def test_modes_that_the_time_does_not_allow_are_not_tried(monkeypatch):
    monkeypatch.setattr(grad_modes._Bench, "left", lambda bench: -1.0)
    choice = chosen(build_model("small-unet", 3, 0), default="functorch")
    assert choice.mode == "functorch"
    assert [trial.note for trial in choice.trials] == ["", *["not tried: the time was up"] * 3]


def test_only_the_allowed_modes_are_considered():
    choice = chosen(build_model("small-unet", 3, 0), modes=("hooks", "functorch"))
    assert set(by_mode(choice)) == {"hooks", "functorch"}
    with pytest.raises(InputError, match="default must be one of ew, got hooks"):
        chosen(nn.Identity(), modes=("ew",))
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        chosen(nn.Identity(), batch=0)


@pytest.mark.parametrize(
    ("ew", "expected"), [(0.5, "ew"), (0.89, "ew"), (0.91, "hooks"), (2.0, "hooks")]
)
def test_the_recipes_mode_stays_unless_another_is_clearly_faster(ew, expected):
    trials = [ModeTrial("hooks", 0.0, 1.0, 10), ModeTrial("ew", 0.0, ew, 10)]
    assert grad_modes._decided(trials, 100).mode == expected


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
