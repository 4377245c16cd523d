"""The conformance battery on the audit's own pipeline: the code that is about to be attacked.

Crop, sampler, model and update are those that training uses, probed in this process, since nothing
of a user's is in them. What can be replayed here is the stream that windows are drawn from.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample.utils import wrap_model
from torch import Tensor, nn

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.registry import ORDERED
from cropaudit.audit.accounted import finite
from cropaudit.audit.certificate import Certificate
from cropaudit.audit.claims import StatedClaim
from cropaudit.audit.conformance.battery import examine
from cropaudit.audit.conformance.catalogue import check_named
from cropaudit.audit.conformance.checks.accountant import reconciled
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.contract import Contract
from cropaudit.audit.conformance.probes.contents import Contents
from cropaudit.audit.conformance.probes.model import probe_model
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.replay import Arrays
from cropaudit.audit.conformance.probes.styles import Style, styles_named
from cropaudit.audit.conformance.probes.trainer import probe_trainer
from cropaudit.audit.conformance.probes.windows import near_size, probe_windows
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard
from cropaudit.audit.result import Check, Conformance, Delivered
from cropaudit.audit.subject import Subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.training.crops import JointRandomCrop
from cropaudit.training.mode_support import offered_mode
from cropaudit.training.models import GradSampleMode, build_model
from cropaudit.training.private_step import PrivateStep
from cropaudit.training.run_setup import planned_mode, private_step, run_facts
from cropaudit.training.samplers import Cyclic, Shuffle, batches
from cropaudit.training.streams import spawn_seeds

__all__ = ["own_conformance"]

_WINDOWS, _NEAR, _REPLAYS, _STEPS = 3000, 600, 120, 400
_EPOCHS = 4  # of shuffled batches, at least
_SECONDS = 600.0  # after which no more windows or replays are begun, and some are missing


def own_conformance(subject: Subject, claim: StatedClaim) -> Conformance:
    """Probes what an audit trains with, and runs every check on it.

    Args:
        subject: What is audited.
        claim: What is claimed of it.
    """
    claimed, seen = _claimed(subject, claim), _Own(subject, 0).seen()
    battery = examine(seen, claimed, again=lambda: _Own(subject, 1).seen())
    checks = tuple(
        Check(
            name=item.check,
            expected=check_named(item.check).asks,
            observed=item.detail,
            status=item.status,
        )
        for item in battery.findings
    )
    found = reconciled(seen, claimed)  # at the level of the check that quotes it: one interval
    delivered = None if found is None else _delivered(found, claim.epsilon)
    return Conformance(level=battery.level, checks=checks, delivered=delivered)


def _delivered(found: Certificate, claimed: float) -> Delivered:
    return Delivered(
        epsilon_low=finite(found.epsilon_low),
        epsilon_high=finite(found.epsilon_high),
        claimed=claimed,
        confidence=1 - found.level,
        limits=tuple(item.words for item in found.limits),
    )


def _claimed(subject: Subject, claim: StatedClaim) -> Claimed:
    training = subject.config.training
    steps, epochs = subject.bound.steps, None
    if training.sampler in ORDERED:
        # A run may end within an epoch; what counts is how many have begun. The audit's own loaders
        # keep the short last batch, so that a record is in one batch of each.
        epochs = subject.pipeline.epochs_begun()
        steps = epochs * -(-subject.records // training.batch)
    return Claimed(
        image=subject.worst_image,
        patch=subject.patch,
        crop=subject.crop,
        inclusion=subject.bound.inclusion_probability,
        sampler=training.sampler,
        batch=training.batch,
        records=subject.records,
        steps=steps,
        epochs=epochs,
        noise_multiplier=subject.mechanism.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        learning_rate=training.learning_rate,
        delta=claim.delta,
        epsilon=claim.epsilon,
    )


class _Own:
    """The parts of one audit's pipeline, each with a stream of its own in each look."""

    def __init__(self, subject: Subject, look: int) -> None:
        self._subject, self._spec = subject, training_spec(subject)
        seeds = spawn_seeds(np.random.SeedSequence([subject.config.seed, 1 + look]), 4)
        self._crops, self._sampler = (torch.Generator().manual_seed(seed) for seed in seeds[:2])
        self._trainer = replace(_SELF, seed=seeds[2] % 2**63)  # spawned seeds have 64 bits
        self._rng = np.random.default_rng(seeds[3])
        self._crop = JointRandomCrop(subject.crop)
        self._guard = Guard("transform", None, _ignore)
        self._claimed_size = subject.worst_image

    def seen(self) -> Seen:
        draws = self._windows(self._claimed_size, _WINDOWS)
        near = near_size(draws)
        return Seen(
            contract=Contract(calls=self._guard.calls, notes=("the audit's own training",)),
            draws=draws,
            near_draws=None if near is None else self._windows(near, _NEAR),
            pairs=self._pairs(),
            batches=self._batches(),
            gradients=self._gradients(),
            updates=self._updates(),
        )

    def _cut(self, image: NDArray[Any], mask: NDArray[Any]) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        found = self._crop(pixels, torch.from_numpy(mask), self._crops)
        return found[0], found[1]

    @property
    def _style(self) -> Style:
        (style,) = styles_named("numpy")
        return style

    def _windows(self, size: Size, calls: int) -> Any:
        return probe_windows(
            self._cut,
            self._style,
            self._guard,
            size,
            calls=calls,
            seconds=_SECONDS,
            trust_image=True,
            where="",
        )

    def _pairs(self) -> Any:
        size = self._claimed_size
        maker = PairMaker(
            self._cut,
            self._style,
            self._guard,
            size,
            self._subject.patch.size,
            self._subject.crop,
            Contents(size, None, self._rng),
            self._rng,
            trust_image=True,
            replay=self._replayed,
        )
        return maker.run(_REPLAYS, _SECONDS, "")

    def _replayed(
        self, function: Callable[[], Mapping[str, NDArray[Any] | None]], guard: Guard
    ) -> Arrays:
        """Runs a call and puts the one stream that it draws from back."""
        state = self._crops.get_state()
        found = {name: array for name, array in function().items() if array is not None}
        self._crops.set_state(state)
        return found

    def _batches(self) -> Batches:
        """Draws batches as training draws its own, counts its steps, and goes on where few ran."""
        records, sampling = self._subject.records, self._subject.sampling
        ran = sum(1 for _ in batches(sampling, records, self._spec.steps, self._sampler))
        # Epochs bear a meaning for shuffled batches only: each holds every record once.
        epoch, epochs = max(ran, _STEPS), 1
        if isinstance(sampling, Shuffle | Cyclic):
            short = records % sampling.batch > 0 and not sampling.drop_last
            epoch = records // sampling.batch + short
            epochs = max(_EPOCHS, -(-max(ran, _STEPS) // epoch))
        drawn = list(batches(sampling, records, epoch * epochs, self._sampler))
        return Batches(
            records=records,
            record=np.array([i for batch in drawn for i in batch], dtype=np.int64),
            step=np.repeat(np.arange(len(drawn)), [len(batch) for batch in drawn]),
            epoch_steps=np.full(epochs, epoch),
            updates=ran,
            source="pipeline",
        )

    def _model(self) -> nn.Module:
        spec, subject = self._spec, self._subject
        classes, seed = len(subject.filled.classes), subject.seeds.training
        return build_model(spec.model, classes, seed, norm=spec.norm, weights=spec.weights)

    def _gradients(self) -> Any:
        wrapped = wrap_model(self._model(), self._readable_mode(), loss_reduction="sum")
        return probe_model(wrapped, None, Guard("model", None, _ignore), _SELF, _PLAIN)

    def _readable_mode(self) -> GradSampleMode:
        """Returns the mode of training, or where that leaves no gradient to read, the recipe's."""
        mode = self._mode()
        return offered_mode(self._spec.model, self._model()).mode if mode == "ghost" else mode

    def _updates(self) -> Any:
        guard = Guard("trainer", None, _ignore)
        stated = Claimed(
            sampler=self._subject.config.training.sampler,
            batch=self._subject.config.training.batch,
            noise_multiplier=self._subject.mechanism.noise_multiplier,
        )
        return probe_trainer(self._step, guard, self._trainer, stated)

    def _step(self, model: nn.Module) -> PrivateStep:
        facts = run_facts(self._subject.filled, self._spec, torch.device("cpu"))
        # From torch's own stream, which the probe seeds: two runs from one seed then draw alike.
        noise = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        return private_step(model, self._mode(), self._spec, facts, noise)

    def _mode(self) -> GradSampleMode:
        return planned_mode(self._spec, self._model()).mode


_SELF = Subjects(model="cropaudit.training.models:build_model")
_PLAIN = Claimed()


def _ignore() -> None:
    pass
