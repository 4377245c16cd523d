import dataclasses

import numpy as np
import pytest
import torch

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.audit.certificate import certificate, certify
from cropaudit.audit.run_logs import InclusionLog
from cropaudit.audit.tape_logs import (
    PatchPlace,
    ResidualNoise,
    inclusion_log,
    noise_log,
    trials,
    write_logs,
)
from cropaudit.errors import InputError
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, Trained, train
from cropaudit.training.samplers import FixedSize, Poisson
from cropaudit.training.tape import Tape

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
IMAGE, PATCH = Size(20, 20), Rectangle(Size(4, 4))
CROP = Crop(Size(8, 8))
SPEC = DpSgdSpec("small-unet", CROP, Poisson(0.3), 60, 1.0, 0.5, 0.05, seed=3)
LEVEL = 1e-6  # false-failure rate of every honest certificate here
RECORDS = 10
PLACES = [PatchPlace(record, 8, 8) for record in range(RECORDS)]
SIZES = [IMAGE] * RECORDS


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (RECORDS, 3, 20, 20), generator=stream, dtype=torch.uint8)
    masks = torch.randint(2, (RECORDS, 20, 20), generator=stream, dtype=torch.uint8)
    names = tuple(f"{i}" for i in range(RECORDS))
    return SegmentationData(tuple(pixels), tuple(masks), ("a", "b"), names, "test")


@pytest.fixture(scope="module")
def watched(data: SegmentationData) -> tuple[Trained, ResidualNoise]:
    noise = ResidualNoise(data, SPEC)
    return train(data, SPEC, device=CPU, observe=noise), noise


def claimed(spec: DpSgdSpec = SPEC, **changes):
    pipeline = Pipeline((IMAGE,), spec.crop, PATCH, "poisson", 3, RECORDS, steps=60, **changes)
    return pipeline.mechanism(1.0)


def shapes(trained: Trained) -> list[torch.Size]:
    return [p.shape for p in trained.model.parameters() if p.requires_grad]


def halved(tape: Tape) -> Tape:
    return dataclasses.replace(tape, facts=dataclasses.replace(tape.facts, noise_multiplier=0.5))


def test_an_honest_run_is_certified_from_its_tape(watched):
    trained, _ = watched
    found = inclusion_log(trained.tape, trials(trained.tape, PLACES, SIZES, PATCH))
    noise = noise_log(trained.tape, shapes(trained))
    proof = certificate(claimed(), 1e-5, LEVEL, noise=noise, inclusion=found)
    assert proof.causes == ()
    assert not proof.exceeded
    assert proof.assumed == ()
    assert proof.epsilon_low < proof.claimed_epsilon < proof.epsilon_high


def test_a_tape_with_half_the_noise_is_not(watched):
    trained, _ = watched
    noise = noise_log(halved(trained.tape), shapes(trained))
    assert certificate(claimed(), 1e-5, LEVEL, noise=noise).causes == ("noise multiplier",)


def test_what_was_really_added_is_certified_and_is_what_the_tape_says(watched):
    trained, residual = watched
    noise, taped = residual.log(), noise_log(trained.tape, shapes(trained))
    assert noise.samples.shape == (60, 64)
    np.testing.assert_allclose(noise.samples, taped.samples, atol=1e-4)
    assert certificate(claimed(), 1e-5, LEVEL, noise=noise).causes == ()


def test_half_the_noise_is_found_whatever_the_tape_says(data):
    spec = dataclasses.replace(SPEC, noise_multiplier=0.5, steps=5)
    residual = ResidualNoise(data, spec)
    train(data, spec, device=CPU, observe=residual)
    found = certificate(claimed(), 1e-5, LEVEL, noise=residual.log())
    assert found.causes == ("noise multiplier",)


def test_noise_that_repeats_is_found(watched):
    trained, _ = watched
    facts = dataclasses.replace(trained.tape.facts)
    log = noise_log(dataclasses.replace(trained.tape, facts=facts), shapes(trained))
    again = dataclasses.replace(log, samples=np.concatenate([log.samples, log.samples]))
    assert certificate(claimed(), 1e-5, LEVEL, noise=log).causes == ()
    assert certificate(claimed(), 1e-5, LEVEL, noise=again).causes == ("noise is not fresh",)


