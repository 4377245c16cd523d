"""Sound DP-SGD steps as users write them, by Opacus, by ghost clipping and by hand.

Each factory takes a model and returns ``step(images, masks)``: one noisy update. The broken ones
are in `broken_trainers`.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping, DPPerLayerOptimizer
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.loop_steps import (
    BATCH,
    BOUND,
    RATE,
    SIGMA,
    AutoScaledStep,
    DroppingStep,
    LoopStep,
    MomentumStep,
    Step,
    VmapStep,
)
from cropaudit.audit.conformance.subjects import Subjects

__all__ = [
    "CLAIMED",
    "CLEAN",
    "OpacusStep",
    "make_adam",
    "make_auto_scaled",
    "make_dropping",
    "make_ghost",
    "make_limited",
    "make_loop",
    "make_loop_momentum",
    "make_microbatches",
    "make_momentum",
    "make_opacus",
    "make_per_layer",
    "make_vmap",
]

_PHYSICAL = 8


class OpacusStep:
    """One update with Opacus' hooks and its optimiser."""

    def __init__(
        self,
        model: nn.Module,
        sigma: float = SIGMA,
        bound: float = BOUND,
        physical: int | None = None,
        inner: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
        **options: Any,
    ) -> None:
        """Wraps the model.

        Args:
            model: Its parameters are trained.
            sigma: Noise multiplier.
            bound: C.
            physical: Images at once; the rest of a batch follows as Opacus' BatchMemoryManager
                does it. The whole batch if none.
            inner: Torch's optimiser.
            **options: Of it.
        """
        self.wrapped = GradSampleModule(model)
        self.physical = physical
        self.optimizer = DPOptimizer(
            inner(model.parameters(), lr=RATE, **options),
            noise_multiplier=sigma,
            max_grad_norm=bound,
            expected_batch_size=BATCH,
        )

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        """Does one logical step."""
        size = self.physical or max(1, len(images))
        # An empty batch is one chunk, too.
        chunks = list(zip(torch.split(images, size), torch.split(masks, size), strict=True)) or [
            (images, masks)
        ]
        for index, (some, labels) in enumerate(chunks):
            self.optimizer.signal_skip_step(do_skip=index + 1 < len(chunks))
            self.optimizer.zero_grad()
            self.backward(some, labels)
            self.optimizer.step()

    def backward(self, images: Tensor, masks: Tensor) -> None:
        """Takes the gradients."""
        torch.autograd.backward(functional.cross_entropy(self.wrapped(images), masks))


class _PixelMeans(nn.Module):
    """One loss for each image, as ghost clipping wants it; the reduction is Opacus' to do."""

    reduction = "mean"

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return functional.cross_entropy(logits, masks, reduction="none").mean(dim=(1, 2))


class _GhostStep:
    """Opacus' ghost clipping: two backward passes, no per-sample gradient is ever held."""

    def __init__(self, model: nn.Module) -> None:
        self.wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=BOUND)
        self.optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(model.parameters(), lr=RATE),
            noise_multiplier=SIGMA,
            max_grad_norm=BOUND,
            expected_batch_size=BATCH,
        )
        self.loss = DPLossFastGradientClipping(self.wrapped, self.optimizer, _PixelMeans())

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(self.wrapped(images), masks).backward()
        self.optimizer.step()


def make_opacus(model: nn.Module) -> Step:
    """Opacus: hooks and DPOptimizer."""
    return OpacusStep(model)


def make_microbatches(model: nn.Module) -> Step:
    """Opacus with batches larger than the memory, noised once a logical step."""
    return OpacusStep(model, physical=_PHYSICAL)


def make_momentum(model: nn.Module) -> Step:
    """Opacus with momentum and weight decay."""
    return OpacusStep(model, momentum=0.9, weight_decay=1e-3)


def make_adam(model: nn.Module) -> Step:
    """Opacus with Adam."""
    return OpacusStep(model, inner=torch.optim.Adam)


def make_per_layer(model: nn.Module) -> Step:
    """Opacus clipping each layer to C / sqrt(2), so that an image adds C at most."""
    step = OpacusStep(model)
    count = len(list(model.parameters()))
    step.optimizer = DPPerLayerOptimizer(
        torch.optim.SGD(model.parameters(), lr=RATE),
        noise_multiplier=SIGMA,
        max_grad_norm=[BOUND / count**0.5] * count,
        expected_batch_size=BATCH,
    )
    return step


def make_ghost(model: nn.Module) -> Step:
    """Opacus' ghost clipping."""
    return _GhostStep(model)


def make_loop(model: nn.Module) -> Step:
    """By hand, one image after the other."""
    return LoopStep(model)


def make_vmap(model: nn.Module) -> Step:
    """By hand, with torch.func.vmap."""
    return VmapStep(model)


def make_loop_momentum(model: nn.Module) -> Step:
    """By hand, with momentum."""
    return MomentumStep(model)


def make_limited(model: nn.Module) -> Step:
    """Opacus, and the norm of the noisy gradient is limited before the weights move."""
    step = OpacusStep(model)

    def limiting(images: Tensor, masks: Tensor) -> None:
        step.optimizer.zero_grad()
        step.backward(images, masks)
        if step.optimizer.pre_step():
            nn.utils.clip_grad_norm_(model.parameters(), BOUND)
            step.optimizer.original_optimizer.step()

    return limiting


def make_auto_scaled(model: nn.Module) -> Step:
    """By hand, scaled by C / (norm + 0.01) as in AUTO-S, never more than C."""
    return AutoScaledStep(model)


def make_dropping(model: nn.Module) -> Step:
    """By hand, images with gradients above C are left out, so that one adds C at most."""
    return DroppingStep(model)


_HERE = "cropaudit.audit.conformance.faults.trainers"
CLAIMED = Claimed(
    batch=BATCH, noise_multiplier=SIGMA, max_grad_norm=BOUND, learning_rate=RATE, sampler="poisson"
)


def _of(name: str, factory: Callable[[nn.Module], Step]) -> Fault:
    words = (factory.__doc__ or "").rstrip(".")
    return Fault(name, words, "", Subjects(trainer=f"{_HERE}:{factory.__name__}"), CLAIMED)


CLEAN: tuple[Fault, ...] = (
    _of("opacus-step", make_opacus),
    _of("microbatches", make_microbatches),
    _of("momentum", make_momentum),
    _of("adam", make_adam),
    _of("per-layer-shares", make_per_layer),
    _of("ghost-step", make_ghost),
    _of("loop-step", make_loop),
    _of("vmap-step", make_vmap),
    _of("loop-momentum", make_loop_momentum),
    _of("limited-norm", make_limited),
    _of("auto-scaled", make_auto_scaled),
    _of("dropping", make_dropping),
)
