"""Every attack by its name; to add one, describe it in a file of its own and list it here."""

from collections.abc import Mapping, MutableMapping, Sequence

from cropaudit.attacks.base import Comparing, Description, Querying, Watching
from cropaudit.attacks.black_box.differences import CALIBRATED, LOSS
from cropaudit.attacks.black_box.direct import BLACK_BOX
from cropaudit.attacks.black_box.joint import JOINT
from cropaudit.attacks.black_box.learned import LEARNED
from cropaudit.attacks.black_box.lira import LIRA_OFFLINE, LIRA_ONLINE
from cropaudit.attacks.black_box.quantile import QUANTILE
from cropaudit.attacks.black_box.references import REFERENCE
from cropaudit.attacks.black_box.rmia import RMIA
from cropaudit.attacks.probe import PROBE
from cropaudit.attacks.white_box.last_iterate import LAST_ITERATE
from cropaudit.attacks.white_box.likelihood_ratio import WHITE_BOX
from cropaudit.attacks.white_box.projected import PROJECTED
from cropaudit.attacks.white_box.two_world import TWO_WORLD
from cropaudit.errors import require

__all__ = ["ATTACKS", "OneRun", "one_run_attacks", "one_run_named", "querying"]

OneRun = Watching | Comparing | Querying
"""Attacks on one training run: what `attack` plays on a saved one, and an audit on its own."""

# From the strongest access to the weakest.
ATTACKS: MutableMapping[str, Description] = {
    attack.name: attack
    for attack in (
        PROBE,
        TWO_WORLD,
        WHITE_BOX,
        PROJECTED,
        LAST_ITERATE,
        REFERENCE,
        BLACK_BOX,
        LOSS,
        LIRA_ONLINE,
        LIRA_OFFLINE,
        RMIA,
        CALIBRATED,
        LEARNED,
        JOINT,
        QUANTILE,
    )
}


def one_run_attacks() -> tuple[OneRun, ...]:
    """Returns the attacks on one run, from the strongest access to the weakest."""
    return tuple(one for one in ATTACKS.values() if isinstance(one, OneRun))


def querying() -> Mapping[str, Querying]:
    """Returns the attacks that score a model's answers, by their names."""
    found = (one for one in ATTACKS.values() if isinstance(one, Querying))
    return {one.name: one for one in found if one.score is not None}


def one_run_named(names: Sequence[str]) -> tuple[OneRun, ...]:
    """Returns the attacks on one run of these names.

    Raises:
        InputError: If one is unknown or named twice, or there is none.
    """
    known = {item.name: item for item in one_run_attacks()}
    legal = f"one of {', '.join(known)}, or list"
    require(bool(names), "attack", legal, "none")
    for name in names:
        require(name in known, "attack", legal, name)
    require(len(set(names)) == len(names), "attack", "each named once", ", ".join(names))
    return tuple(known[name] for name in names)
