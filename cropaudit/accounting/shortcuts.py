"""Short cuts that users take and that are no bounds: their epsilon, and why they are wrong.

An audit sets them beside the bound, and can take one as the claim to refute
(``--claim shortcut:add-remove``).
"""

from dataclasses import dataclass

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.mechanisms import (
    AddRemoveShortcut,
    Mechanism,
    PatchMechanism,
    PoissonPatch,
    ReplaceOneShortcut,
)

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


def shortcuts(mechanism: PatchMechanism) -> tuple[Shortcut, ...]:
    """Returns the short cuts that a user of this mechanism may be tempted by."""
    values = (
        mechanism.noise_multiplier,
        mechanism.sample_rate,
        mechanism.inclusion,
        mechanism.steps,
    )
    found = [
        Shortcut("add-remove", AddRemoveShortcut(*values), _ADD_REMOVE),
        Shortcut("replace-one", ReplaceOneShortcut(*values), _REPLACE_ONE),
        Shortcut("sensitivity-c", mechanism.with_noise(2 * values[0]), _SENSITIVITY),
    ]
    if not isinstance(mechanism, PoissonPatch):
        found.append(Shortcut("poisson-accounting", PoissonPatch(*values), _POISSON))
    return tuple(found)


def shortcut_epsilons(mechanism: PatchMechanism, delta: float) -> tuple[ShortcutEpsilon, ...]:
    """Returns what each short cut would claim at ``delta``."""
    return tuple(
        ShortcutEpsilon(item.name, epsilon_at(item.mechanism, delta), item.why_invalid)
        for item in shortcuts(mechanism)
    )
