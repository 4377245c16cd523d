"""The attacks that can be played on a saved run: what each sees, knows and needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cropaudit.attacks.black_box.registry import ATTACKS
from cropaudit.errors import require

__all__ = ["KnownAttack", "checked_names", "known_attacks"]

Access = Literal["every update", "both ends", "final model"]

_SEES: dict[Access, str] = {
    "every update": "sees every noisy update, knows the images and both contents of every canary; "
    "does not know batches, windows or coins",
    "both ends": "sees the weights before the first and after the last update, knows the images "
    "and both contents of every canary",
    "final model": "queries the released model on crops of the canary's image; knows both contents",
}
_BESIDE = {
    "nothing": "has nothing else",
    "decoys": "has contents of the same kind that were not trained on",
    "references": "trains reference models through the same pipeline, in both worlds",
    "references of world B": "trains reference models through the same pipeline, in world B",
}


@dataclass(frozen=True)
class KnownAttack:
    """An attack as users know it.

    Attributes:
        name: What users type.
        access: What it looks at.
        beside: What else it has or does, in words.
        references: Whether it takes reference models.
        source: Whose idea it is.
    """

    name: str
    access: Access
    beside: str
    references: bool = False
    source: str = ""

    @property
    def adversary(self) -> str:
        """What its adversary sees and knows, in words."""
        return _SEES[self.access]


def known_attacks() -> tuple[KnownAttack, ...]:
    """Returns all attacks, from the strongest access to the weakest."""
    replays = "replays the training step by step"
    watched = (
        KnownAttack("white-box", "every update", f"{replays}; holds all canaries' gradients"),
        KnownAttack("projected", "every update", f"{replays}; for large models"),
        KnownAttack("last-iterate", "both ends", "takes a few gradients of each canary"),
    )
    asked = tuple(
        KnownAttack(
            name,
            "final model",
            _BESIDE[entry.needs],
            entry.needs.startswith("references"),
            entry.source,
        )
        for name, entry in ATTACKS.items()
    )
    return watched + asked


def checked_names(names: Sequence[str]) -> tuple[KnownAttack, ...]:
    """Returns the attacks of these names.

    Raises:
        InputError: If one is unknown or named twice, or there is none.
    """
    known = {item.name: item for item in known_attacks()}
    legal = f"one of {', '.join(known)}, or list"
    require(bool(names), "attack", legal, "none")
    for name in names:
        require(name in known, "attack", legal, name)
    require(len(set(names)) == len(names), "attack", "each named once", ", ".join(names))
    return tuple(known[name] for name in names)
