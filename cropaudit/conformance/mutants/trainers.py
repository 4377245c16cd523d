"""DP-SGD steps as users write them, sound ones and ones with one fault each.

Each is a factory that takes a model and returns ``step(images, masks)``, one noisy update: by
Opacus, by ghost clipping, or by hand, where parts of a loop are replaced.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping, DPPerLayerOptimizer
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from cropaudit.conformance.mutants.mutant import Shelf
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.training.data.images import IGNORE

__all__ = ["CLAIMED", "MUTANTS", "LoopStep", "OpacusStep", "Step"]

Step = Callable[[Tensor, Tensor], Any]

SIGMA, BOUND, RATE, BATCH = 1.0, 1.0, 0.1, 16
_SMALL_BOUND, _LARGE_BOUND, _BOUNDLESS = 0.5, 2.0, 1e30
_PHYSICAL = 8
_DECAY = 0.9
CLAIMED = PipelineClaim(
    batch=BATCH, noise_multiplier=SIGMA, max_grad_norm=BOUND, learning_rate=RATE, sampler="poisson"
)


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = rows.norm(dim=1, keepdim=True)
    return norms


def _clipped(rows: Tensor) -> Tensor:
    """Returns the rows, each of norm C at most."""
    factors: Tensor = (BOUND / _norms(rows).clamp(min=1e-12)).clamp(max=1)
    return rows * factors


class LoopStep:
    """One update by hand: autograd for one image after the other."""

    def __init__(
        self,
        model: nn.Module,
        clip: Callable[[Tensor], Tensor] = _clipped,
        noised: Callable[[Tensor], Any] = lambda total: 1.0,
        factor: Callable[[int], float] = lambda count: 1.0,
    ) -> None:
        """Holds the model; its parts can be overridden.

        Args:
            model: Its parameters are trained.
            clip: From one gradient a row to the rows that are summed.
            noised: From the sum to the factors of the noise that joins it.
            factor: From the number of images to that of the noisy sum.
        """
        self.model, self.clip, self.noised, self.factor = model, clip, noised, factor
        self.parameters = list(model.parameters())

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        """Does one step."""
        total = self.clip(self.rows(images, masks)).sum(dim=0)
        self.update(self.noisy(total) * self.factor(len(images)))

    def rows(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns one gradient a row."""
        rows = [self.gradient(images[i : i + 1], masks[i : i + 1]) for i in range(len(images))]
        size = sum(p.numel() for p in self.parameters)
        return torch.stack(rows) if rows else torch.zeros(0, size)

    def gradient(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns the gradient of the mean loss."""
        loss = functional.cross_entropy(self.model(images), masks)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)])

    def noisy(self, total: Tensor) -> Tensor:
        """Returns the sum with its noise."""
        noise: Tensor = SIGMA * BOUND * torch.randn(total.shape) * self.noised(total)
        return total + noise

    def update(self, total: Tensor) -> None:
        """Moves the parameters."""
        parts = torch.split(total, [p.numel() for p in self.parameters])
        with torch.no_grad():
            for parameter, part in zip(self.parameters, parts, strict=True):
                parameter.sub_(RATE * part.view_as(parameter) / BATCH)


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
        """Wraps the model; of large batches ``physical`` images are in memory at once.

        ``inner`` and its options are torch's optimiser.
        """
        self.model, self.wrapped, self.physical = model, GradSampleModule(model), physical
        self.optimizer = DPOptimizer(
            inner(model.parameters(), lr=RATE, **options),
            noise_multiplier=sigma,
            max_grad_norm=bound,
            expected_batch_size=BATCH,
        )

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        """Does one logical step."""
        size = self.physical or max(1, len(images))
        chunks = list(zip(torch.split(images, size), torch.split(masks, size), strict=True))
        chunks = chunks or [(images, masks)]  # an empty batch is one chunk, too
        for index, (some, labels) in enumerate(chunks):
            self.optimizer.signal_skip_step(do_skip=index + 1 < len(chunks))
            self.optimizer.zero_grad()
            self.backward(some, labels)
            self.optimizer.step()

    def backward(self, images: Tensor, masks: Tensor) -> None:
        """Takes the gradients."""
        torch.autograd.backward(functional.cross_entropy(self.wrapped(images), masks))


def _per_layer(model: nn.Module, sigma: float, bound: float) -> Step:
    """Returns Opacus' step that clips each parameter by itself to ``bound``."""
    step = OpacusStep(model)
    step.optimizer = DPPerLayerOptimizer(
        torch.optim.SGD(model.parameters(), lr=RATE),
        noise_multiplier=sigma,
        max_grad_norm=[bound] * len(list(model.parameters())),
        expected_batch_size=BATCH,
    )
    return step


class _PixelMeans(nn.Module):
    """One loss for each image, as ghost clipping wants it; the reduction is Opacus' to do."""

    reduction = "mean"

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return functional.cross_entropy(logits, masks, reduction="none").mean(dim=(1, 2))


def _ghost(model: nn.Module) -> Step:
    """Returns Opacus' ghost clipping: two backward passes, no per-sample gradient is ever held."""
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=BOUND)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), lr=RATE),
        noise_multiplier=SIGMA,
        max_grad_norm=BOUND,
        expected_batch_size=BATCH,
    )
    loss = DPLossFastGradientClipping(wrapped, optimizer, _PixelMeans())

    def step(images: Tensor, masks: Tensor) -> None:
        optimizer.zero_grad()
        loss(wrapped(images), masks).backward()
        optimizer.step()

    return step


