"""Networks of segmentation_models_pytorch and torchvision, untrained and without dropout.

Nothing is downloaded. Both libraries take seconds to import, so each is imported only when one of
its networks is asked for.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from cropaudit.errors import InputError

__all__ = ["smp", "torchvision"]


def smp(kind: str) -> Callable[[int, str], nn.Module]:
    """Returns the builder of a class of segmentation_models_pytorch, such as PSPNet."""
    return partial(_smp, kind)


def torchvision(kind: str) -> Callable[[int, str], nn.Module]:
    """Returns the builder of a family of torchvision's, such as deeplabv3; no auxiliary head."""
    return partial(_torchvision, kind)


def _smp(kind: str, classes: int, encoder: str) -> nn.Module:
    import segmentation_models_pytorch

    make = getattr(segmentation_models_pytorch, kind)
    try:
        network: nn.Module = make(encoder, encoder_weights=None, classes=classes)
    # The library refuses a name in as many ways as it has encoders.
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        legal = f"one that segmentation_models_pytorch has for {kind}, such as resnet18"
        raise InputError(f"encoder must be {legal}, got {encoder}") from error
    return network


def _torchvision(kind: str, classes: int, encoder: str) -> nn.Module:
    from torchvision.models import segmentation

    options = {} if kind == "lraspp" else {"aux_loss": False}
    make = getattr(segmentation, f"{kind}_{encoder}")
    network: nn.Module = make(weights=None, weights_backbone=None, num_classes=classes, **options)
    network.register_forward_hook(_main_output)
    return network


def _main_output(network: nn.Module, inputs: object, outputs: dict[str, Tensor]) -> Tensor:
    return outputs["out"]
