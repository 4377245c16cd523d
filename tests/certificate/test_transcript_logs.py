import dataclasses

import numpy as np
import pytest
import torch

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.mechanisms.pipelines import Pipeline
from cropaudit.certificate.certificate import certificate, certify
from cropaudit.certificate.run_logs import InclusionLog, NoiseLog
from cropaudit.certificate.transcript_logs import (
    PatchPlace,
    ResidualNoise,
    inclusion_bytes,
    inclusion_log,
    trials,
)
from cropaudit.errors import InputError
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.dpsgd.loop import DpSgdSpec, StepView, Trained, train
from cropaudit.training.sampling.samplers import FixedSize, Poisson

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
def watched(data: SegmentationData) -> tuple[Trained, ResidualNoise, ResidualNoise]:
    own, again = ResidualNoise(SPEC), ResidualNoise(SPEC, data)

    def observe(view: StepView) -> None:
        own(view)
        again(view)

    return train(data, SPEC, device=CPU, observe=observe), own, again


def claimed(spec: DpSgdSpec = SPEC, **changes):
    given = {"steps": 60, **changes}
    pipeline = Pipeline((IMAGE,), spec.crop, PATCH, "poisson", 3, RECORDS, **given)
    return pipeline.mechanism(1.0)


def test_an_honest_run_is_certified_by_the_optimisers_sums_and_by_its_gradients(watched):
    """What other code finds beside the gradients is what was added to the optimiser's sum."""
    trained, own, again = watched
    found = inclusion_log(trained.transcript, trials(trained.transcript, PLACES, SIZES, PATCH))
    assert own.log().samples.shape == (60, 64)
    np.testing.assert_allclose(own.log().samples, again.log().samples, atol=1e-4)
    for noise in (own.log(), again.log()):
        proof = certificate(claimed(), 1e-5, LEVEL, noise=noise, inclusion=found)
        assert proof.causes == ()
        assert not proof.exceeded
        assert proof.assumed == ()
        assert proof.epsilon_low < proof.claimed_epsilon < proof.epsilon_high


def test_noise_is_what_the_transcript_draws_again(watched):
    trained, own, _ = watched
    shapes = [p.shape for p in trained.model.parameters() if p.requires_grad]
    drawn = torch.cat([part.flatten() for part in trained.transcript.noise(7, shapes)])
    chosen = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))[:64]
    np.testing.assert_allclose(own.log().samples[7], drawn[chosen] / 0.5, atol=1e-4)


def test_null_runs_of_any_seed_keep_the_level(data):
    """Level 0.3, 20 sound runs; false-failure rate 1e-4 (Binomial(20, .3) above 13)."""
    refuted = 0
    for seed in range(20):
        spec = dataclasses.replace(SPEC, model="tiny-net", steps=20, seed=seed)
        noise = ResidualNoise(spec)
        transcript = train(data, spec, device=CPU, observe=noise).transcript
        log = inclusion_log(transcript, trials(transcript, PLACES, SIZES, PATCH))
        found = certificate(claimed(steps=20), 1e-5, 0.3, noise=noise.log(), inclusion=log)
        refuted += bool(found.causes)
    assert refuted <= 13


@pytest.mark.parametrize("again", [False, True])
def test_half_the_noise_is_found_whatever_the_transcript_says(data, again):
    spec = dataclasses.replace(SPEC, noise_multiplier=0.5, steps=5)
    residual = ResidualNoise(spec, data if again else None)
    train(data, spec, device=CPU, observe=residual)
    found = certificate(claimed(), 1e-5, LEVEL, noise=residual.log())
    assert found.causes == ("noise multiplier",)


def test_noise_that_repeats_is_found(watched):
    log = watched[1].log()
    again = dataclasses.replace(log, samples=np.concatenate([log.samples, log.samples]))
    assert certificate(claimed(), 1e-5, LEVEL, noise=again).causes == ("noise is not fresh",)


def test_logs_of_long_runs_stay_small():
    for steps, coordinates in ((60, 64), (10_000, 26), (10**6, 4)):
        spec = dataclasses.replace(SPEC, steps=steps)
        noise = ResidualNoise(spec)
        view = StepView(
            0, (), (), torch.ones(500), torch.nn.Identity(), 0, 0.0, lambda: torch.zeros(500)
        )
        noise(view)
        assert NoiseLog.of(np.vstack([noise.log().samples] * 3)).samples.shape == (3, coordinates)


