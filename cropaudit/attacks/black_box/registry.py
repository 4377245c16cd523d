"""The black-box attacks under the names that users give, and what each needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cropaudit.attacks.black_box.base import Attack
from cropaudit.attacks.black_box.calibrated import CalibratedDifference
from cropaudit.attacks.black_box.joint import Joint
from cropaudit.attacks.black_box.learned import Learned
from cropaudit.attacks.black_box.lira import LiraOffline, LiraOnline
from cropaudit.attacks.black_box.loss import LossDifference
from cropaudit.attacks.black_box.quantile import QuantileRegression
from cropaudit.attacks.black_box.rmia import Rmia
from cropaudit.errors import InputError

__all__ = ["ATTACKS", "Entry", "Needs", "attack_named"]

Needs = Literal["nothing", "references", "references of world B", "decoys"]


@dataclass(frozen=True)
class Entry:
    """An attack as users know it.

    Attributes:
        attack: With its default settings.
        needs: What the adversary must have beside the released model.
        source: Whose idea it is.
    """

    attack: Attack
    needs: Needs
    source: str


ATTACKS: Mapping[str, Entry] = MappingProxyType(
    {
        "loss": Entry(LossDifference(), "nothing", "Yeom et al. 2018"),
        "lira-online": Entry(LiraOnline(), "references", "Carlini et al. 2022"),
        "lira-offline": Entry(LiraOffline(), "references of world B", "Carlini et al. 2022"),
        "rmia": Entry(Rmia(), "references", "Zarifzadeh et al. 2024"),
        "calibrated": Entry(CalibratedDifference(), "references", "Watson et al. 2022"),
        "learned": Entry(Learned(), "references", "Shokri et al. 2017"),
        "joint": Entry(Joint(), "references", "Madhow and Honig 1994"),
        "quantile": Entry(QuantileRegression(), "decoys", "Bertran et al. 2023"),
    }
)


def attack_named(name: str) -> Attack:
    """Returns the attack of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in ATTACKS:
        raise InputError(f"attack must be one of {', '.join(ATTACKS)}, got {name}")
    return ATTACKS[name].attack
