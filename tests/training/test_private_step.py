import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cropaudit.errors import InputError
from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import GradSampleMode, build_model
from cropaudit.training.private_step import PrivateStep

pytestmark = pytest.mark.usefixtures("one_thread")

CLIP = 0.5


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    return (
        torch.randn(6, 3, 24, 24, generator=stream),
        torch.randint(3, (6, 24, 24), generator=stream),
    )


def step_of(model: nn.Module, mode: GradSampleMode = "hooks", **changes: object) -> PrivateStep:
    settings: dict[str, object] = {
        "noise_multiplier": 0.0,
        "max_grad_norm": CLIP,
        "learning_rate": 0.1,
        "expected_batch": 6.0,
        "noise": torch.Generator().manual_seed(1),
    }
    return PrivateStep(model, mode, **{**settings, **changes})  # type: ignore[arg-type]


def sums(
    batch: tuple[Tensor, Tensor],
    mode: GradSampleMode = "hooks",
    name: str = "small-unet",
    steps: int = 2,
    *,
    double: bool = False,
    **changes: object,
) -> list[Tensor]:
    """Returns the noisy sums of some updates, each on weights that the one before has moved."""
    model = build_model(name, 3, 0)
    images, masks = batch
    if double:
        model, images = model.double(), images.double()
    update = step_of(model, mode, **changes)
    seen: list[Tensor] = []
    for _ in range(steps):
        update(images, masks, lambda total: seen.append(total.double().clone()))
    return seen


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    pairs = zip(one, other, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize("physical", [1, 2, 4, 6, 100])
def test_a_batch_in_parts_is_the_batch_at_once(batch, physical):
    whole = sums(batch, double=True)
    # The sum is shown in float32, whose digits end at 6e-8.
    assert apart(sums(batch, double=True, physical_batch=physical), whole) < 1e-6


@pytest.mark.numeric
@pytest.mark.parametrize("mode", ["ew", "functorch", "ghost"])
def test_every_mode_clips_and_sums_alike_also_in_parts(batch, mode):
    whole = sums(batch)
    assert apart(sums(batch, mode), whole) < 5e-6
    assert apart(sums(batch, mode, physical_batch=4), whole) < 5e-6


def test_ghost_clipping_agrees_to_the_digits_of_float64(batch):
    whole = sums(batch, double=True, max_grad_norm=0.05)
    ghost = sums(batch, "ghost", double=True, max_grad_norm=0.05, physical_batch=4)
    assert apart(ghost, whole) < 1e-6


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_no_more_than_the_physical_batch_passes_at_once(batch, mode):
    model = build_model("small-unet", 3, 0)
    passed: list[int] = []
    model.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    update = step_of(model, mode, physical_batch=4)
    asked: list[int] = []

    def parts():
        for start in range(0, 6, 2):
            asked.append(len(passed))
            yield batch[0][start : start + 2], batch[1][start : start + 2]

    update.run(parts())
    assert asked == [0, 1, 2]  # each part is asked for when the one before is done
    update(*batch)
    assert passed == [2, 2, 2, 4, 2]


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize("physical", [1, None])
def test_noise_is_added_once_for_all_parts(batch, mode, physical):
    # False-failure rate 1e-6: the sum of P squares is chi-square.
    (noisy,) = sums(batch, mode, steps=1, noise_multiplier=2.0, physical_batch=physical)
    (quiet,) = sums(batch, steps=1)
    noise = ((noisy - quiet) / (2.0 * CLIP)).numpy()
    law = stats.chi2(noise.size)
    assert law.ppf(5e-7) < float(np.square(noise).sum()) < law.isf(5e-7)


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch", "ghost"])
def test_an_empty_batch_between_others_is_pure_noise(batch, mode):
    model = build_model("small-unet", 3, 0)
    update = step_of(model, mode, noise_multiplier=1.0)
    seen: list[Tensor] = []
    losses = [
        update(images, masks, lambda total: seen.append(total.clone()))
        for images, masks in (batch, (batch[0][:0], batch[1][:0]), batch)
    ]
    assert [math.isnan(loss) for loss in losses] == [False, True, False]
    noise = (seen[1].double() / CLIP).numpy()
    law = stats.chi2(noise.size)  # false-failure rate 1e-6
    assert law.ppf(5e-7) < float(np.square(noise).sum()) < law.isf(5e-7)


def test_the_loss_is_the_mean_over_all_parts(batch):
    model = build_model("small-unet", 3, 0)
    with torch.no_grad():
        expected = float(pixel_losses(model(batch[0]), batch[1]).mean())
    assert step_of(model, physical_batch=4)(*batch) == pytest.approx(expected, rel=1e-6)


def gradients(batch: tuple[Tensor, Tensor]) -> Tensor:
    """Each image's gradient, one backward pass an image, shape (B, P)."""
    model = build_model("small-unet", 3, 0)
    rows = []
    for image, mask in zip(*batch, strict=True):
        model.zero_grad()
        pixel_losses(model(image[None]), mask[None]).sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    return torch.stack(rows).double()


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch"])
@pytest.mark.parametrize("physical", [None, 4])
def test_crops_of_an_image_are_averaged_before_they_are_clipped(batch, mode, physical):
    means = gradients(batch).reshape(3, 2, -1).mean(dim=1)
    factors = (CLIP / (means.norm(dim=1) + 1e-6)).clamp(max=1)
    found = sums(batch, mode, steps=1, averaged=2, physical_batch=physical)
    assert apart(found, [factors @ means]) < 5e-6


def test_averaging_moves_the_sum_by_one_clip_where_crops_apart_move_it_by_two(batch):
    pair = batch[0][:2], batch[1][:2]
    together = sums(pair, steps=1, averaged=2, max_grad_norm=1e-3)[0]
    separate = sums(pair, steps=1, max_grad_norm=1e-3)[0]
    assert float(together.norm()) == pytest.approx(1e-3, rel=1e-3)
    assert float(separate.norm()) > 1.2e-3


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["small-unet", "pspnet"])
@pytest.mark.parametrize("clip", [1e-2, 0.3, 3.0])
def test_no_image_moves_the_sum_by_more_than_the_clip(batch, precision, name, clip):
    # Sums are in float32: their digits are all that may be above the bound.
    for place in range(2):
        one = batch[0][place : place + 1], batch[1][place : place + 1]
        (found,) = sums(one, "hooks", name, 1, precision=precision, max_grad_norm=clip)
        assert 0 < float(found.norm()) <= clip * (1 + 1e-6)


