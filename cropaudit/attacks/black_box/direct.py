"""Black-box attack on the final model: losses on the patch, averaged over crops that show it.

The adversary queries the released model on crops of the canary's image and compares how well the
labels of world A and those of world B fit the patch; it sees no update and no reference model.
"""

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.attacks.base import Array, AttackedRun, Querying
from cropaudit.attacks.white_box.likelihood_ratio import slot_crops
from cropaudit.training.models.losses import pixel_losses, prepare

__all__ = ["BLACK_BOX", "black_box_scores"]

_CHUNK = 64  # crops shown to the model at once


def black_box_scores(run: AttackedRun, model: nn.Module, seed: int) -> Array:
    """Scores every slot by the loss of B's labels less the loss of A's.

    Args:
        run: What is attacked.
        model: The released model.
        seed: Of the windows.

    Returns:
        Shape (slots,), nats per pixel; high means world A.
    """
    generator = torch.Generator().manual_seed(seed)
    device, count = next(model.parameters()).device, len(run.slots)
    total = torch.zeros(count, dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        for _ in range(run.windows):
            images, masks = slot_crops(run, generator)
            losses = torch.cat(
                [
                    pixel_losses(model(prepare(part.to(device))).double(), labels.to(device)).cpu()
                    for part, labels in zip(*(_pieces(x) for x in (images, masks)), strict=True)
                ]
            )
            total += losses[count:] - losses[:count]
    return np.asarray((total / run.windows).numpy())


def _pieces(batch: Tensor) -> list[Tensor]:
    return [batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK)]


BLACK_BOX = Querying(
    name="black-box",
    title="Black-box on the final model",
    source="Yeom et al. 2018",
    ask=black_box_scores,
)
