"""No number that was taken from the claim is told as measured, delivered or passed.

Every check on every subject: what is claimed differs from what is done in every number. Where a
claimed number stands in what a check says it saw, the word claim stands beside it; and an epsilon
is called delivered only for a whole training.
"""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.conformance.battery import Battery, examine
from cropaudit.audit.conformance.catalogue import CHECKS
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults import pipelines, trainers
from cropaudit.audit.conformance.faults.loader_parts import CROP
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.probes.model import probe_model
from cropaudit.audit.conformance.probes.pipeline import probe_pipeline
from cropaudit.audit.conformance.probes.trainer import probe_trainer
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard
from tests.conformance_draws import crop_draws

# None of these is what the subjects do.
CLAIMED = Claimed(
    image=Size(48, 64),
    patch=Rectangle(Size(8, 8)),
    crop=Crop(Size(29, 29)),
    inclusion=0.83719,
    batch=7,
    records=32,
    steps=4321,
    epochs=19,
    noise_multiplier=0.71373,
    max_grad_norm=3.19371,
    learning_rate=0.041977,
    epsilon=7.65431,
    delta=1.7319e-5,
)
NUMBERS = (0.83719, 4321, 19, 0.71373, 3.19371, 0.041977, 7.65431)
pytestmark = [
    pytest.mark.filterwarnings("ignore:Secure RNG turned off"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook"),
]


def _transform() -> Seen:
    return Seen(draws=crop_draws(np.random.default_rng(0), 500))


def _loader() -> Seen:
    step, record = np.nonzero(np.random.default_rng(0).random((160, 32)) < 1 / 4)
    return Seen(batches=Batches(32, record, step, np.full(8, 20)))


def _trainer() -> Seen:
    guard = Guard("trainer", None, lambda: None)
    subjects = Subjects(trainer="a.py:b", quick=True)
    return Seen(updates=probe_trainer(trainers.make_loop, guard, subjects, CLAIMED))


def _model() -> Seen:
    guard = Guard("model", None, lambda: None)
    net = torch.nn.Conv2d(3, 4, 3, padding=1)
    return Seen(gradients=probe_model(net, None, guard, Subjects(model="a.py:b"), CLAIMED))


def _pipeline() -> Seen:
    guard = Guard("pipeline", None, lambda: None)
    found = probe_pipeline(pipelines.train_private, guard, Subjects(pipeline="a.py:b"), CLAIMED)
    return Seen(
        trained_batches=found.batches,
        trained_draws=found.draws,
        training=found.training,
        replayed=found.replayed,
    )


@pytest.fixture(
    scope="module",
    params=[_transform, _loader, _trainer, _model, _pipeline, Seen],
    ids=lambda make: make.__name__,
)
def battery(request: pytest.FixtureRequest) -> Battery:
    make: Callable[[], Seen] = request.param
    return examine(make(), CLAIMED)


def _unclaimed(text: str, number: float) -> list[str]:
    """Returns what is said around a number, where no word of a claim stands close to it."""
    places = re.finditer(rf"(?<![\d.]){re.escape(f'{number:g}')}(?![\d])", text)
    around = [text[max(place.start() - 60, 0) : place.end() + 40] for place in places]
    return [
        words for words in around if "claim" not in words and "accountant was told" not in words
    ]


@pytest.mark.parametrize("check", [item.name for item in CHECKS])
def test_claimed_numbers_are_called_claimed(check: str, battery: Battery) -> None:
    found = battery.finding(check)
    for number in NUMBERS:
        assert not _unclaimed(f"{found.detail}; {found.outcome.evidence}", number)
    measured = {
        name: value
        for name, value in found.outcome.figures.items()
        if name not in ("claimed", "recomputed_low", "recomputed_high", "rho")
    }
    for name, value in measured.items():
        assert all(abs(value - number) > 1e-9 for number in NUMBERS), name


def test_an_epsilon_is_delivered_by_whole_trainings_only(battery: Battery) -> None:
    figures = battery.finding("accountant").outcome.figures
    whole = any(item.outcome.figures.get("noisy steps") for item in battery.findings)
    assert ("delivered_low" in figures) == whole
    if whole:
        crop, patch = Crop(Size(CROP, CROP)), CLAIMED.patch
        met = inclusion(CLAIMED.image, crop, patch).probability
        truth = bracket(PoissonPatch(1.0, 1 / 4, met, 40), CLAIMED.delta).upper
        assert figures["delivered_low"] <= truth <= figures["delivered_high"]
    assert battery.verdict in ("fail", "inconclusive")
