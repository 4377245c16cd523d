"""Pipelines that a first user brought: sound ones that failed, and unreadable ones that passed."""

from pathlib import Path

import pytest

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.battery import Battery, run_battery
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects

CODE = '''
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

CROP = v2.RandomCrop(40)


def scheduled(model):
    """Poly learning rate, one step of the schedule in each update."""
    wrapped = GradSampleModule(model)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    optimiser = DPOptimizer(sgd, noise_multiplier=1.2, max_grad_norm=0.5, expected_batch_size=8)
    schedule = torch.optim.lr_scheduler.PolynomialLR(sgd, total_iters=1000, power=0.9)

    def step(images, masks):
        optimiser.zero_grad()
        if len(images):
            cross_entropy(wrapped(images), masks).backward()
        else:
            for parameter in model.parameters():
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        optimiser.step()
        schedule.step()

    return step


class Mapped(Dataset):
    """Crops, maps labels to three, and normalises."""

    def __init__(self, inner, few):
        self.inner, self.few = inner, few

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        image, mask = CROP(*self.inner[index])
        image = v2.functional.normalize(image.float() / 255, [0.5] * 3, [0.2] * 3)
        return image.as_subclass(torch.Tensor), self.few(mask.as_subclass(torch.Tensor))


def other_to_ignored(mask):
    return torch.where(mask == 7, 0, 255)


def table(mask):
    return torch.arange(256)[mask]


def mapped(dataset):
    return DataLoader(Mapped(dataset, other_to_ignored), batch_size=16, shuffle=True, num_workers=1)


def looked_up(dataset):
    return DataLoader(Mapped(dataset, table), batch_size=8, shuffle=True)
'''

CLAIMED = Claimed(
    image=Size(96, 128),
    patch=Rectangle(Size(8, 8)),
    crop=Crop(Size(40, 40)),
    sampler="shuffle",
    batch=8,
    records=64,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "first_user.py"
    path.write_text(CODE)
    return path


def loaded(file: Path, name: str) -> Battery:
    return run_battery(Subjects(loader=f"{file}:{name}", quick=True), CLAIMED)


def test_a_schedule_inside_the_step_is_no_side_channel(file: Path) -> None:
    """One battery at 1%; the seed is fixed."""
    claimed = Claimed(noise_multiplier=1.2, max_grad_norm=0.5, batch=8)
    battery = run_battery(Subjects(trainer=f"{file}:scheduled"), claimed)
    assert battery.finding("update").status == "pass", battery.finding("update").detail
    assert battery.finding("noise").status == "pass"


def test_what_cannot_be_read_is_no_pass(file: Path) -> None:
    """Batches of 16 where 8 are claimed, of which no record and no window can be told."""
    battery = loaded(file, "mapped")
    assert battery.verdict == "inconclusive"
    for check in ("window law", "inclusion rate", "batch law"):
        assert battery.finding(check).status == "inconclusive", check
    assert battery.finding("steps and rate").status == "not measured"
    assert battery.finding("independence").status != "pass"


def test_code_for_few_labels_is_given_few_labels(file: Path) -> None:
    battery = loaded(file, "looked_up")
    assert not battery.failed
    assert battery.finding("contract").status == "pass"
    assert battery.finding("batch law").status == "pass"
