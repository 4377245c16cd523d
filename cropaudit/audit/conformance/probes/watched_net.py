"""The model that a user's training is given: it tells a diary what it is shown, and what is asked.

The gradient of the loss at its outputs, caught on its way back, and the images give each image's
gradient by autograd alone, whatever library computed the one that is used. Some of its weights see
zeros only, so that no image pulls at them.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

__all__ = ["CHANNELS", "QUIET", "Diary", "WatchedNet", "image_gradients", "unwrapped"]

CHANNELS = 3
QUIET = "silent.weight"  # no image pulls at it
_WIDTH = 4
_SILENT = 512
_GAIN = 8.0  # so that most images pull by more than usual clipping norms


class Diary(Protocol):
    """What listens to the model."""

    def shown(self, net: "WatchedNet", images: Tensor, logits: Tensor) -> None:
        """Hears of a batch, after its outputs were computed."""

    def before(self, net: "WatchedNet") -> None:
        """Hears that the model is called."""


class WatchedNet(nn.Module):
    """Maps (B, 3, H, W) to logits (B, classes, H, W), and tells its diary.

    The diary belongs to the process and not to the model, so that copies tell it as well:
    Opacus' ModuleValidator copies models by pickling them.
    """

    diary: Diary | None = None

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(CHANNELS, _WIDTH, 3, padding=1)
        self.norm = nn.GroupNorm(1, _WIDTH)
        self.activation = nn.ReLU()
        self.head = nn.Conv2d(_WIDTH, classes, 1)
        self.silent = nn.Linear(_SILENT, 1, bias=False)
        with torch.no_grad():
            self.head.weight /= _GAIN

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits."""
        diary = WatchedNet.diary
        if diary is not None:
            diary.before(self)
        logits = self.logits(images)
        if diary is not None:
            diary.shown(self, images, logits)
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Returns the logits, and tells nobody."""
        found = self.activation(self.norm(self.features(images.contiguous())))
        zeros = images.new_zeros(len(images), _SILENT)
        nothing: Tensor = self.silent(zeros)[:, :, None, None]
        logits: Tensor = self.head(_GAIN * found) + nothing
        return logits


class _Plain(nn.Module):
    """The same model, heard by nobody."""

    def __init__(self, net: WatchedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net.logits(images)


def image_gradients(net: WatchedNet, images: Tensor, pull: Tensor) -> NDArray[np.float64]:
    """Returns each image's gradient by autograd, shape (B, P).

    Args:
        net: A model that nobody else holds hooks of.
        images: Shape (B, 3, H, W).
        pull: Gradient of the loss at the outputs for them, (B, classes, H, W).
    """
    model = _Plain(net)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    if not len(images):
        return np.zeros((0, sum(p.numel() for p in weights.values())))

    def projected(values: dict[str, Tensor], image: Tensor, at: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, values, (image[None],))[0]
        return (logits * at).sum()

    rows = vmap(grad(projected), (None, 0, 0))(weights, images, pull)
    flat = torch.cat([rows[name].flatten(1) for name in weights], dim=1)
    found: NDArray[np.float64] = flat.cpu().double().numpy()
    return found


def unwrapped(images: Tensor) -> Tensor:
    """Returns the whole batch behind an image that is seen under vmap."""
    while torch._C._functorch.is_functorch_wrapped_tensor(images):
        images = torch._C._functorch.get_unwrapped(images)
    return images
