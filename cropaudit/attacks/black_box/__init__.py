"""Black-box attacks: what a released model's answers on crops tell about the contents of patches.

The adversary queries the final model on crops that show a patch, knows both contents of every slot
and the whole recipe of training, but no coin; some train reference models of their own. The module
`collecting` asks, `registry` lists the attacks by name, `references` trains what they need.
"""

from cropaudit.attacks.black_box.base import Attack
from cropaudit.attacks.black_box.collecting import collect, collect_one
from cropaudit.attacks.black_box.direct import black_box_scores
from cropaudit.attacks.black_box.registry import ATTACKS, attack_named
from cropaudit.attacks.black_box.signals import Decoys, Signals

__all__ = [
    "ATTACKS",
    "Attack",
    "Decoys",
    "Signals",
    "attack_named",
    "black_box_scores",
    "collect",
    "collect_one",
]
