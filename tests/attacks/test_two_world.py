"""The scorer of many runs against a plain formula, and what its adversaries can and cannot do."""

import math

import numpy as np
import pytest
import torch

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.attacks.strata import StratifiedWindows
from cropaudit.attacks.two_world import (
    KnownBackground,
    Looks,
    Target,
    TwoWorldScorer,
    UnknownBackground,
)
from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot, filled, plant
from cropaudit.training.canaries.backgrounds import Background, Ignore, Sparse
from cropaudit.training.canaries.designs import LabelOnly
from cropaudit.training.canaries.textures import NaturalTexture
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec
from cropaudit.training.ensemble import EnsembleStep, train_ensemble
from cropaudit.training.foreground import as_foreground
from cropaudit.training.initial import level_start
from cropaudit.training.models import build_model
from cropaudit.training.samplers import Poisson
from cropaudit.training.scenes import street_scenes
from cropaudit.training.stacked import StackedModels
from cropaudit.training.worlds import members_of_coins

pytestmark = pytest.mark.usefixtures("one_thread")

CROP, RATE, CLIP, NOISE = Crop(Size(16, 16)), 0.5, 0.1, 0.7


def planted(background: Background) -> tuple[SegmentationData, CanarySlot]:
    scenes = street_scenes(5, Size(24, 28), 1)
    data = as_foreground(scenes, ["road", "pavement"])
    design = LabelOnly((1, 0), background, NaturalTexture())
    empty, slots = plant(data, design, 1, CROP, Rectangle(Size(6, 6)), 2)
    return empty, slots[0]


def played(
    empty: SegmentationData,
    slot: CanarySlot,
    member: np.ndarray,
    steps: int,
    *,
    noise: float = NOISE,
    adversary: KnownBackground | UnknownBackground | None = None,
    looks: Looks | None = None,
) -> tuple[np.ndarray, list[EnsembleStep]]:
    model = level_start(build_model("tiny-net", 2, 0))
    models = StackedModels(model)
    target = Target(empty, slot, CROP, RATE, CLIP)
    scorer = TwoWorldScorer(models, target, [NOISE], 5, adversary=adversary, looks=looks)
    seen: list[EnsembleStep] = []

    def observe(view: EnsembleStep) -> None:
        scorer(view)
        copied = view.parameters.clone()
        seen.append(
            EnsembleStep(
                view.step,
                copied,
                view.noisy_sum.clone(),
                view.member,
                view.record,
                view.windows,
                view.clipped,
            )
        )

    spec = DpSgdSpec("tiny-net", CROP, Poisson(RATE), steps, noise, CLIP, 0.5)
    group = members_of_coins(empty, [slot], member[:, None], list(range(len(member))))
    train_ensemble(group, spec, observe=observe, initial=models.flatten(model))
    return scorer.scores()[0], seen


@pytest.mark.numeric
@pytest.mark.parametrize("background", [Ignore(), Sparse()])
def test_with_every_window_tried_the_score_is_the_exact_likelihood_ratio(
    background: Background,
) -> None:
    """The oracle enumerates the windows; its adversary knows what all others added."""
    empty, slot = planted(background)
    law = windows_of(slot, empty.masks[slot.record], CROP)
    places = np.argwhere(law.weights[:, None, None] * np.ones_like(law.shown) > 0)
    hits = int((law.shown[0] > 0).sum())
    many = Looks(hits=hits, misses=max(1, len(places) - hits))
    member = np.array([True, False])
    found, steps = played(empty, slot, member, 2, looks=many)
    models = StackedModels(build_model("tiny-net", 2, 0))
    wanted = np.zeros(2)
    for view in steps:
        rest = view.record != slot.record
        seen = view.noisy_sum.clone()
        seen.index_add_(0, view.member[rest], view.clipped[rest], alpha=-1.0)
        for number in range(2):
            logs = []
            for world in (True, False):
                content = filled(empty, slot, world_a=world)
                windows = [Window(int(t), int(x)) for _, t, x in places]
                images, masks = zip(*(cut(*content, w, CROP) for w in windows), strict=True)
                rows = view.parameters[number].expand(len(windows), -1)
                own = models.clipped(rows, torch.stack(images), torch.stack(masks), CLIP).double()
                distance = (seen[number].double() - own).square().sum(dim=1)
                plain = seen[number].double().square().sum()
                gains = (plain - distance) / (2 * (NOISE * CLIP) ** 2)
                logs.append(float(torch.log(1 - RATE + RATE * torch.exp(gains).mean())))
            wanted[number] += logs[0] - logs[1]
    assert found == pytest.approx(wanted, abs=2e-3)


