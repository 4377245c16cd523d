"""The designs of canaries under the names that users type: a new one is one `register` call.

Assumes nothing but names, so that a configuration is checked without torch: what builds a design
imports it when it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cropaudit.errors import require

if TYPE_CHECKING:
    from cropaudit.training.canaries.backgrounds import Background
    from cropaudit.training.canaries.designs import Design
    from cropaudit.training.canaries.textures import Texture

__all__ = ["DESIGNS", "KnownDesign", "register"]


@dataclass(frozen=True)
class KnownDesign:
    """A design as users name it.

    Attributes:
        name: What they type.
        words: What stands in either world, in one line.
        make: Builds it from a background and a texture, of which it ignores what it does not take;
            None if it is found in the photographs rather than planted.
        takes: Which of "background" and "texture" it takes.
    """

    name: str
    words: str
    make: "Callable[[Background, Texture], Design] | None"
    takes: frozenset[str] = frozenset()


DESIGNS: dict[str, KnownDesign] = {}


def register(known: KnownDesign) -> None:
    """Makes a design known under its name."""
    require(known.name not in DESIGNS, "canary design", "of a new name", known.name)
    DESIGNS[known.name] = known


def _make(
    kind: str, takes: frozenset[str], *fixed: object
) -> "Callable[[Background, Texture], Design]":
    """Returns what builds a class of `designs` from what it takes, and from what is fixed."""

    def made(background: "Background", texture: "Texture") -> "Design":
        from cropaudit.training.canaries import designs

        given = {"background": background, "texture": texture}
        design: Design = getattr(designs, kind)(*fixed, **{name: given[name] for name in takes})
        return design

    return made


def _register(name: str, words: str, kind: str, takes: str, *fixed: object) -> None:
    names = frozenset(takes.split())
    register(KnownDesign(name, words, _make(kind, names, *fixed), names))


_register("opposed", "one half of the classes, or the other", "Opposed", "background texture")
_register("label-only", "one label, or another", "LabelOnly", "background texture")
_register("bright", "a loud texture, or nothing", "BrightTexture", "texture")
_register("face", "a drawn face, or nothing", "ObjectPaste", "", "face")
_register("plate", "a drawn plate, or nothing", "ObjectPaste", "", "plate")
register(KnownDesign("real-object", "an object of the photograph, or it without", None))
