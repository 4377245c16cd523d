"""Probes a trainer: what its step does to a network whose clipped gradients are known beforehand.

The number of rounds follows from what a step costs: more rounds find smaller faults.
"""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import SCENARIOS, SIZES, Updates, slope_of
from cropaudit.audit.conformance.probes.handed import Listener
from cropaudit.audit.conformance.probes.ladder import COARSE, NORMS, images_of
from cropaudit.audit.conformance.probes.paired_runs import moved, seeded, state_of
from cropaudit.audit.conformance.probes.probe_net import (
    TENSORS,
    WIDE,
    Plan,
    ProbeNet,
    Pull,
    all_weights_finite,
    plan_round,
    unread,
)
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import where_of
from cropaudit.training.data import IGNORE

__all__ = ["probe_trainer"]

_SECONDS = 10.0
_ROUNDS = (4, 24)
_QUICK_ROUNDS = 3
# Losses with weights for a number of classes take that number only: usual ones are tried in turn.
_CLASSES = (2, 21, 19, 11, 12, 1)
_BASE = 16
_MOST = 64
_LARGE = 4
# Batches of one image in a round, for each unit of squared noise multiplier; see `clipping`.
_SINGLES = 6
_MOST_SINGLES = 40
# The slope of the pixels' mean cross-entropy of two classes, where the ladder shows none.
_USUAL_SLOPE = 0.5
_TWIN_STEPS = 2
_FILL = 3.0
_SURE = 6.0
_ELSEWHERE = 21

Maker = Callable[[], tuple[ProbeNet, Callable[..., Any]]]


