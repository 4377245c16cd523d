"""Canary patches: known place, known content, own labels, one coin flip a slot.

A slot is one place of one record with a content for world A and another for world B; worlds differ
inside the patch only, which is all that patch substitution allows. `designs` lists what may stand
there, `backgrounds` what the rest of the record bears, `positions` where, `planting` puts them into
a data set, `crafting` sharpens them against a model, and `alignment` measures how good they are.
"""

from cropaudit.training.canaries.planting import add_slots, plant
from cropaudit.training.canaries.slots import CanarySlot, fill_slots, filled, trimmed

__all__ = ["CanarySlot", "add_slots", "fill_slots", "filled", "plant", "trimmed"]
