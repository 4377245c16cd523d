import dataclasses
import math

import numpy as np
import pytest
import torch

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, Size
from cropaudit.errors import InputError
from cropaudit.training.crops import Window
from cropaudit.training.cutting import draw_window
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.replay import ClipRule, clean_sum, taped_sum
from cropaudit.training.samplers import Cyclic, FixedSize, FullBatch, Poisson, Sampling, Shuffle
from cropaudit.training.schedules import Poly
from cropaudit.training.tape import RunSeeds, Tape, TapeFacts, TapeWriter, names_digest
from cropaudit.training.tape_files import load_tape, save_tape

CPU = torch.device("cpu")
CROP = Crop(Size(14, 12), padding=2, mode="reflect", horizontal_flip=0.5, vertical_flip=0.3)
RESIZED = ResizedCrop(Size(16, 16), scale=(0.3, 1.0))
SPEC = DpSgdSpec(
    model="small-unet",
    crop=CROP,
    sampling=Poisson(0.5),
    steps=4,
    noise_multiplier=0.8,
    max_grad_norm=0.6,
    learning_rate=0.2,
    schedule=Poly(warmup=1),
    seed=5,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    sizes = [(20, 22), (18, 25), (20, 22), (24, 19), (21, 21)]
    images = tuple(
        torch.randint(256, (3, *size), generator=stream, dtype=torch.uint8) for size in sizes
    )
    masks = tuple(torch.randint(3, size, generator=stream, dtype=torch.uint8) for size in sizes)
    return SegmentationData(images, masks, ("a", "b", "c"), tuple("vwxyz"), "test")


def shapes(model: torch.nn.Module) -> list[torch.Size]:
    return [p.shape for p in model.parameters() if p.requires_grad]


RUNS = {
    "poisson": SPEC,
    "fixed": dataclasses.replace(SPEC, sampling=FixedSize(3), crop=RESIZED),
    "averaged": dataclasses.replace(SPEC, sampling=Shuffle(2), crops_per_image=3),
    "apart": dataclasses.replace(SPEC, crop=RESIZED, crops_per_image=2, clipped="apart"),
    "ghost": dataclasses.replace(SPEC, grad_sample_mode="ghost", physical_batch=2),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_noisy_sum_is_what_the_tape_says_and_nothing_else(data, name):
    spec = RUNS[name]
    states: list[dict[str, torch.Tensor]] = []
    views: list[StepView] = []

    def observe(view: StepView) -> None:
        views.append(view)
        states.append({k: v.clone() for k, v in view.model.state_dict().items()})

    trained = train(data, spec, device=CPU, observe=observe)
    tape, model = trained.tape, trained.model
    assert tape.steps == 4
    for view, state in zip(views, states, strict=True):
        model.load_state_dict(state)
        assert tape.batch(view.step) == view.indices
        assert tape.windows_of(view.step) == view.windows
        assert len(view.windows) == spec.crops_per_image * len(view.indices)
        assert tape.facts.noise_seed(view.step) == view.noise_seed
        assert tape.facts.learning_rates[view.step] == view.learning_rate
        noise = torch.cat([part.flatten() for part in tape.noise(view.step, shapes(model))])
        clean = taped_sum(model, data, tape, view.step)
        assert view.noisy_sum.norm() > 0
        torch.testing.assert_close(view.noisy_sum.double(), clean + noise, rtol=1e-4, atol=2e-5)


def test_any_step_can_be_drawn_alone_and_steps_differ(data):
    tape = train(data, SPEC, device=CPU).tape
    some = [torch.Size((30, 2)), torch.Size((5,))]
    alone = tape.noise(3, some)
    again = [tape.noise(step, some) for step in range(4)][3]
    assert all(torch.equal(one, other) for one, other in zip(alone, again, strict=True))
    assert not torch.equal(alone[0], tape.noise(2, some)[0])
    assert [part.dtype for part in alone] == [torch.float32] * 2
    quiet = dataclasses.replace(tape, facts=dataclasses.replace(tape.facts, noise_multiplier=0.0))
    assert not any(part.any() for part in quiet.noise(3, some))


@pytest.mark.numeric
def test_sums_of_parts_of_a_batch_add_up(data):
    trained = train(data, dataclasses.replace(SPEC, sampling=FullBatch()), device=CPU)
    model = trained.model.double()
    parts = [taped_sum(model, data, trained.tape, 1, [record]) for record in range(5)]
    whole = taped_sum(model, data, trained.tape, 1)
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), whole)
    assert all(float(part.norm()) <= 0.6 for part in parts)
    assert not taped_sum(model, data, trained.tape, 1, []).any()


@pytest.mark.numeric
def test_several_crops_are_clipped_as_stated(data):
    model = train(data, SPEC, device=CPU).model.double()
    stream = torch.Generator().manual_seed(3)
    windows = [draw_window(data.size(0), CROP, stream) for _ in range(3)]
    tight = 1e-3
    apart = [clean_sum(model, data, ClipRule(CROP, tight), [0], [one]) for one in windows]
    separate = clean_sum(model, data, ClipRule(CROP, tight), [0], windows)
    torch.testing.assert_close(separate, torch.stack(apart).sum(dim=0))
    assert all(float(one.norm()) == pytest.approx(tight, rel=1e-2) for one in apart)
    together = clean_sum(model, data, ClipRule(CROP, tight, 3), [0], windows)
    assert float(together.norm()) == pytest.approx(tight, rel=1e-2)
    # Unclipped, the average is that of the crops.
    free = [clean_sum(model, data, ClipRule(CROP, 1e9), [0], [one]) for one in windows]
    average = clean_sum(model, data, ClipRule(CROP, 1e9, 3), [0], windows)
    torch.testing.assert_close(average, torch.stack(free).mean(dim=0))


