"""Oxford-IIIT Pet: ``images/*.jpg``, ``annotations/trimaps/*.png`` and two lists.

A trimap marks the pet by 1, its surroundings by 2 and what is not classified, the outline, by 3,
which is ignored. ``trainval.txt`` is trained on and ``test.txt`` validates: there is no third list.
The folder may be the one that holds ``oxford-iiit-pet``, as torchvision's class has it.
"""

from pathlib import Path

from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import Layout, Listing, by_list, folder_under, inner

__all__ = ["OXFORD_PET"]

_TOP, _TRIMAPS = "oxford-iiit-pet", "annotations/trimaps"


def _open(root: Path) -> Listing:
    top = inner(root, _TOP)
    images, masks = (folder_under(top, part, "oxford-pet") for part in ("images", _TRIMAPS))
    train, validation = (
        by_list(top / f"annotations/{split}.txt", images, masks, lambda line: line.split()[0])
        for split in ("trainval", "test")
    )
    return Listing(top, train, validation, ClassMap.of({2: "background", 1: "pet"}))


OXFORD_PET = Layout(
    kind="oxford-pet",
    structure=f"images/*.jpg, {_TRIMAPS}/*.png and annotations/{{trainval,test}}.txt",
    sign=lambda root: (inner(root, _TOP) / _TRIMAPS).is_dir(),
    open=_open,
)
