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

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import SCENARIOS, Updates
from cropaudit.audit.conformance.probes.buffers import BufferLog
from cropaudit.audit.conformance.probes.handed import Listener
from cropaudit.audit.conformance.probes.probe_net import Plan, ProbeNet, Pull, plan_round
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import where_of

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
        model, step = _started(make_step, guard, where)
        run = _Run(model, step, guard, where)
        with run.listener.listening():
            run.rounds(subjects, claimed)
        return run.seen()


def _started(make_step: Any, guard: Guard, where: str) -> tuple[ProbeNet, Callable[..., Any]]:
    """Returns a network and a step that takes it, by the first number of classes that works."""
    trial = plan_round(0, 0, 2, 1, 2)[1]
    refusal: UserError | None = None
    for classes in _CLASSES:
        try:
            model, step = _fresh(make_step, guard, where, classes)
            guard.call(step, *trial.batch(model.label))
        except UserError as error:
            refusal = refusal or error
            continue
        # The trial has left its traces, such as momentum: begin anew.
        return _fresh(make_step, guard, where, classes)
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


class _Run:
    """All steps of one probe."""

    def __init__(self, model: ProbeNet, step: Callable[..., Any], guard: Guard, where: str) -> None:
        self.listener = Listener(model)
        self._model, self._step, self._guard, self._where = model, step, guard, where
        self._buffers = BufferLog(model)
        self._changes: list[NDArray[np.float64]] = []
        self._plans: list[Plan] = []
        self._refused = False
        self._start = time.monotonic()

    def rounds(self, subjects: Subjects, claimed: Claimed) -> None:
        """Does as many rounds as time allows."""
        base = min(max(claimed.batch or _BASE, 2), _MOST)
        sigma = claimed.noise_multiplier or 1.0
        singles = min(math.ceil(_SINGLES * max(1.0, sigma**2)), _MOST_SINGLES)
        # Only Poisson sampling draws empty batches.
        empties = claimed.sampler == "poisson"
        least, most = (_QUICK_ROUNDS, _QUICK_ROUNDS) if subjects.quick else _ROUNDS
        used = 0
        for index in range(most):
            for plan in plan_round(index, used, base, singles, _LARGE * base):
                if plan.count or (empties and not self._refused):
                    self._do(plan)
            used += sum(len(plan.pulls) for plan in self._plans[-singles - 8 :])
            spent = time.monotonic() - self._start
            if index + 1 >= least and spent * (index + 2) / (index + 1) > _SECONDS:
                break

    def seen(self) -> Updates:
        """Returns the observation.

        Raises:
            UserError: If no step moved the weights.
        """
        change = np.stack(self._changes)
        if not change.any():
            words = "step(images, masks) left the weights of the model that make_step got as 0"
            raise self._guard.fail("type", words, self._where)
        pulls = [(t, pull) for t, plan in enumerate(self._plans) for pull in plan.pulls]
        names, changed, spread = self._buffers.table()
        return Updates(
            change=change,
            handed=self.listener.handed(),
            replayed=self.listener.replayed(),
            optimiser=self.listener.words(),
            layer=self._model.layers(),
            quiet=self._model.quiet(),
            scenario=np.array([plan.scenario for plan in self._plans], dtype=np.int64),
            count=np.array([plan.count for plan in self._plans], dtype=np.int64),
            pull_step=np.array([t for t, _ in pulls], dtype=np.int64),
            pull_first=_column(pulls, lambda p: p.first),
            pull_second=_column(pulls, lambda p: p.second),
            pull_images=_column(pulls, lambda p: p.ahead - p.against),
            pull_large=_column(pulls, lambda p: p.large).astype(np.bool_),
            buffers=np.array(names, dtype=np.str_),
            buffer_change=np.array(changed, dtype=np.float64),
            buffer_spread=np.array(spread, dtype=np.float64),
            empties_refused=self._refused,
            seconds=time.monotonic() - self._start,
            where=self._where,
        )

    def _do(self, plan: Plan) -> None:
        self._model.reset()
        self._buffers.begin()
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
        self.listener.end()
        self._buffers.end()
        self._changes.append(self._model.weights())
        self._plans.append(plan)


def _column(
    pulls: list[tuple[int, Pull]], value: Callable[[Pull], int | bool]
) -> NDArray[np.int64]:
    return np.array([value(pull) for _, pull in pulls], dtype=np.int64)
