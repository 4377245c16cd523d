import dataclasses

import pytest
import torch

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.accounting.registry import parse_mechanism
from cropaudit.errors import InputError
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.samplers import Poisson
from cropaudit.training.twins import train_twins, uncredited_noise

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SPEC = DpSgdSpec("small-unet", Crop(Size(16, 16)), Poisson(0.5), 4, 1.0, 0.01, 0.5, seed=1)


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4, 3, 20, 20), generator=stream, dtype=torch.uint8)
    masks = torch.randint(2, (4, 20, 20), generator=stream, dtype=torch.uint8)
    return SegmentationData(tuple(pixels), tuple(masks), ("a", "b"), tuple("abcd"), "test")


@pytest.mark.parametrize(
    "text", ["poisson:noise=1,q=0.1,rho=0.2,steps=50", "shuffle:noise=2,q=0.5,rho=0.1,steps=8"]
)
def test_without_credit_the_noise_gives_the_same_epsilon(text):
    claim = parse_mechanism(text)
    noise = uncredited_noise(claim, 1e-5)
    assert noise > 1.2 * claim.noise_multiplier
    plain = claim.without_crop().with_noise(noise)
    assert epsilon_at(plain, 1e-5) == pytest.approx(epsilon_at(claim, 1e-5), rel=1e-3)
    assert epsilon_at(plain, 1e-5) <= epsilon_at(claim, 1e-5) * (1 + 1e-6)


def test_without_a_crop_there_is_no_credit_to_lose():
    claim = parse_mechanism("fixed:noise=1.5,q=0.1,rho=1,steps=20")
    assert uncredited_noise(claim, 1e-5) == pytest.approx(1.5, rel=1e-3)


def test_twins_see_the_batches_and_windows_of_the_private_run(data):
    private = train(data, SPEC, device=CPU)
    done: list[int] = []
    twins = train_twins(data, SPEC, data, uncredited=3.0, device=CPU, progress=done.append)
    assert twins.uncredited is not None
    assert done == list(range(1, 9))
    for twin in (twins.quiet, twins.uncredited):
        tape = twin.trained.tape
        assert [tape.batch(i) for i in range(4)] == [private.tape.batch(i) for i in range(4)]
        assert all(tape.windows_of(i) == private.tape.windows_of(i) for i in range(4))
        start, other = private.initial, twin.trained.initial
        assert all(torch.equal(start[name], other[name]) for name in start)
        assert 0 <= twin.utility.miou <= 1
        assert twin.utility.images == 4
    assert twins.quiet.spec == dataclasses.replace(SPEC, noise_multiplier=0.0)
    assert twins.uncredited.spec == dataclasses.replace(SPEC, noise_multiplier=3.0)


def test_the_quiet_twin_may_go_unclipped(data):
    moved = []
    for clip in (True, False):
        found = train_twins(data, SPEC, data, clip_quiet=clip, device=CPU)
        assert found.uncredited is None
        end = found.quiet.trained.model.state_dict()
        start = found.quiet.trained.initial
        moved.append(sum(float((end[name] - start[name]).norm()) for name in start))
    assert moved[1] > 5 * moved[0]  # gradients are far above 0.01


def test_less_noise_than_the_private_run_is_no_twin(data):
    with pytest.raises(InputError, match=r"uncredited must be at least the run's 1\.0, got 0\.5"):
        train_twins(data, SPEC, data, uncredited=0.5, device=CPU)
