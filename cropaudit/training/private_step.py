"""One DP-SGD update, with Opacus: the step that training repeats and that conformance probes.

Assumes one loss per image, clipped per image to ``max_grad_norm`` (C); noise of deviation
``noise_multiplier`` times C on the sum; and a division by the *expected* batch size, which the data
do not choose. An update is ``learning_rate`` times that noisy mean (with momentum where it is set)
and nothing else.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import GradSampleMode

__all__ = ["PrivateStep", "quiet_backward"]


@contextmanager
def quiet_backward() -> Iterator[None]:
    """Silences the one warning that Opacus' hooks raise in every backward pass.

    Images need no gradient, and the hooks of a first layer want none: the warning is void.
    """
    with warnings.catch_warnings():
        message = "Full backward hook is firing when gradients are computed with respect to module"
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


class PrivateStep:
    """Updates one model, step by step.

    Attributes:
        parameters: The trainable parameters, in the order of the noisy sum.
    """

    def __init__(
        self,
        model: nn.Module,
        mode: GradSampleMode,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        learning_rate: float,
        expected_batch: float,
        momentum: float = 0.0,
        noise: torch.Generator | None = None,
    ) -> None:
        """Puts the model under Opacus.

        Args:
            model: Maps images (B, 3, H, W) to logits (B, K, H, W).
            mode: Opacus' grad-sample mode.
            noise_multiplier: In units of ``max_grad_norm``; 0 for no noise.
            max_grad_norm: C.
            learning_rate: Of plain SGD.
            expected_batch: Divisor of the noisy sum.
            momentum: Of SGD.
            noise: Where noise is drawn, on the device of the model; torch's own unless given.
        """
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._wrapped = wrap_model(model, mode, loss_reduction="sum")
        self._optimizer = DPOptimizer(
            torch.optim.SGD(self.parameters, lr=learning_rate, momentum=momentum),
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch,
            loss_reduction="mean",
            generator=noise,
        )

    def __call__(
        self,
        pixels: Tensor,
        masks: Tensor,
        observe: Callable[[Tensor], None] | None = None,
    ) -> float:
        """Does one update and returns the batch's mean loss, NaN if the batch is empty.

        Args:
            pixels: Scaled images (B, 3, H, W); B may be 0.
            masks: Integers (B, H, W).
            observe: Called before the parameters move, with the noisy sum of shape (P,).
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward(pixels, masks) if len(pixels) else self._empty()
        if observe is not None:
            self._optimizer.attach_step_hook(lambda _: observe(self._noisy_sum()))
        self._optimizer.step()
        return loss

    def _backward(self, pixels: Tensor, masks: Tensor) -> float:
        losses = pixel_losses(self._wrapped(pixels), masks)
        with quiet_backward():
            torch.autograd.backward(losses.sum())
        return float(losses.detach().mean())

    def _empty(self) -> float:
        # Not every layer, nor Opacus' hook for it, takes a batch of none: what they would return
        # is set by hand, and DPOptimizer makes an update of pure noise of it.
        for parameter in self.parameters:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        return float("nan")

    def _noisy_sum(self) -> Tensor:
        gradients = [torch.flatten(p.grad) for p in self.parameters if p.grad is not None]
        return torch.cat(gradients).float() * float(self._optimizer.expected_batch_size)
