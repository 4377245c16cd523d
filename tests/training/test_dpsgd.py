import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.utils import parameters_to_vector

from cropaudit.accounting.crop_laws import WholeImage
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import InputError
from cropaudit.training import run_setup
from cropaudit.training.crops import cut
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, pick_device, train
from cropaudit.training.grad_modes import ModeChoice
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.samplers import FixedSize, FullBatch, Poisson, Shuffle
from cropaudit.training.schedules import Cosine, Poly, learning_rates

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    sizes = [(24, 28), (20, 20), (31, 22), (24, 28), (20, 33), (26, 26)]
    images = tuple(
        torch.randint(256, (3, *size), generator=stream, dtype=torch.uint8) for size in sizes
    )
    masks = [torch.randint(3, size, generator=stream, dtype=torch.uint8) for size in sizes]
    masks[1][:, :8] = IGNORE
    masks[5][:] = IGNORE
    names = tuple(f"image {i}" for i in range(6))
    return SegmentationData(images, tuple(masks), ("sky", "road", "car"), names, "test")


SPEC = DpSgdSpec(
    model="small-unet",
    crop=Crop(Size(16, 18), padding=2),
    sampling=FixedSize(4),
    steps=3,
    noise_multiplier=0.0,
    max_grad_norm=0.7,
    learning_rate=0.3,
    seed=11,
)


def flat(model: torch.nn.Module) -> torch.Tensor:
    return parameters_to_vector([p for p in model.parameters() if p.requires_grad]).detach().clone()


def watch(data, spec) -> tuple[list[StepView], list[torch.Tensor], torch.Tensor]:
    """Returns the views, the parameters before each step, and those after the last."""
    views, before = [], []

    def observe(view: StepView) -> None:
        views.append(view)
        before.append(flat(view.model))

    trained = train(data, spec, device=CPU, observe=observe)
    return views, before, flat(trained.model)


def oracle(data: SegmentationData, spec: DpSgdSpec, view: StepView) -> torch.Tensor:
    """The sum of clipped gradients through torch.func, in float64."""
    named = {n: p for n, p in view.model.named_parameters() if p.requires_grad}
    parameters = {n: p.detach().double() for n, p in named.items()}
    pairs = [
        cut(data.images[i], data.masks[i], window, spec.crop)
        for i, window in zip(view.indices, view.windows, strict=True)
    ]
    images = prepare(torch.stack([image for image, _ in pairs])).double()
    masks = torch.stack([mask for _, mask in pairs])

    def loss(values, image, mask):
        logits = torch.func.functional_call(view.model, values, (image[None],))
        return pixel_losses(logits, mask[None]).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, images, masks)
    gradients = torch.cat([each[name].flatten(1) for name in parameters], dim=1)
    factors = (spec.max_grad_norm / (gradients.norm(dim=1) + 1e-6)).clamp(max=1)
    return factors @ gradients


@pytest.mark.parametrize("model", ["small-unet", "pspnet"])
@pytest.mark.parametrize("max_grad_norm", [0.7, 1e3])
def test_without_noise_the_sum_is_that_of_the_clipped_gradients(data, model, max_grad_norm):
    spec = dataclasses.replace(SPEC, model=model, max_grad_norm=max_grad_norm, steps=2)
    checked = []

    def observe(view: StepView) -> None:
        expected = oracle(data, spec, view)
        error = (view.noisy_sum.double() - expected).norm() / expected.norm()
        checked.append(float(error))

    train(data, spec, device=CPU, observe=observe)
    assert len(checked) == 2
    assert max(checked) < 1e-4


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
@pytest.mark.parametrize("physical", [1, 3])
def test_batches_in_parts_train_the_same_model(data, mode, physical):
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0, sampling=Poisson(0.5), steps=4)
    _, _, whole = watch(data, spec)
    parts = dataclasses.replace(spec, physical_batch=physical, grad_sample_mode=mode)
    torch.testing.assert_close(watch(data, parts)[2], whole, rtol=1e-4, atol=1e-5)


def test_a_schedule_sets_the_rate_of_every_step(data):
    schedule = Cosine(warmup=2)
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0, schedule=schedule, steps=5)
    views, before, last = watch(data, spec)
    rates = learning_rates(schedule, spec.learning_rate, 5)
    assert tuple(view.learning_rate for view in views) == rates
    for view, old, new in zip(views, before, [*before[1:], last], strict=True):
        change = view.learning_rate * view.noisy_sum / 4
        torch.testing.assert_close(new, old - change, rtol=1e-5, atol=1e-6)