def _limited(model: nn.Module) -> Step:
    step = OpacusStep(model)

    def limiting(images: Tensor, masks: Tensor) -> None:
        step.optimizer.zero_grad()
        step.backward(images, masks)
        if step.optimizer.pre_step():
            nn.utils.clip_grad_norm_(model.parameters(), BOUND)
            step.optimizer.original_optimizer.step()

    return limiting


class _Vmap(LoopStep):
    def rows(self, images: Tensor, masks: Tensor) -> Tensor:
        if not len(images):
            return super().rows(images, masks)
        weights = {name: p.detach() for name, p in self.model.named_parameters()}

        def loss(weights: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
            logits = functional_call(self.model, weights, (image.unsqueeze(0),))
            return functional.cross_entropy(logits, mask.unsqueeze(0))

        found = vmap(grad(loss), in_dims=(None, 0, 0))(weights, images, masks)
        return torch.cat([part.flatten(1) for part in found.values()], dim=1)


class _Momentum(LoopStep):
    velocity: Tensor | float = 0.0

    def update(self, total: Tensor) -> None:
        self.velocity = 0.9 * self.velocity + total
        super().update(self.velocity)


def _skipping(model: nn.Module) -> Step:
    step = OpacusStep(model)
    return lambda images, masks: step(images, masks) if len(images) else None


def _reseeding(model: nn.Module) -> Step:
    step = OpacusStep(model)

    def reseeded(images: Tensor, masks: Tensor) -> None:
        torch.manual_seed(0)
        step(images, masks)

    return reseeded


def _accumulating(model: nn.Module) -> Step:
    step = OpacusStep(model)
    zero = [torch.zeros_like(p) for p in model.parameters()]

    def accumulated(images: Tensor, masks: Tensor) -> None:
        total = zero
        parts = torch.split(images, _PHYSICAL), torch.split(masks, _PHYSICAL)
        for some, labels in zip(*parts, strict=True):
            step.optimizer.zero_grad()
            step.backward(some, labels)
            step.optimizer.pre_step()
            found = [p.grad for p in model.parameters() if p.grad is not None]
            total = [t + g for t, g in zip(total, found, strict=True)]
        for parameter, part in zip(model.parameters(), total, strict=True):
            parameter.grad = part
        step.optimizer.original_optimizer.step()

    return accumulated


def _averaging(model: nn.Module) -> Step:
    step, plain = OpacusStep(model), LoopStep(model)
    average = torch.zeros(sum(p.numel() for p in model.parameters()))

    def mixed(images: Tensor, masks: Tensor) -> None:
        raw = plain.rows(images, masks).sum(dim=0) / BATCH
        average.mul_(_DECAY).add_((1 - _DECAY) * raw)
        step(images, masks)
        plain.update(average / BATCH)

    return mixed


def _keeping(model: nn.Module, name: str, kept: Callable[[Tensor, Any], Tensor]) -> Step:
    """Returns a step that keeps in a buffer what ``kept`` makes of the images and of the buffer."""
    step = OpacusStep(model)

    def keeping(images: Tensor, masks: Tensor) -> None:
        if not hasattr(model, name):
            model.register_buffer(name, torch.zeros(images.shape[1:]))
        if len(images):
            setattr(model, name, kept(images, getattr(model, name)))
        step(images, masks)

    return keeping


def _stacking(model: nn.Module) -> Step:
    step = OpacusStep(model)

    def stacked(images: Tensor, masks: Tensor) -> None:
        step.optimizer.zero_grad()
        half = max(1, len(images) // 2)
        step.backward(images[:half], masks[:half])
        if len(images) > half:
            step.backward(images[half:], masks[half:])
        step.optimizer.step()

    return stacked


def _by_dimension(model: nn.Module) -> Step:
    noised = torch.cat([torch.full_like(p, p.ndim > 1).flatten() for p in model.parameters()])
    return LoopStep(model, noised=lambda total: noised)


class _LossGuard(LoopStep):
    usual: float | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        if len(images):
            loss = functional.cross_entropy(self.model(images), masks).item()
            if self.usual is not None and loss > 1.05 * self.usual:
                return
            self.usual = self.usual or loss
        super().__call__(images, masks)


class _OutlierGuard(LoopStep):
    def __call__(self, images: Tensor, masks: Tensor) -> None:
        if not len(images) or self.rows(images, masks).norm(dim=1).max() < 1e7:
            super().__call__(images, masks)


class _UnlabelledNaN(LoopStep):
    def gradient(self, images: Tensor, masks: Tensor) -> Tensor:
        known = masks != IGNORE
        losses = functional.cross_entropy(self.model(images), masks * known, reduction="none")
        loss = (losses * known).sum() / known.sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)])