LAWS: list[CropLaw] = [
    CROP,
    Crop(Size(3, 4), padding=Borders(1, 2, 3, 4), pad_if_needed=True),
    RESIZED,
    WholeImage(),
]
SAMPLERS: list[Sampling] = [
    Poisson(0.25),
    FixedSize(2),
    Shuffle(2, drop_last=True),
    Cyclic(3),
    FullBatch(),
]


def facts(crop: CropLaw, sampling: Sampling, steps: int, crops: int = 1) -> TapeFacts:
    return TapeFacts(
        seeds=RunSeeds(1, 2, 3, 2**64 - 1),
        sampling=sampling,
        crop=crop,
        records=4,
        names=names_digest(["a", "b", "c", "d"]),
        expected_batch=1.0,
        noise_multiplier=1.1,
        max_grad_norm=0.1,
        learning_rates=(0.1,) * steps,
        crops_per_image=crops,
        clipped="apart",
        device="cpu",
    )


def same(one: Tape, other: Tape) -> bool:
    names = ("offsets", "indices", "windows", "flips")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return one.facts == other.facts and all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs
    )


@pytest.mark.parametrize("crop", LAWS)
@pytest.mark.parametrize("sampling", SAMPLERS)
def test_a_tape_comes_back_from_disk_as_it_was(tmp_path, crop, sampling):
    writer = TapeWriter(facts(crop, sampling, steps=3, crops=2))
    one = Window(1, 2, True, False, Size(3, 4))
    other = Window(0, 5, False, True, Size(6, 7))
    writer.add([2, 0], [one, other, other, one])
    writer.add([], [])
    writer.add([3], [other, other])
    tape = writer.tape()
    save_tape(tmp_path / "tape.npz", tape)
    found = load_tape(tmp_path / "tape.npz")
    assert same(found, tape)
    assert (found.batch(0), found.batch(1), found.batch(2)) == ((2, 0), (), (3,))
    assert found.windows_of(0) == (one, other, other, one)
    assert found.windows_of(1) == ()


def test_a_run_without_any_record_has_a_tape(data, tmp_path):
    tape = train(data, dataclasses.replace(SPEC, sampling=Poisson(1e-9)), device=CPU).tape
    save_tape(tmp_path / "tape.npz", tape)
    assert same(load_tape(tmp_path / "tape.npz"), tape)
    assert [tape.batch(step) for step in range(4)] == [()] * 4


def test_equal_runs_have_equal_tapes_and_other_names_are_told(data):
    one, two = (train(data, SPEC, device=CPU).tape for _ in range(2))
    assert same(one, two)
    assert one.facts.names == names_digest("vwxyz")
    renamed = dataclasses.replace(data, names=tuple("vwxzy"))
    assert train(renamed, SPEC, device=CPU).tape.facts.names != one.facts.names


def broken(name: str, tape: Tape) -> dict[str, np.ndarray]:
    arrays = {
        "facts": np.array("{}"),
        "offsets": tape.offsets,
        "indices": tape.indices,
        "windows": tape.windows,
        "flips": tape.flips,
    }
    if name == "missing":
        del arrays["flips"]
    return arrays


@pytest.mark.parametrize("name", ["facts", "missing"])
def test_what_is_no_tape_is_refused(tmp_path, name):
    writer = TapeWriter(facts(CROP, Poisson(0.5), steps=1))
    writer.add([0], [Window(0, 0, size=Size(1, 1))])
    np.savez(tmp_path / "tape.npz", **broken(name, writer.tape()))
    with pytest.raises(InputError, match="tape must be a file that training saved"):
        load_tape(tmp_path / "tape.npz")


def test_a_tape_with_objects_is_not_unpickled(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "tape.npz", facts=objects)
    with pytest.raises(InputError, match="allow_pickle=False"):
        load_tape(tmp_path / "tape.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="tape must be a file that training saved"):
        load_tape(tmp_path / "text.npz")
    with pytest.raises(InputError, match="tape must be a file that training saved"):
        load_tape(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([4])},
        {"indices": np.array([-1])},
        {"offsets": np.array([0, 2])},
        {"offsets": np.array([0, 1, 1])},
        {"windows": np.zeros((1, 2, 4), dtype=np.int64)},
        {"flips": np.zeros((1, 1), dtype=bool)},
    ],
)
def test_a_tape_whose_arrays_do_not_fit_is_refused(tmp_path, change):
    writer = TapeWriter(facts(CROP, Poisson(0.5), steps=1))
    writer.add([0], [Window(0, 0, size=Size(1, 1))])
    save_tape(tmp_path / "tape.npz", dataclasses.replace(writer.tape(), **change))
    with pytest.raises(InputError, match="arrays that fit together"):
        load_tape(tmp_path / "tape.npz")


def test_losses_and_batches_of_a_tape_are_of_one_run(data):
    trained = train(data, dataclasses.replace(SPEC, sampling=Poisson(0.1), steps=20), device=CPU)
    empty = [not trained.tape.batch(step) for step in range(20)]
    assert empty == [math.isnan(loss) for loss in trained.losses]
    assert any(empty)