def test_a_larger_batch_or_window_than_claimed_is_found(data):
    spec = dataclasses.replace(SPEC, sampling=Poisson(0.9), crop=Crop(Size(16, 16)), steps=20)
    transcript = train(data, spec, device=CPU).transcript
    found = inclusion_log(transcript, trials(transcript, PLACES, SIZES, PATCH))
    causes = certificate(claimed(), 1e-5, LEVEL, inclusion=found).causes
    assert causes == ("sampling rate", "inclusion probability")


def test_the_command_reads_what_is_written(watched, tmp_path):
    trained, own, _ = watched
    found = trials(trained.transcript, PLACES, SIZES, PATCH)
    log = inclusion_log(trained.transcript, found)
    noise, inclusion = tmp_path / "noise.npy", tmp_path / "inclusion.csv"
    noise.write_bytes(own.data())
    inclusion.write_bytes(inclusion_bytes(found))
    direct = certificate(claimed(), 1e-5, 0.05, noise=own.log(), inclusion=log)
    read = certify(claimed(), delta=1e-5, confidence=0.95, noise=noise, inclusion=inclusion)
    assert read.limits == pytest.approx(direct.limits)
    assert read.words == direct.words


@pytest.mark.parametrize("clipped", ["together", "apart"])
def test_several_crops_are_counted_as_the_accountant_counts_them(data, tmp_path, clipped):
    spec = dataclasses.replace(
        SPEC, crops_per_image=3, clipped=clipped, steps=30, noise_multiplier=0.0
    )
    transcript = train(data, spec, device=CPU).transcript
    found = trials(transcript, PLACES, SIZES, PATCH)
    log = inclusion_log(transcript, found)
    claim = claimed(spec, crops_per_image=3, clipped=clipped)
    assert certificate(claim, 1e-5, LEVEL, inclusion=log).causes == ()
    path = tmp_path / "inclusion.csv"
    path.write_bytes(inclusion_bytes(found))
    assert InclusionLog.read(path, claim.crops) == log


def test_windows_that_meet_are_counted_one_by_one(watched):
    # Slow oracle: the rectangle of the window against that of the patch.
    transcript = watched[0].transcript
    (place,) = chosen = [PatchPlace(4, 3, 13)]
    for trial in trials(transcript, chosen, SIZES, PATCH):
        batch = transcript.batch(trial.step)
        assert trial.included == (4 in batch)
        if trial.included:
            window = transcript.windows_of(trial.step)[batch.index(4)]
            rows = window.top < place.row + 4 and place.row < window.top + 8
            columns = window.left < place.column + 4 and place.column < window.left + 8
            assert trial.met == int(rows and columns)


def test_a_mask_counts_its_pixels_only(data):
    # The ring's hole is larger than the window, which may then lie within it.
    ring = np.ones((16, 16), dtype=bool)
    ring[2:14, 2:14] = False
    spec = dataclasses.replace(SPEC, sampling=FixedSize(RECORDS), noise_multiplier=0.0)
    transcript = train(
        data, dataclasses.replace(spec, crop=Crop(Size(4, 4)), steps=40), device=CPU
    ).transcript
    place = [PatchPlace(0, 2, 2)]
    met = sum(trial.met for trial in trials(transcript, place, SIZES, PixelMask(ring)))
    full = sum(trial.met for trial in trials(transcript, place, SIZES, Rectangle(Size(16, 16))))
    assert met < full == 40


def test_resized_windows_meet_a_patch_as_accounted(data):
    crop = ResizedCrop(Size(16, 16), scale=(0.1, 0.3))
    spec = dataclasses.replace(SPEC, crop=crop, noise_multiplier=0.0)
    transcript = train(data, spec, device=CPU).transcript
    found = inclusion_log(transcript, trials(transcript, PLACES, SIZES, PATCH))
    assert certificate(claimed(spec), 1e-5, LEVEL, inclusion=found).causes == ()


def test_places_whose_trials_depend_on_one_another_are_refused(data, watched):
    transcript = watched[0].transcript
    with pytest.raises(InputError, match="any number in different records"):
        trials(transcript, [PLACES[0], PLACES[0]], SIZES, PATCH)
    with pytest.raises(InputError, match="any number in different records"):
        trials(transcript, [], SIZES, PATCH)
    fixed = train(
        data, dataclasses.replace(SPEC, sampling=FixedSize(2), steps=1), device=CPU
    ).transcript
    with pytest.raises(InputError, match="any number in different records"):
        trials(fixed, PLACES[:2], SIZES, PATCH)
    with pytest.raises(InputError, match="patch place must be within the image 20x20"):
        trials(transcript, [PatchPlace(0, 17, 0)], SIZES, PATCH)
