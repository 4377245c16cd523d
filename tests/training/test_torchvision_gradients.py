"""Opacus takes the per-sample gradients of torchvision's families as autograd does, alone.

Exact identities in float64. Their heads are large whatever the encoder: 3 to 33 million parameters.
"""

import pytest

from cropaudit.training.models import build_model
from tests.training.per_sample_oracle import largest_error

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("lraspp", ("hooks", "ew", "functorch", "ghost")),
        ("deeplabv3:mobilenet_v3_large", ("hooks", "ew", "ghost")),
        ("fcn", ("hooks", "ew", "ghost")),
    ],
)
def test_hooks_expanded_weights_and_ghost_norms_are_exact(name, modes):
    model = build_model(name, 4, seed=0)
    for mode in modes:
        assert largest_error(model, mode, side=16) < 1e-12, mode
