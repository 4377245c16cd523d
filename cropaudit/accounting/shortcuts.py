"""Short cuts that users take and that are no bounds: their epsilon, and why they are wrong.

An audit sets them beside the bound, and can take one as the claim to refute
(``--claim shortcut:add-remove``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.mechanisms import (
    AddRemoveShortcut,
    Mechanism,
    PatchMechanism,
    PoissonPatch,
    ReplaceOneShortcut,
)
from cropaudit.errors import require

__all__ = ["Shortcut", "ShortcutEpsilon", "shortcut_epsilons", "shortcuts"]

_ADD_REMOVE = (
    "the rate q*rho goes into an add/remove accountant: substitution moves a clipped gradient by "
    "2C, not C, and a crop that misses the patch still trains on the image"
)
_REPLACE_ONE = (
    "the rate q*rho goes into a Poisson replace-one accountant: that assumes a gradient of zero "
    "whenever the crop misses, but it may equal the replaced patch's gradient"
)
# Half the sensitivity is twice the noise.
_SENSITIVITY = (
    "sensitivity C is used, but substituting a patch moves a clipped gradient by up to 2C"
)
_UNIT = (
    "the noise multiplier is taken for a deviation, and divided by the clipping norm; Opacus has "
    "multiplied by that norm already"
)
_POISSON = "Poisson sampling is assumed, but the batches are not drawn by independent coin flips"


@dataclass(frozen=True)
class Shortcut:
    """A mechanism that is put in the place of the real one, and why that is wrong."""

    name: str
    mechanism: Mechanism
    why_invalid: str


@dataclass(frozen=True)
class ShortcutEpsilon:
    """The epsilon that a short cut would claim."""

    name: str
    epsilon: float
    why_invalid: str


def shortcuts(mechanism: PatchMechanism, clip_norm: float | None = None) -> tuple[Shortcut, ...]:
    """Returns the short cuts that a user of this mechanism may be tempted by.

    Args:
        mechanism: What runs.
        clip_norm: The clipping norm; below 1 noise in absolute units is one more trap.
    """
    sigma, rate = mechanism.noise_multiplier, mechanism.sample_rate
    values = (sigma, rate, mechanism.record_rate / rate, mechanism.steps)
    found = [
        Shortcut("add-remove", AddRemoveShortcut(*values), _ADD_REMOVE),
        Shortcut("replace-one", ReplaceOneShortcut(*values), _REPLACE_ONE),
        Shortcut("sensitivity-c", mechanism.with_noise(2 * sigma), _SENSITIVITY),
    ]
    if not isinstance(mechanism, PoissonPatch):
        poisson = PoissonPatch(
            *values[:2], mechanism.inclusion, mechanism.steps, crops=mechanism.crops
        )
        found.append(Shortcut("poisson-accounting", poisson, _POISSON))
    if clip_norm is not None and clip_norm < 1:
        require(clip_norm > 0, "clipping norm", "positive", clip_norm)
        found.append(Shortcut("absolute-noise", mechanism.with_noise(sigma / clip_norm), _UNIT))
    return tuple(found)


def shortcut_epsilons(
    mechanism: PatchMechanism | Sequence[PatchMechanism],
    delta: float,
    clip_norm: float | None = None,
) -> tuple[ShortcutEpsilon, ...]:
    """Returns what each short cut would claim at ``delta``, taken in every phase."""
    phases = mechanism if isinstance(mechanism, Sequence) else [mechanism]
    each = [{item.name: item for item in shortcuts(phase, clip_norm)} for phase in phases]
    found = []
    for name, item in each[0].items():
        taken = [items[name].mechanism for items in each if name in items]
        if len(taken) == len(each) and len({one.adjacency for one in taken}) == 1:
            found.append(ShortcutEpsilon(name, epsilon_at(taken, delta), item.why_invalid))
    return tuple(found)
