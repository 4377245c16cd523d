"""What all attacks share: the run that is attacked, and how an attack describes itself.

An attack is one of a few kinds, by what its adversary looks at. Its description says that, what
else it needs, what it costs and whose idea it is; command line, configuration, games and reports
read all of it from there (`cropaudit.attacks.registry`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cropaudit.accounting.counts import averaged
from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.attacks.signals import Coins, Signals
from cropaudit.training.canaries.slots import CanarySlot
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.dpsgd.loop import StepView
from cropaudit.training.dpsgd.run_spec import DpSgdSpec
from cropaudit.training.sampling.samplers import Poisson, expected_batch

__all__ = ["AttackedRun", "Comparing", "Description", "Game", "Querying"]
__all__ += ["Watcher", "Watching", "Work", "looks", "queries"]

Array = NDArray[np.float64]
_FORWARD = 1 / 3  # of a gradient, at most: a backward pass takes twice as long


@dataclass(frozen=True, eq=False)
class AttackedRun:
    """What every adversary knows: the images, both contents of every canary, and the recipe.

    Attributes:
        data: The records with slots empty.
        slots: The canaries.
        spec: The run, but for its seed.
        windows: Crops that an adversary shows to a model, of each slot.
    """

    data: SegmentationData
    slots: Sequence[CanarySlot]
    spec: DpSgdSpec
    windows: int = 16

    @property
    def crop(self) -> CropLaw:
        """The law of the windows."""
        return self.spec.crop

    @cached_property
    def sample_rate(self) -> float:
        """Probability that a step uses a record, q."""
        sampling, records = self.spec.sampling, len(self.data)
        if isinstance(sampling, Poisson):
            return sampling.sample_rate
        return expected_batch(sampling, records) / records

    @property
    def apart(self) -> int:
        """Crops of one image whose gradients are clipped one by one: what it adds K times."""
        return self.spec.crops_per_image if self.spec.clipped == "apart" else 1

    def shown(self, inclusion: float) -> float:
        """Returns the probability that some crop of an image meets a patch, from that of one."""
        return averaged(inclusion, self.spec.crops_per_image)

    def loudness(self, inclusion: float) -> float:
        """Returns how many clipped gradients a patch adds on average, where some crop meets it.

        One, or of crops that are clipped apart the mean number that meet; of crops that are
        averaged first, one that meets is taken to outweigh those that do not.
        """
        return self.apart * inclusion / averaged(inclusion, self.apart) if inclusion else 1.0


@dataclass(frozen=True)
class Work:
    """The size of what is attacked, for the cost of an attack.

    Attributes:
        steps: T.
        expected: Crops in a batch.
        slots: Canaries.
        windows: Crops shown of each.
        options: The keys of the configuration's section for this game, if it has one.
    """

    steps: int
    expected: float
    slots: int
    windows: int
    options: Mapping[str, Any] = field(default_factory=dict)


def looks(work: Work, tried: int, others: int, every: int) -> float:
    """Returns the gradients of a watcher that tries crops of every slot every so many steps."""
    return math.ceil(work.steps / every) * (tried * work.slots + others)


def queries(work: Work) -> float:
    """Returns the gradients that showing every slot's crops, in both worlds, comes to."""
    return 2 * work.slots * work.windows * _FORWARD


class Watcher(Protocol):
    """Watches a run step by step, as an observer of `train`, and scores its slots."""

    def __call__(self, view: StepView, /) -> None:
        """Adds one step."""

    def scores(self) -> Array:
        """Returns the scores of all steps so far, shape (slots,); high means world A."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """How an attack describes itself.

    Attributes:
        name: What users type.
        title: What reports call it.
        access: What it looks at.
        adversary: What its adversary sees and knows, in words.
        beside: What else the adversary has or does, in words.
        model: What is attacked, in words; ``{model}`` stands for the model's name.
        source: Whose idea it is.
        cost: Gradients of a crop that it takes; a forward pass counts as a third of one.
        needs: What it must have beside the run: "nothing", "decoys" (contents that were not trained
            on), "references", or "references of world B".
    """

    name: str
    title: str
    access: str
    adversary: str
    beside: str = ""
    model: str
    source: str = ""
    cost: Callable[[Work], float]
    needs: str = "nothing"

    @property
    def references(self) -> bool:
        """Whether it takes models of the adversary's own."""
        return self.needs.startswith("references")


@dataclass(frozen=True, kw_only=True)
class Watching(Description):
    """Sees every noisy update of one run.

    Attributes:
        watch: Makes the observer of a run from a seed.
    """

    access: str = "every update"
    adversary: str = (
        "sees every noisy update, knows the images and both contents of every canary; "
        "does not know batches, windows or coins"
    )
    model: str = "the real model {model}, every update seen"
    watch: Callable[[AttackedRun, int], Watcher]


@dataclass(frozen=True, kw_only=True)
class Comparing(Description):
    """Sees the weights at both ends of one run.

    Attributes:
        score: Scores all slots of a run from the model before and after it, and a seed.
    """

    access: str = "both ends"
    adversary: str = (
        "sees the weights before the first and after the last update, knows the images "
        "and both contents of every canary"
    )
    model: str = "the real model {model}, before and after its training"
    score: Callable[[AttackedRun, nn.Module, nn.Module, int], Array]


_BESIDE = {
    "nothing": "has nothing else",
    "decoys": "has contents of the same kind that were not trained on",
    "references": "trains reference models through the same pipeline, in both worlds",
    "references of world B": "trains reference models through the same pipeline, in world B",
}


@dataclass(frozen=True, kw_only=True)
class Querying(Description):
    """Queries the released model on crops that show the patch.

    Attributes:
        score: Scores every slot of T targets, shape (T, S), high for world A, from their answers,
            and from the answers of R references on the same queries with their coins (R, S), true
            for world A; both are None where none are needed. No target's coin is ever passed. None
            where ``ask`` reads the model itself.
        ask: Scores all slots of a run from its released model and a seed.
        maps: Cells along each side of the loss maps that it learns from; 0 for none.
    """

    title: str = ""
    access: str = "final model"
    adversary: str = (
        "queries the released model on crops of the canary's image; knows both contents"
    )
    model: str = "the real model {model}, queried once trained"
    cost: Callable[[Work], float] = queries
    score: Callable[[Signals, Signals | None, Coins | None], Array] | None = None
    ask: Callable[[AttackedRun, nn.Module, int], Array] | None = None
    maps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or f"Black-box: {self.name}")
        object.__setattr__(self, "beside", self.beside or _BESIDE[self.needs])


@dataclass(frozen=True, kw_only=True)
class Game(Description):
    """A game of its own, of many runs or of the pipeline: part of an audit only."""

    access: str = "its own runs"
    adversary: str = "as the game says"
