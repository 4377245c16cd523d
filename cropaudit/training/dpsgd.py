"""DP-SGD on random crops, with Opacus, watched step by step and taped.

Each update is a `PrivateStep`. Sampler, crops, noise and initial weights draw from independent
streams of one seed, so a run without noise sees the same batches and windows as one with it. All
processes of a distributed run draw the same; each then takes its share of every batch.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cropaudit.training.checkpoints import (
    Architecture,
    Checkpoints,
    copied_state,
    save_architecture,
    save_checkpoint,
)
from cropaudit.training.crops import Window
from cropaudit.training.cutting import cut_window, draw_window, output_size
from cropaudit.training.data import SegmentationData
from cropaudit.training.distributed import World, current_world
from cropaudit.training.divergence import Diverged, all_finite
from cropaudit.training.losses import prepare
from cropaudit.training.models import GradSampleMode, build_model
from cropaudit.training.private_step import Part, part_size
from cropaudit.training.run_setup import chosen_mode, private_step, run_facts
from cropaudit.training.run_spec import DpSgdSpec
from cropaudit.training.samplers import batches
from cropaudit.training.tape import Tape, TapeWriter

__all__ = ["DpSgdSpec", "StepView", "Trained", "pick_device", "train"]


@dataclass(frozen=True, eq=False)
class StepView:
    """What a white-box adversary sees of one step, and what only the auditor knows.

    Attributes:
        step: From 0.
        indices: The records of the batch, of all processes.
        windows: Their windows: all those of the first record, then those of the next.
        noisy_sum: Shape (P,), float32: the sum of the clipped gradients plus noise, before the
            division by the expected batch size, over the trainable parameters in their order.
        model: The plain module, its parameters as before the update; to be read only, and live:
            the update changes it once the observer returns.
        noise_seed: Seed of this step's noise; see `Tape.noise`.
        learning_rate: Of this step.
    """

    step: int
    indices: tuple[int, ...]
    windows: tuple[Window, ...]
    noisy_sum: Tensor
    model: nn.Module
    noise_seed: int = 0
    learning_rate: float = math.nan


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a run.

    Attributes:
        model: The plain module in evaluation mode, on the device of the run.
        steps: Number of updates.
        losses: Mean loss of each step's batch, not private; NaN where the batch was empty.
        seconds: Wall-clock time.
        device: Where it ran.
        tape: What was drawn.
        initial: The model's state before the first update, on the CPU.
        mode: How Opacus took per-sample gradients.
    """

    model: nn.Module
    steps: int
    losses: tuple[float, ...]
    seconds: float
    device: str
    tape: Tape
    initial: dict[str, Tensor]
    mode: GradSampleMode


def pick_device() -> torch.device:
    """Returns the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    data: SegmentationData,
    spec: DpSgdSpec,
    *,
    device: torch.device | None = None,
    observe: Callable[[StepView], None] | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Trains a model; bit for bit reproducible on the CPU with the same number of threads.

    Args:
        data: Images, of any sizes that the crop fits.
        spec: The run.
        device: `pick_device` unless given.
        observe: Called in each step, before the update; in a distributed run in every process.
        progress: Called after each step with the number of steps done.
        checkpoints: Where weights are saved on the way, if anywhere.

    Raises:
        InputError: If the model is unknown, the crop does not fit an image, or the batch the data,
            or Opacus cannot do what is asked.
        Diverged: If a sum, a loss, a weight or an answer of the model is no longer finite.
    """
    start = time.perf_counter()
    run = _Run(data, spec, device or pick_device())
    saved = checkpoints if run.world.leads else None
    initial = copied_state(run.plain)
    if saved is not None:
        save_architecture(saved, Architecture(spec.model, len(data.classes), spec.norm, spec.steps))
        run.kept = save_checkpoint(saved, 0, spec.steps, run.plain)
    losses = []
    for step, indices in enumerate(run.plan()):
        losses.append(run.step(step, indices, observe))
        if saved is not None:
            run.kept = save_checkpoint(saved, step + 1, spec.steps, run.plain) or run.kept
        if progress is not None:
            progress(step + 1)
    return Trained(
        model=run.plain.eval(),
        steps=spec.steps,
        losses=tuple(losses),
        seconds=time.perf_counter() - start,
        device=str(run.device),
        tape=run.writer.tape(),
        initial=initial,
        mode=run.mode,
    )