class _ClipOfMean(LoopStep):
    def rows(self, images: Tensor, masks: Tensor) -> Tensor:
        return self.gradient(images, masks)[None] if len(images) else super().rows(images, masks)


_CODE: dict[str, Any] = {
    "noise-off": lambda model: OpacusStep(model, sigma=0.0),
    "noise-halved": lambda model: OpacusStep(model, sigma=SIGMA / 2),
    "noise-unit": lambda model: OpacusStep(model, SIGMA / _LARGE_BOUND, _LARGE_BOUND),
    "deviation-for-multiplier": lambda model: OpacusStep(model, SIGMA * _SMALL_BOUND, _SMALL_BOUND),
    "noise-skipped-on-empty": _skipping,
    "noise-repeated": _reseeding,
    "noise-divided-twice": lambda model: LoopStep(model, noised=lambda total: 1 / BATCH),
    "noise-per-microbatch": _accumulating,
    "clip-off": lambda model: OpacusStep(model, SIGMA * BOUND / _BOUNDLESS, _BOUNDLESS),
    "clip-of-mean": lambda model: _ClipOfMean(model, lambda rows: BATCH * _clipped(rows)),
    "clip-after-accumulation": lambda model: LoopStep(
        model, lambda rows: _clipped(rows.sum(dim=0, keepdim=True))
    ),
    "clip-per-layer": lambda model: _per_layer(
        model, SIGMA / len(list(model.parameters())) ** 0.5, BOUND
    ),
    "ema-side-channel": _averaging,
    "running-statistics": lambda model: _keeping(
        model, "mean_image", lambda images, old: old.lerp(images.mean(dim=0), 1 - _DECAY)
    ),
    "feature-memory": lambda model: _keeping(
        model,
        "memory",
        lambda images, old: functional.normalize(images.flatten(1).mean(dim=0), dim=0),
    ),
    "noise-by-parameter": _by_dimension,
    "clean-top": lambda model: LoopStep(
        model, noised=lambda total: total.abs() <= 0.1 * total.abs().max()
    ),
    "loss-guard": _LossGuard,
    "outlier-guard": _OutlierGuard,
    "realised-batch": lambda model: LoopStep(model, factor=lambda count: BATCH / max(1, count)),
    "stacked-passes": _stacking,
    "clip-late": lambda model: LoopStep(
        model, lambda rows: torch.where(_norms(rows) > 10 * BOUND, _clipped(rows), rows)
    ),
    "unlabelled-nan": _UnlabelledNaN,
    "opacus-step": lambda model: OpacusStep(model),
    "microbatches": lambda model: OpacusStep(model, physical=_PHYSICAL),
    "momentum": lambda model: OpacusStep(model, momentum=0.9, weight_decay=1e-3),
    "adam": lambda model: OpacusStep(model, inner=torch.optim.Adam),
    "per-layer-shares": lambda model: _per_layer(
        model, SIGMA, BOUND / len(list(model.parameters())) ** 0.5
    ),
    "ghost-step": _ghost,
    "loop-step": LoopStep,
    "vmap-step": _Vmap,
    "loop-momentum": _Momentum,
    "limited-norm": _limited,
    "auto-scaled": lambda model: LoopStep(model, lambda rows: rows * BOUND / (_norms(rows) + 0.01)),
    "dropping": lambda model: LoopStep(model, lambda rows: rows * (_norms(rows) <= BOUND)),
}
MUTANTS = Shelf(
    __name__,
    "trainer",
    CLAIMED,
    _CODE,
    {
        "noise-unit": {"max_grad_norm": _LARGE_BOUND},
        "deviation-for-multiplier": {"max_grad_norm": _SMALL_BOUND},
    },
)
__getattr__ = MUTANTS.code
