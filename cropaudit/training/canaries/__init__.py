"""Canary patches: known place, known content, own labels, one coin flip a slot.

A slot is one place of one record with a content for world A and another for world B; worlds differ
inside the patch only, which is all that patch substitution allows. `designs` lists what may stand
there, `backgrounds` what the rest of the record bears, `positions` where, `planting` puts them into
a data set, and `crafting` sharpens them against a model. `registry` has the designs' names, and is
loaded without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.training.canaries.planting import add_slots, plant
    from cropaudit.training.canaries.slots import CanarySlot, fill_slots, filled, trimmed

__all__ = ["CanarySlot", "add_slots", "fill_slots", "filled", "plant", "trimmed"]


def __getattr__(name: str) -> Any:
    """Loads what is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    home = "planting" if name in ("add_slots", "plant") else "slots"
    return getattr(import_module(f"{__name__}.{home}"), name)