def test_the_known_background_leaves_noise_and_the_target_alone() -> None:
    """Without noise, a run whose batches never held the target gives exactly the empty score."""
    empty, slot = planted(Ignore())
    member = np.arange(24) < 12
    scores, steps = played(empty, slot, member, 3, noise=0.0)
    took = torch.zeros(24, dtype=torch.bool)
    for view in steps:
        took[view.member[view.record == slot.record]] = True
    assert 0 < int((~took).sum()) < 24
    # What an absent target gives is the same for all: the likelihoods of nothing.
    absent = scores[~took.numpy()]
    assert np.ptp(absent) < 0.05 * np.ptp(scores)
    hit = scores[took.numpy() & member].mean() - scores[took.numpy() & ~member].mean()
    assert hit > 3


@pytest.mark.parametrize(
    ("adversary", "least"), [(KnownBackground(), 0.9), (UnknownBackground(), 0.55)]
)
def test_power(adversary: KnownBackground | UnknownBackground, least: float) -> None:
    """40 runs of 8 steps; the AUCs are 0.98 and 0.7 here, and chance has a deviation of 0.09."""
    empty, slot = planted(Sparse())
    member = np.arange(40) < 20
    scores, _ = played(empty, slot, member, 8, adversary=adversary)
    auc = (scores[:20, None] > scores[None, 20:]).mean()
    print(auc)
    assert auc > least


@pytest.mark.numeric
@pytest.mark.parametrize("adversary", [KnownBackground(), UnknownBackground()])
def test_null_equal_worlds_give_a_score_of_exactly_nothing(
    adversary: KnownBackground | UnknownBackground,
) -> None:
    empty, slot = planted(Sparse())
    same = CanarySlot(**{**vars(slot), "texture_a": slot.texture_b, "labels_a": slot.labels_b})
    scores, _ = played(empty, same, np.arange(8) < 4, 3, adversary=adversary)
    assert np.abs(scores).max() < 1e-9


def test_kept_gradients_change_the_score_and_nothing_else() -> None:
    empty, slot = planted(Sparse())
    member = np.arange(6) < 3
    often, first = played(empty, slot, member, 4)
    rarely, second = played(empty, slot, member, 4, looks=Looks(refresh=4))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.noisy_sum, other.noisy_sum)
    assert not np.allclose(often, rarely)
    assert np.isfinite(rarely).all()


def test_looks_are_checked() -> None:
    with pytest.raises(InputError, match="hits must be at least 1, got 0"):
        Looks(hits=0)
    empty, slot = planted(Ignore())
    models = StackedModels(build_model("tiny-net", 2, 0))
    scorer = TwoWorldScorer(models, Target(empty, slot, CROP, RATE, CLIP), [1.0], 0)
    with pytest.raises(InputError, match="steps must be at least one, got 0"):
        scorer.scores()


def test_each_stratum_is_equally_likely() -> None:
    """One window of each of four strata: every window comes at its share of the crop's law."""
    empty, slot = planted(Ignore())
    law = windows_of(slot, empty.masks[slot.record], CROP)
    strata = StratifiedWindows(law, law.hits(), 4)
    assert strata.probability == pytest.approx(slot.inclusion)
    generator = np.random.default_rng(0)
    counts = np.zeros(law.shown.shape[1:])
    draws = 3000
    for _ in range(draws):
        picked = strata.draw(generator)
        assert len(picked) == 4
        shown = [law.shown[0, w.top, w.left] for w in picked]
        assert shown == sorted(shown)
        for window in picked:
            counts[window.top, window.left] += 1
    hits = law.shown[0] > 0
    expected = 4 * draws / hits.sum()
    assert not counts[~hits].any()
    # Six deviations in each of at most 117 places: a false failure in 1e-7 of all seeds.
    assert np.abs(counts[hits] - expected).max() < 6 * math.sqrt(expected)


def test_no_window_of_a_kind_is_no_stratum() -> None:
    empty, slot = planted(Ignore())
    law = windows_of(slot, empty.masks[slot.record], CROP)
    none = StratifiedWindows(law, np.zeros_like(law.shown, dtype=bool), 3)
    assert (none.probability, none.strata) == (0.0, 0)
    assert none.draw(np.random.default_rng(0)) == []