def test_a_schedule_changes_no_batch_window_or_noise(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0, sampling=Poisson(0.5))
    one = train(data, spec, device=CPU).tape
    other = train(data, dataclasses.replace(spec, schedule=Poly()), device=CPU).tape
    assert one.facts.seeds == other.facts.seeds
    assert [one.batch(i) for i in range(3)] == [other.batch(i) for i in range(3)]
    assert [one.windows_of(i) for i in range(3)] == [other.windows_of(i) for i in range(3)]


def test_whole_images_and_all_of_them_can_be_trained_on(data):
    spec = dataclasses.replace(SPEC, crop=WholeImage(), sampling=FullBatch(), steps=2)
    trained = train(data.take([0, 3]), spec, device=CPU)
    assert trained.tape.batch(1) == (0, 1)
    assert {window.size for window in trained.tape.windows_of(1)} == {Size(24, 28)}
    with pytest.raises(InputError, match="images must be of one size where they are not cropped"):
        train(data, spec, device=CPU)


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({}, "hooks"),
        ({"model": "pspnet"}, "ew"),
        ({"model": "pspnet", "precision": "bf16"}, "hooks"),
        ({"grad_sample_mode": "functorch"}, "functorch"),
        ({"grad_sample_mode": "auto", "precision": "bf16"}, "hooks"),
    ],
)
def test_gradients_are_taken_as_asked(data, change, mode):
    spec = dataclasses.replace(SPEC, steps=1, sampling=FixedSize(2), **change)
    assert train(data, spec, device=CPU).mode == mode


def test_a_measured_mode_is_never_ghost_where_crops_are_averaged(data, monkeypatch):
    asked = []

    def last(model, crop, classes, batch, *, default, device, modes):
        asked.append((crop, classes, batch, default, device))
        return ModeChoice(modes[-1], "a test")

    monkeypatch.setattr(run_setup, "choose_mode", last)
    spec = dataclasses.replace(SPEC, steps=1, grad_sample_mode="auto")
    assert train(data, spec, device=CPU).mode == "ghost"
    several = dataclasses.replace(spec, crops_per_image=2, physical_batch=3)
    assert train(data, several, device=CPU).mode == "functorch"
    assert asked == [((16, 18), 3, batch, "hooks", CPU) for batch in (4, 3)]


@pytest.mark.parametrize("sampling", [FixedSize(4), Poisson(0.4), Shuffle(4)])
def test_the_update_is_the_noisy_mean_and_nothing_else(data, sampling):
    spec = dataclasses.replace(SPEC, sampling=sampling, noise_multiplier=1.0, steps=4)
    expected_batch = 0.4 * 6 if isinstance(sampling, Poisson) else 4
    views, before, last = watch(data, spec)
    for view, old, new in zip(views, before, [*before[1:], last], strict=True):
        change = spec.learning_rate * view.noisy_sum / expected_batch
        torch.testing.assert_close(new, old - change, rtol=1e-5, atol=1e-6)


def test_momentum_is_post_processing_of_the_noisy_means(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0, momentum=0.9)
    views, before, last = watch(data, spec)
    velocity = torch.zeros_like(last)
    for view, old, new in zip(views, before, [*before[1:], last], strict=True):
        velocity = 0.9 * velocity + view.noisy_sum / 4
        torch.testing.assert_close(new, old - spec.learning_rate * velocity, rtol=1e-5, atol=1e-6)


@pytest.mark.numeric
def test_two_runs_agree_bit_for_bit(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0, sampling=Poisson(0.5))
    torch.manual_seed(1)
    first = watch(data, spec)
    torch.manual_seed(2)
    second = watch(data, spec)
    assert torch.equal(first[2], second[2])
    for one, other in zip(first[0], second[0], strict=True):
        assert (one.indices, one.windows) == (other.indices, other.windows)
        assert torch.equal(one.noisy_sum, other.noisy_sum)
    assert not torch.equal(first[2], watch(data, dataclasses.replace(spec, seed=12))[2])


def test_a_twin_without_noise_sees_the_same_batches_and_windows(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=2.0, sampling=Poisson(0.5), steps=5)
    noisy, start, _ = watch(data, spec)
    clean, twin_start, _ = watch(data, dataclasses.replace(spec, noise_multiplier=0.0))
    assert [(v.indices, v.windows) for v in noisy] == [(v.indices, v.windows) for v in clean]
    assert torch.equal(start[0], twin_start[0])


