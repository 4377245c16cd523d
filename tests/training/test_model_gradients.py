"""Opacus takes the per-sample gradients of every family of models as autograd does, alone.

Exact identities in float64, no chance involved; sizes are the smallest that each family has.
"""

import pytest

from cropaudit.training.models import build_model, recipe
from tests.training.per_sample_oracle import largest_error

TINY = "tu-tf_mobilenetv3_small_minimal_100"
SMP = ["upernet", "deeplabv3plus", "unet", "unetplusplus", "linknet", "fpn", "manet", "segformer"]
# What expanded weights cannot do: they refuse, which is no wrong gradient.
WITHOUT_EW = ("linknet",)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "name", ["small-unet", "pspnet:mobilenet_v2", *(f"{n}:{TINY}" for n in SMP)]
)
def test_hooks_expanded_weights_and_ghost_norms_are_exact(name):
    model = build_model(name, 4, seed=0)
    modes = ["hooks", "ghost"] + ["ew"] * (name.partition(":")[0] not in WITHOUT_EW)
    assert recipe(name).mode in modes
    for mode in modes:
        assert largest_error(model, mode) < 1e-12, mode


@pytest.mark.parametrize("mode", ["functorch", "hooks"])
def test_a_transformer_with_odd_strides_is_exact(mode):
    """Its last depthwise convolutions see one pixel, transposed: hooks were off by 1e-3."""
    assert largest_error(build_model("segformer:mit_b0", 3, 0), mode, classes=3) < 1e-12
