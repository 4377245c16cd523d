"""One DP-SGD update, with Opacus: the step that training repeats and that conformance probes.

Assumes one loss per image, clipped per image to ``max_grad_norm`` (C); noise of deviation
``noise_multiplier`` times C on the sum; and a division by the *expected* batch size, which the data
do not choose. An update is ``learning_rate`` times that noisy mean (with momentum and weight decay
where they are set) and nothing else. A batch may pass through the model in parts: each gradient is
clipped in its part, and noise is added once, to the sum over all of them.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from opacus.grad_sample.utils import wrap_model
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import Tensor, nn

from cropaudit.errors import require
from cropaudit.training.distributed import current_world, optimizer_kind, shared, summed
from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import GradSampleMode
from cropaudit.training.run_spec import Precision

__all__ = ["Part", "PrivateStep", "part_size", "quiet_backward"]

Part = tuple[Tensor, Tensor]


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
        weight_decay: float = 0.0,
        physical_batch: int | None = None,
        precision: Precision = "float32",
        averaged: int = 1,
    ) -> None:
        """Puts the model under Opacus, in all the processes of the world if there are several.

        Args:
            model: Maps images (B, 3, H, W) to logits (B, K, H, W).
            mode: Opacus' grad-sample mode.
            noise_multiplier: In units of ``max_grad_norm``; 0 for no noise.
            max_grad_norm: C.
            learning_rate: Of plain SGD.
            expected_batch: Divisor of the noisy sum.
            momentum: Of SGD.
            noise: Where noise is drawn, on the device of the model; torch's own unless given.
            weight_decay: Of SGD.
            physical_batch: Images that pass through the model at once; None for no limit.
            precision: Of forward and backward passes.
            averaged: So many images in a row are crops of one: their gradients are averaged and
                then clipped as one.

        Raises:
            InputError: If the mode cannot do what is asked.
        """
        _require_able(mode, precision, averaged)
        least = averaged if physical_batch is None else physical_batch
        require(least >= averaged, "physical_batch", f"at least {averaged}", physical_batch)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._device = self.parameters[0].device
        self._precision, self._averaged, self._ghost = precision, averaged, mode == "ghost"
        self._physical, self._expected, self._world = (
            physical_batch,
            expected_batch,
            current_world(),
        )
        extra = {"max_grad_norm": max_grad_norm} if self._ghost else {}
        wrapped = shared(model, self._world)
        self._wrapped = wrap_model(wrapped, mode, loss_reduction="sum", **extra)
        self._plain = torch.optim.SGD(
            self.parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        )
        # Opacus averages over the processes what each of them has divided by its own share.
        self._optimizer = optimizer_kind(self._world, ghost=self._ghost)(
            self._plain,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch / self._world.size,
            loss_reduction="mean",
            generator=noise,
        )

    def set_learning_rate(self, rate: float) -> None:
        """Sets the rate of the next updates."""
        for group in self._plain.param_groups:
            group["lr"] = rate

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
        size = part_size(self._physical, self._averaged) or max(1, len(pixels))
        starts = range(0, len(pixels), size)
        return self.run(((pixels[i : i + size], masks[i : i + size]) for i in starts), observe)

    def run(self, parts: Iterable[Part], observe: Callable[[Tensor], None] | None = None) -> float:
        """Does one update on a batch that comes in parts, none of them empty.

        Args:
            parts: This process' share of the batch: scaled images and masks. Asked for one after
                the other, so that no more than one need be held.
            observe: As in a call.

        Returns:
            The mean loss over the batches of all processes; NaN if they are empty.
        """
        tally = torch.zeros(2, dtype=torch.float64, device=self._device)
        for pixels, masks in parts:
            self._optimizer.zero_grad(set_to_none=True)
            losses = self._backward(pixels, masks)
            tally += torch.stack([losses.sum().double(), tally.new_tensor(len(losses))])
            # Clips and adds up; noise and update wait for the end.
            self._optimizer.signal_skip_step(True)
            self._optimizer.step()
        self._finish(observe)
        total, count = summed(tally, self._world).tolist()
        return total / count if count else float("nan")

    def _backward(self, pixels: Tensor, masks: Tensor) -> Tensor:
        half = self._precision == "bf16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half):
            logits = self._wrapped(pixels)
        losses = pixel_losses(logits.float() if half else logits, masks)
        with quiet_backward():
            if self._ghost:
                tensor = DPTensorFastGradientClipping(
                    self._wrapped, self._optimizer, losses, loss_reduction="sum"
                )
                tensor.backward()
            else:
                torch.autograd.backward(losses.sum())
                self._mend_rows()
        return losses.detach()

    def _mend_rows(self) -> None:
        """Makes one row an image of the per-sample gradients, in the parameters' precision."""
        for parameter in self.parameters:
            rows: Tensor = parameter.grad_sample.to(parameter.dtype)  # type: ignore[attr-defined]
            if self._averaged > 1:
                rows = rows.reshape(-1, self._averaged, *parameter.shape).mean(dim=1)
            parameter.grad_sample = rows  # type: ignore[attr-defined]

    def _finish(self, observe: Callable[[Tensor], None] | None) -> None:
        """Adds noise and updates; what is clipped here is an empty batch."""
        self._optimizer.zero_grad(set_to_none=True)
        for parameter in self.parameters:
            # Not every layer, nor Opacus' hook for it, takes a batch of none: what they would
            # return is set by hand. Without any part before, the update is pure noise.
            if self._ghost:
                parameter.grad = torch.zeros_like(parameter)
            else:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        if observe is None:
            self._optimizer.step()
            return
        # Just before the update, when the sum over all processes is there.
        hook = self._plain.register_step_pre_hook(lambda *_: observe(self._noisy_sum()))
        try:
            self._optimizer.step()
        finally:
            hook.remove()

    def _noisy_sum(self) -> Tensor:
        gradients = [torch.flatten(p.grad) for p in self.parameters if p.grad is not None]
        return torch.cat(gradients).float() * self._expected


def part_size(physical_batch: int | None, averaged: int) -> int | None:
    """Returns how many crops pass through the model at once; crops of one image stay together."""
    return None if physical_batch is None else physical_batch // averaged * averaged


def _require_able(mode: GradSampleMode, precision: Precision, averaged: int) -> None:
    if precision == "bf16":
        # Ghost clipping sums weighted losses, so that each image's part of the sum is as imprecise
        # as bf16; expanded weights refuse the mixed types of autocast.
        legal = "hooks or functorch for bf16"
        require(mode in ("hooks", "functorch"), "grad_sample_mode", legal, mode)
    if averaged > 1:
        legal = "one that takes each crop's gradient, for crops that are averaged"
        require(mode != "ghost", "grad_sample_mode", legal, mode)