def test_the_noise_has_the_stated_deviation_and_is_fresh_each_step(data):
    # Against the twin, the first step differs by noise alone. False-failure rate of each test
    # 1e-6; with 40,000 coordinates the chi-square interval is about 2% of the deviation wide.
    spec = dataclasses.replace(SPEC, noise_multiplier=1.5, steps=1)
    noisy, _, _ = watch(data, spec)
    clean, _, _ = watch(data, dataclasses.replace(spec, noise_multiplier=0.0))
    noise = ((noisy[0].noisy_sum - clean[0].noisy_sum).double() / (1.5 * 0.7)).numpy()
    law = stats.chi2(noise.size)
    assert law.ppf(5e-7) < float(np.square(noise).sum()) < law.isf(5e-7)
    assert stats.kstest(noise, "norm").pvalue > 1e-6


def test_an_empty_batch_is_an_update_of_pure_noise(data):
    spec = dataclasses.replace(SPEC, sampling=Poisson(1e-9), noise_multiplier=1.0, steps=2)
    for model in ("small-unet", "pspnet"):
        views, before, last = watch(data, dataclasses.replace(spec, model=model))
        assert [view.indices for view in views] == [(), ()]
        noises = [(view.noisy_sum.double() / 0.7).numpy() for view in views]
        for noise in noises:
            law = stats.chi2(noise.size)
            assert law.ppf(5e-7) < float(np.square(noise).sum()) < law.isf(5e-7)
        # Null: independent steps, so the correlation has deviation 1 / sqrt(P); 5.5 of them.
        assert abs(np.corrcoef(*noises)[0, 1]) < 5.5 / math.sqrt(noises[0].size)
        assert not torch.equal(before[1], last)


def test_an_empty_batch_without_noise_changes_nothing(data):
    spec = dataclasses.replace(SPEC, sampling=Poisson(1e-9), steps=1)
    views, before, last = watch(data, spec)
    assert not views[0].noisy_sum.any()
    assert torch.equal(before[0], last)


def test_an_image_without_labels_adds_nothing(data):
    spec = dataclasses.replace(SPEC, sampling=FixedSize(1), steps=1, crop=Crop(Size(16, 18)))
    views, _, _ = watch(data.take([5]), spec)
    assert not views[0].noisy_sum.any()


def test_an_observer_may_differentiate_the_plain_model(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=1.0)
    _, _, expected = watch(data, spec)

    def observe(view: StepView) -> None:
        view.model(torch.zeros(1, 3, 16, 16)).sum().backward()
        oracle(data, spec, view)

    assert torch.equal(flat(train(data, spec, device=CPU, observe=observe).model), expected)


def test_the_result_tells_what_was_done(data):
    done: list[int] = []
    spec = dataclasses.replace(SPEC, sampling=Poisson(0.2), steps=8)
    trained = train(data, spec, device=CPU, progress=done.append)
    assert done == list(range(1, 9))
    assert trained.steps == len(trained.losses) == 8
    assert any(math.isnan(loss) for loss in trained.losses)
    assert (trained.device, trained.model.training) == ("cpu", False)
    assert trained.seconds > 0
    assert pick_device().type in ("cpu", "cuda")


def test_training_lowers_the_loss(data):
    trained = train(data, dataclasses.replace(SPEC, steps=40, learning_rate=2.0), device=CPU)
    assert np.mean(trained.losses[-5:]) < np.mean(trained.losses[:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier must be at least 0 and finite, got -1.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0 and finite, got 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, got inf"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0 and finite, got -0.1"),
        ({"schedule": Poly(warmup=3)}, "warmup must be below the 3 steps, got 3"),
        ({"crops_per_image": 0}, "crops_per_image must be at least 1, got 0"),
        ({"physical_batch": 0}, "physical_batch must be at least 1"),
        ({"physical_batch": 2, "crops_per_image": 3}, "physical_batch must be at least 3"),
        ({"grad_sample_mode": "fast"}, "grad_sample_mode must be one of None, auto, hooks, ew"),
        ({"precision": "fp16"}, "precision must be one of float32, bf16, got fp16"),
        ({"clipped": "never"}, "clipped must be one of together, apart, got never"),
    ],
)
def test_an_illegal_run_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPEC, **change)


def test_a_crop_that_fits_not_every_image_is_refused_before_the_start(data):
    with pytest.raises(InputError, match="crop must be at most the padded image"):
        train(data, dataclasses.replace(SPEC, crop=Crop(Size(21, 18))), device=CPU)