def probe_trainer(make_step: Any, guard: Guard, subjects: Subjects, claimed: Claimed) -> Updates:
    """Returns what steps of ``make_step(model)`` did to a probe network.

    Args:
        make_step: Takes a model and returns ``step(images, masks)``, or an object with ``step``.
        guard: Watches the calls.
        subjects: For the seed.
        claimed: For the usual batch and the noise.

    Raises:
        UserError: If the step raises on images, or leaves the weights alone.
    """
    where = where_of(make_step)
    if not callable(make_step):
        words = f"the trainer must be a function make_step(model), got {type(make_step).__name__}"
        raise guard.fail("type", words, where)
    torch.manual_seed(subjects.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classes = _classes(make_step, guard, where)
        # The trial has left its traces, such as momentum: begin anew.
        run = _Run(lambda: _fresh(make_step, guard, where, classes), guard, where)
        with run.listener.listening():
            run.rounds(subjects, claimed)
        run.beside(subjects.seed, _base(claimed))
        return run.seen()


def _base(claimed: Claimed) -> int:
    return min(max(claimed.batch or _BASE, 2), _MOST)


def _classes(make_step: Any, guard: Guard, where: str) -> int:
    """Returns the first number of classes that a step takes."""
    trial = plan_round(0, 0, 2, 1, 2)[1]
    refusal: UserError | None = None
    for classes in _CLASSES:
        try:
            model, step = _fresh(make_step, guard, where, classes)
            guard.call(step, *trial.batch(model.label))
        except UserError as error:
            refusal = refusal or error
            continue
        return classes
    raise refusal or guard.fail("type", "the step takes no images", where)


def _fresh(
    make_step: Any, guard: Guard, where: str, classes: int
) -> tuple[ProbeNet, Callable[..., Any]]:
    model = ProbeNet(classes).train()
    made = guard.call(make_step, model)
    step = made if callable(made) else getattr(made, "step", None)
    if not callable(step):
        words = f"make_step(model) must return step(images, masks), got {type(made).__name__}"
        raise guard.fail("type", words, where)
    return model, step


def _near(one: float, other: float) -> bool:
    return 0.5 < one / other < 2


class _Run:
    """All steps of one probe."""

    def __init__(self, make: Maker, guard: Guard, where: str) -> None:
        self._make, self._guard, self._where = make, guard, where
        self._model, self._step = make()
        self.listener = Listener(self._model)
        self._changes: list[NDArray[np.float64]] = []
        self._plans: list[Plan] = []
        self._refused = False
        self._broken: list[str] = []
        self._void = False
        self._kept: dict[str, float] = {}
        self._state: list[str] = []
        self._state_known = True
        self._start = time.monotonic()

    def rounds(self, subjects: Subjects, claimed: Claimed) -> None:
        """Does as many rounds as time allows."""
        base = _base(claimed)
        sigma = claimed.noise_multiplier or 1.0
        singles = min(math.ceil(_SINGLES * max(1.0, sigma**2)), _MOST_SINGLES)
        # Only Poisson sampling draws empty batches.
        empties = claimed.sampler == "poisson"
        least, most = (_QUICK_ROUNDS, _QUICK_ROUNDS) if subjects.quick else _ROUNDS
        images, used = images_of(sigma) // (2 if subjects.quick else 1), 0
        for index in range(most):
            ladder = [(size, images) for size in self._ladder(index, claimed)]
            plans = plan_round(index, used, base, singles, _LARGE * base, ladder)
            for plan in plans:
                if plan.count or (empties and not self._refused):
                    self._do(plan)
                if self._broken:
                    return
            used += sum(len(plan.pulls) for plan in plans)
            spent = time.monotonic() - self._start
            if index + 1 >= least and spent * (index + 2) / (index + 1) > _SECONDS:
                break

    def beside(self, seed: int, base: int) -> None:
        """Looks at what needs steps of its own: state that is kept, images without labels."""
        if not self._broken:
            self._twins(seed, base)
            self._unlabelled(base)

    def seen(self) -> Updates:
        """Returns the observation.

        Raises:
            UserError: If no step moved the weights.
        """
        change = np.array(self._changes).reshape(len(self._changes), len(ProbeNet.layers()))
        if not change.any() and not self._broken:
            words = "step(images, masks) left the weights of the model that make_step got as 0"
            raise self._guard.fail("type", words, self._where)
        pulls = [(t, pull) for t, plan in enumerate(self._plans) for pull in plan.pulls]
        at = np.full((len(pulls), len(TENSORS)), -1, dtype=np.int64)
        for row, (_, pull) in zip(at, pulls, strict=True):
            row[: len(pull.tensors)] = pull.coordinates
        return Updates(
            change=change,
            handed=self.listener.handed(),
            replayed=self.listener.replayed(),
            optimiser=self.listener.words(),
            names=np.array(TENSORS, dtype=np.str_),
            layer=self._model.layers(),
            quiet=self._model.quiet(),
            scenario=np.array([plan.scenario for plan in self._plans], dtype=np.int64),
            count=np.array([plan.count for plan in self._plans], dtype=np.int64),
            pull_step=np.array([t for t, _ in pulls], dtype=np.int64),
            pull_at=at,
            pull_images=np.array([p.ahead - p.against for _, p in pulls], dtype=np.int64),
            pull_size=np.array([p.size for _, p in pulls], dtype=np.float64),
            broken=np.array(sorted(set(self._broken)), dtype=np.str_),
            void=self._void,
            kept=np.array(list(self._kept), dtype=np.str_),
            kept_change=np.array(list(self._kept.values()), dtype=np.float64),
            state=np.array(self._state, dtype=np.str_),
            state_known=self._state_known,
            empties_refused=self._refused,
            seconds=time.monotonic() - self._start,
            where=self._where,
        )

    def _do(self, plan: Plan) -> None:
        self._model.reset()
        self.listener.begin()
        try:
            self._guard.call(self._step, *plan.batch(self._model.label))
        except UserError as error:
            if plan.scenario != SCENARIOS.index("empty"):
                raise
            # Told by the contract; the step without a batch is left out, the others still tell.
            words = f"an empty batch, which Poisson sampling draws, raised {error.trouble.words}"
            self._guard.note("raised", words, error.trouble.where)
            self._refused = True
            return
        if not all_weights_finite(self._model):
            self._broken.append(SCENARIOS[plan.scenario])
            return
        self.listener.end()
        self._changes.append(self._model.weights())
        self._plans.append(plan)

    def _ladder(self, index: int, claimed: Claimed) -> list[float]:
        """Returns the sizes of one round: coarse ones first, then every other fine one."""
        bound = claimed.max_grad_norm or 1.0
        if index == 0:
            return [bound * size for size in COARSE]
        at = self._clipped_at(claimed)
        return [at * norm for norm in NORMS[index % 2 :: 2]]

    def _clipped_at(self, claimed: Claimed) -> float:
        """Returns the size at which the gradient's norm is C, from the first round.

        Where the claim does not say what C is in the update, or the largest images add another
        norm by far, it is what these add.
        """
        handed = self.listener.handed()
        rows = handed if handed.shape[1] else np.array(self._changes)
        ladder = [
            (t, plan.pulls[0])
            for t, plan in enumerate(self._plans)
            if plan.scenario == SCENARIOS.index("ladder")
        ][: len(COARSE)]
        found = np.array(
            [rows[t, list(p.coordinates)].sum() / math.sqrt(2) / p.ahead for t, p in ladder]
        )
        error = float(np.sqrt(np.mean(rows[:, ProbeNet.quiet()] ** 2))) / ladder[0][1].ahead
        slope = slope_of(np.array([p.size for _, p in ladder]), found, error)
        unit = float(claimed.batch or 0) if handed.shape[1] else 0.0
        if not handed.shape[1] and claimed.batch and claimed.learning_rate:
            unit = claimed.batch / claimed.learning_rate
        added = abs(float(found[-1]))
        bound = claimed.max_grad_norm / unit if claimed.max_grad_norm and unit else 0.0
        if not bound or (added > _SURE * error and not _near(added, bound)):
            bound = added or float(np.abs(found).max())
        usual = (claimed.max_grad_norm or 1.0) / _USUAL_SLOPE
        return bound / slope if slope > 0 else usual

    def _twins(self, seed: int, base: int) -> None:
        kinds = ("plain", "plain", "filled", "hard", "paired", "paired elsewhere")
        here, again, filled, harder, one, other = (
            self._state_after(seed, base, kind) for kind in kinds
        )
        self._state = sorted({*here[1], *filled[1]})
        alike = moved(here[0], again[0]) | moved(here[1], again[1])
        self._state_known = not alike
        if alike:
            return
        # Weights and noise are the same: what moves in either moves past the gradients.
        self._kept = moved(here[0], filled[0]) | moved(here[1], filled[1])
        if not moved(here[0], harder[0], rounding=True):
            self._kept = moved(here[1], harder[1], rounding=True) | self._kept
        # What cancels does so up to rounding.
        if not moved(one[0], other[0], rounding=True):
            self._kept = moved(one[1], other[1], rounding=True) | self._kept

    def _state_after(
        self, seed: int, base: int, kind: str
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Returns weights and state after a few steps on images of one kind."""
        seeded(seed)
        model, step = self._make()
        scenario = SCENARIOS.index("hard" if kind == "hard" else "distinct")
        for turn in range(_TWIN_STEPS):
            # From weights of 0, as everywhere: on others, losses are far from those of small steps.
            model.reset()
            pulls = tuple(Pull(turn * base + k, WIDE, 1) for k in range(base))
            if kind.startswith("paired"):
                # Images along and against each direction: whatever it is, their sum is 0.
                axes = range(4 * turn, 4 * turn + 4)
                shift = _ELSEWHERE if kind == "paired elsewhere" else 0
                pulls = tuple(Pull(k + shift, (i,), 1, 1) for i, k in enumerate(axes))
            images, masks = Plan(scenario, pulls).batch(model.label)
            if kind == "filled":
                images = unread(images, _FILL + turn)
            self._guard.call(step, images, masks)
        return {n: p.detach().clone() for n, p in model.named_parameters()}, state_of(model, step)

    def _unlabelled(self, base: int) -> None:
        """Tries images all of whose pixels are to be ignored, alone and beside others."""
        for images in (1, base):
            model, step = self._make()
            pulls = tuple(Pull(k, WIDE, 1, size=SIZES[0]) for k in range(images))
            pixels, masks = Plan(SCENARIOS.index("distinct"), pulls).batch(model.label)
            masks[0] = IGNORE
            try:
                self._guard.call(step, pixels, masks)
            except UserError:
                return
            self._void = True
            if not all_weights_finite(model):
                self._broken.append("unlabelled")