def test_bf16_keeps_gradients_about_right_and_everything_after_them_in_float32(batch):
    found = sums(batch, precision="bf16", steps=1)
    exact = sums(batch, steps=1)
    assert 1e-4 < apart(found, exact) < 0.1  # bf16 it is, and no more than that
    model = build_model("small-unet", 3, 0)
    update = step_of(model, precision="bf16", noise_multiplier=1.0)
    update(*batch)
    kinds = {p.summed_grad.dtype for p in update.parameters}
    kinds |= {p.grad.dtype for p in update.parameters if p.grad is not None}
    assert kinds == {torch.float32}


def test_noise_under_bf16_is_that_of_float32_to_the_last_digit():
    empty = torch.zeros(0, 3, 24, 24), torch.zeros(0, 24, 24)
    noises = [sums(empty, noise_multiplier=1.0, precision=kind) for kind in ("float32", "bf16")]
    assert all(torch.equal(one, other) for one, other in zip(*noises, strict=True))
    # 8 binary digits would leave a few hundred values; of 40,000 draws nearly all differ here.
    assert len(noises[1][0].unique()) > 39_000


@pytest.mark.parametrize("mode", ["ew", "ghost"])
def test_what_cannot_run_in_bf16_is_refused(mode):
    with pytest.raises(InputError, match=f"must be hooks or functorch for bf16, got {mode}"):
        step_of(build_model("small-unet", 3, 0), mode, precision="bf16")


def test_ghost_clipping_cannot_average_crops():
    with pytest.raises(InputError, match="for crops that are averaged, got ghost"):
        step_of(build_model("small-unet", 3, 0), "ghost", averaged=2)


def test_crops_that_are_averaged_must_fit_the_memory_together():
    with pytest.raises(InputError, match="physical_batch must be at least 3, got 2"):
        step_of(build_model("small-unet", 3, 0), averaged=3, physical_batch=2)


def test_weight_decay_is_added_to_the_noisy_mean_and_is_not_seen_in_the_sum(batch):
    model = build_model("small-unet", 3, 0)
    update = step_of(model, weight_decay=0.01, noise_multiplier=1.0)
    before = [p.detach().clone() for p in update.parameters]
    seen: list[Tensor] = []
    update(*batch, lambda total: seen.append(total.clone()))
    start = torch.cat([p.flatten() for p in before])
    end = torch.cat([p.detach().flatten() for p in update.parameters])
    torch.testing.assert_close(end, start - 0.1 * (seen[0] / 6 + 0.01 * start))


def test_the_rate_of_an_update_can_be_set(batch):
    model = build_model("small-unet", 3, 0)
    update = step_of(model)
    start = torch.cat([p.detach().flatten() for p in update.parameters]).clone()
    update.set_learning_rate(0.0)
    update(*batch)
    assert torch.equal(start, torch.cat([p.detach().flatten() for p in update.parameters]))