class _Run:
    """The model under Opacus and its twin, whose parameters are the same memory.

    The twin bears no hooks, so observers can call it, differentiate it and vmap over it.
    """

    def __init__(self, data: SegmentationData, spec: DpSgdSpec, device: torch.device) -> None:
        self.data, self.spec, self.device = data, spec, device
        self.world = current_world()
        self.facts = run_facts(data, spec, device)
        shown = output_size(spec.crop, data)
        seeds = self.facts.seeds
        self.sampler = torch.Generator().manual_seed(seeds.sampler)
        self.crops = torch.Generator().manual_seed(seeds.crops)
        self.noise = torch.Generator(device)
        self.writer = TapeWriter(self.facts)
        model = build_model(
            spec.model, len(data.classes), seeds.weights, norm=spec.norm, weights=spec.weights
        ).to(device)
        self.mode = chosen_mode(spec, model, shown, len(data.classes), self.facts.expected_batch)
        self.plain = copy.deepcopy(model)
        for theirs, ours in zip(self.plain.parameters(), model.parameters(), strict=True):
            theirs.data = ours.data
        self.update = private_step(model, self.mode, spec, self.facts, self.noise)
        self.kept: Path | None = None
        self._shown: Tensor | None = None

    def plan(self) -> Iterator[list[int]]:
        """Returns the records of every step."""
        return batches(self.spec.sampling, len(self.data), self.spec.steps, self.sampler)

    def step(
        self, step: int, indices: Sequence[int], observe: Callable[[StepView], None] | None
    ) -> float:
        """Does one update and returns the batch's mean loss."""
        windows = tuple(
            draw_window(self.data.size(record), self.spec.crop, self.crops)
            for record in indices
            for _ in range(self.spec.crops_per_image)
        )
        self.writer.add(indices, windows)
        noise_seed, rate = self.facts.noise_seed(step), self.facts.learning_rates[step]
        self.noise.manual_seed(noise_seed)
        self.update.set_learning_rate(rate)
        parts = self._parts(_share(indices, windows, self.world))
        if observe is None:
            loss = self.update.run(parts)
        else:

            def show(total: Tensor) -> None:
                self._require(all_finite([total]), "the noisy sum is", step)
                drawn = step, tuple(indices), windows
                observe(StepView(*drawn, total, self.plain, noise_seed, rate))

            loss = self.update.run(parts, show)
        self._require(not indices or math.isfinite(loss), "the loss is", step)
        self._require(all_finite(self.update.parameters), "the weights are", step)
        if step + 1 == self.spec.steps and self._shown is not None:
            # Weights that are just finite: what they answer need not be.
            with torch.no_grad():
                answers = self.plain(self._shown)
            self._require(all_finite([answers]), "the trained model's answers are", step)
        return loss

    def _require(self, finite: bool, what: str, step: int) -> None:
        if finite:
            return
        spec, kept = self.spec, self.kept
        words = "nothing of it was kept" if kept is None else f"the last weights kept are {kept}"
        rate = self.facts.learning_rates[step]
        raise Diverged(what, step, spec.steps, rate=rate, clip=spec.max_grad_norm, kept=words)

    def _parts(self, rows: list[tuple[int, Window]]) -> Iterator[Part]:
        """Cuts, scales and moves to the device what passes through the model at once."""
        size = part_size(self.spec.physical_batch, self.spec.averaged) or max(1, len(rows))
        for start in range(0, len(rows), size):
            images, masks = zip(
                *(
                    cut_window(self.data.images[i], self.data.masks[i], window, self.spec.crop)
                    for i, window in rows[start : start + size]
                ),
                strict=True,
            )
            pixels = prepare(torch.stack(images).to(self.device))
            self._shown = pixels[:1]
            yield pixels, torch.stack(masks).to(self.device)


def _share(
    indices: Sequence[int], windows: Sequence[Window], world: World
) -> list[tuple[int, Window]]:
    """Returns the crops of this process: every so manyth image, all its windows together."""
    crops = len(windows) // max(1, len(indices))
    return [
        (indices[place], window)
        for place in range(world.rank, len(indices), world.size)
        for window in windows[place * crops : (place + 1) * crops]
    ]
