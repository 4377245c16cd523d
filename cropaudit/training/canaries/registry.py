"""The designs of canaries under the names that users type: a new one is one `register` call.

Assumes nothing but names, so that a configuration is checked without torch: what builds a design
imports it when it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    """Makes a design known under its name.

    Raises:
        InputError: If the name is taken.
    """
    require(known.name not in DESIGNS, "canary design", "of a new name", known.name)
    DESIGNS[known.name] = known


def _opposed(background: "Background", texture: "Texture") -> "Design":
    from cropaudit.training.canaries.designs import Opposed

    return Opposed(background, texture)


def _label_only(background: "Background", texture: "Texture") -> "Design":
    from cropaudit.training.canaries.designs import LabelOnly

    return LabelOnly(None, background, texture)


def _bright(background: "Background", texture: "Texture") -> "Design":
    from cropaudit.training.canaries.designs import BrightTexture

    return BrightTexture(texture)


def _pasted(kind: str, background: "Background", texture: "Texture") -> "Design":
    from cropaudit.training.canaries.designs import ObjectPaste

    return ObjectPaste(kind)


_BOTH = frozenset({"background", "texture"})
register(KnownDesign("opposed", "one half of the classes, or the other", _opposed, _BOTH))
register(KnownDesign("label-only", "one label, or another", _label_only, _BOTH))
register(KnownDesign("bright", "a loud texture, or nothing", _bright, frozenset({"texture"})))
register(KnownDesign("face", "a drawn face, or nothing", partial(_pasted, "face")))
register(KnownDesign("plate", "a drawn plate, or nothing", partial(_pasted, "plate")))
register(KnownDesign("real-object", "an object of the photograph, or it without", None))