def test_a_larger_batch_or_window_than_claimed_is_found(data):
    spec = dataclasses.replace(SPEC, sampling=Poisson(0.9), crop=Crop(Size(16, 16)), steps=20)
    tape = train(data, spec, device=CPU).tape
    found = inclusion_log(tape, trials(tape, PLACES, SIZES, PATCH))
    causes = certificate(claimed(), 1e-5, LEVEL, inclusion=found).causes
    assert causes == ("sampling rate", "inclusion probability")


def test_the_command_reads_what_is_written(watched, tmp_path):
    trained, residual = watched
    found = trials(trained.tape, PLACES, SIZES, PATCH)
    noise, inclusion = write_logs(tmp_path / "logs", residual.log(), found)
    direct = certificate(
        claimed(),
        1e-5,
        0.05,
        noise=residual.log(),
        inclusion=inclusion_log(trained.tape, found),
    )
    read = certify(claimed(), delta=1e-5, confidence=0.95, noise=noise, inclusion=inclusion)
    assert read.limits == pytest.approx(direct.limits)
    assert read.words == direct.words


@pytest.mark.parametrize("clipped", ["together", "apart"])
def test_several_crops_are_counted_as_the_accountant_counts_them(data, tmp_path, clipped):
    spec = dataclasses.replace(
        SPEC, crops_per_image=3, clipped=clipped, steps=30, noise_multiplier=0.0
    )
    tape = train(data, spec, device=CPU).tape
    found = trials(tape, PLACES, SIZES, PATCH)
    log = inclusion_log(tape, found)
    claim = claimed(spec, crops_per_image=3, clipped=clipped)
    assert certificate(claim, 1e-5, LEVEL, inclusion=log).causes == ()
    noise = noise_log(
        train(data, dataclasses.replace(spec, noise_multiplier=1.0, steps=1)).tape,
        [torch.Size((50,))],
    )
    _, path = write_logs(tmp_path, noise, found)
    assert InclusionLog.read(path, claim.crops) == log


def test_windows_that_meet_are_counted_one_by_one(watched):
    # Slow oracle: the rectangle of the window against that of the patch.
    tape = watched[0].tape
    (place,) = chosen = [PatchPlace(4, 3, 13)]
    for trial in trials(tape, chosen, SIZES, PATCH):
        batch = tape.batch(trial.step)
        assert trial.included == (4 in batch)
        if trial.included:
            window = tape.windows_of(trial.step)[batch.index(4)]
            rows = window.top < place.row + 4 and place.row < window.top + 8
            columns = window.left < place.column + 4 and place.column < window.left + 8
            assert trial.met == int(rows and columns)


def test_a_mask_counts_its_pixels_only(data):
    # The ring's hole is larger than the window, which may then lie within it.
    ring = np.ones((16, 16), dtype=bool)
    ring[2:14, 2:14] = False
    spec = dataclasses.replace(SPEC, sampling=FixedSize(RECORDS), noise_multiplier=0.0)
    tape = train(data, dataclasses.replace(spec, crop=Crop(Size(4, 4)), steps=40), device=CPU).tape
    place = [PatchPlace(0, 2, 2)]
    met = sum(trial.met for trial in trials(tape, place, SIZES, PixelMask(ring)))
    full = sum(trial.met for trial in trials(tape, place, SIZES, Rectangle(Size(16, 16))))
    assert met < full == 40


def test_resized_windows_meet_a_patch_as_accounted(data):
    crop = ResizedCrop(Size(16, 16), scale=(0.1, 0.3))
    spec = dataclasses.replace(SPEC, crop=crop, noise_multiplier=0.0)
    tape = train(data, spec, device=CPU).tape
    found = inclusion_log(tape, trials(tape, PLACES, SIZES, PATCH))
    assert certificate(claimed(spec), 1e-5, LEVEL, inclusion=found).causes == ()


def test_places_whose_trials_depend_on_one_another_are_refused(data, watched):
    tape = watched[0].tape
    with pytest.raises(InputError, match="any number in different records"):
        trials(tape, [PLACES[0], PLACES[0]], SIZES, PATCH)
    with pytest.raises(InputError, match="any number in different records"):
        trials(tape, [], SIZES, PATCH)
    fixed = train(data, dataclasses.replace(SPEC, sampling=FixedSize(2), steps=1), device=CPU).tape
    with pytest.raises(InputError, match="any number in different records"):
        trials(fixed, PLACES[:2], SIZES, PATCH)
    with pytest.raises(InputError, match="patch place must be within the image 20x20"):
        trials(tape, [PatchPlace(0, 17, 0)], SIZES, PATCH)
