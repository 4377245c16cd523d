"""Whole games through the real pipeline: honest ones pass, mutants are found."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.attacks import probe as probing
from cropaudit.attacks.probe import Probe, ProbeScores, run_probe
from cropaudit.attacks.registry import ATTACKS
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.subject import Subject, prepare_subject
from cropaudit.audit.games import probe_game as games
from cropaudit.audit.games.game_entry import Played
from cropaudit.audit.games.probe_game import control_checks, probe_game
from cropaudit.audit.games.run_games import one_run_game
from cropaudit.audit.results.result import Verdict
from cropaudit.audit.verdict.claims import state_claim
from cropaudit.audit.verdict.verdict import decide
from cropaudit.estimators.scores import Scores
from cropaudit.training.crops.joint import Window, cut
from cropaudit.training.sampling.samplers import Poisson, batches

SAMPLERS = ["poisson", "fixed", "shuffle"]
LEVEL = 1 - 0.95


pytestmark = pytest.mark.usefixtures("one_thread")


@lru_cache
def subject(sampler: str = "poisson", **training: object) -> Subject:
    values = {
        "seed": 4,
        "patch": "6x8",
        "data": {"images": 6, "validation": 1, "size": "32x48"},
        "crop": {"size": "16x16"},
        "training": {
            "sampler": sampler,
            "batch": 4,
            "steps": 16,
            "noise_multiplier": 0.8,
            "max_grad_norm": 0.3,
            **training,
        },
        "game": {"probe_slots": 800, "control_slots": 1500, "canary_slots": 10},
    }
    return prepare_subject(AuditConfig.model_validate(values))


def verdict(audited: Subject, played: Played) -> Verdict:
    claim = state_claim(audited.config.claim, audited.mechanism, audited.config.game.delta)
    return decide(claim, played.shown, LEVEL, (), claim.epsilon, 2.0)


@lru_cache
def honest(sampler: str) -> tuple[Played, ProbeScores]:
    return probe_game(subject(sampler), None)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_honest_pipelines_pass(sampler: str) -> None:
    """The seed is fixed; over seeds a false violation has at most 1.7%, a failed control 0.3%."""
    audited = subject(sampler)
    played, result = honest(sampler)
    assert verdict(audited, played).status == "consistent"
    checks = control_checks(audited, result)
    assert [check.name for check in checks] == ["null control", "positive control", "record rate"]
    assert {check.status for check in checks} == {"pass"}, checks


@pytest.mark.parametrize("length", [{"steps": 22}, {"steps": None, "epochs": 2}], ids=str)
@pytest.mark.parametrize("batch", [3, 5, 7, 9, 16])
def test_shuffled_batches_need_not_divide_the_records(
    batch: int, length: dict[str, int | None]
) -> None:
    """With a short last batch a record takes part once an epoch: less often than batch / records.

    Controls are judged by that, not by the claim's rate. False-failure rate 4e-4 a case: the AUC
    of both controls beyond 4 deviations, hits beyond 5.
    """
    audited = subject("shuffle", batch=batch, **length)
    result = run_probe(games._probe(audited, 400, 3))
    checks = control_checks(audited, result)
    assert {check.status for check in checks} == {"pass"}, checks


# Faults that live in the pipeline, planted where the audit cannot see them.

Plant = Callable[[pytest.MonkeyPatch], None]


def noise_halved(patch: pytest.MonkeyPatch) -> None:
    def faulty(spec: Probe, progress: Callable[[int], None] | None = None) -> ProbeScores:
        return run_probe(
            dataclasses.replace(spec, noise_multiplier=spec.noise_multiplier / 2), progress
        )

    patch.setattr(games, "run_probe", faulty)


def crop_always_shows(patch: pytest.MonkeyPatch) -> None:
    def centred(
        image: Tensor, mask: Tensor, crop: Crop, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Looks at the image, as a crop that keeps the object in view does."""
        row, column = (int(at[0]) for at in torch.nonzero(image.amax(dim=0), as_tuple=True))
        height, width = mask.shape
        top, left = min(row, height - crop.size.height), min(column, width - crop.size.width)
        return cut(image, mask, Window(top, left), crop)

    patch.setattr(probing, "random_crop", centred)


def sampled_twice_as_often(patch: pytest.MonkeyPatch) -> None:
    def faulty(
        sampling: Poisson, records: int, steps: int, generator: torch.Generator
    ) -> Iterator[list[int]]:
        twice = dataclasses.replace(sampling, sample_rate=2 * sampling.sample_rate)
        return batches(twice, records, steps, generator)

    patch.setattr(probing, "batches", faulty)


def clips_to(times: float) -> Plant:
    """Clips to more than C, at noise for C: what a sensitivity of C for substitution amounts to."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def faulty(
            spec: Probe, slots: int, noise: torch.Generator
        ) -> tuple[nn.Module, DPOptimizer]:
            model, optimizer = private(spec, slots, noise)
            optimizer.max_grad_norm = times * spec.max_grad_norm
            optimizer.noise_multiplier = spec.noise_multiplier / times
            return model, optimizer

        private = probing._private_probe
        patch.setattr(probing, "_private_probe", faulty)

    return plant


FAULTS: dict[str, Plant] = {
    "half the noise": noise_halved,
    "crop always shows": crop_always_shows,
    "twice the rate": sampled_twice_as_often,
    "clips to 2C": clips_to(2.0),
    "no clipping": clips_to(1e6),
}
RATE_FAULTS = {"crop always shows", "twice the rate"}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_violations(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the record rate is off where, and only where, the fault is in crop or sampler."""
    audited = subject()
    FAULTS[fault](monkeypatch)
    played, result = probe_game(audited, None)
    found = verdict(audited, played)
    assert found.status == "violation", found
    assert found.ground in {"assumption-free", "given the family"}
    assert found.reasons
    null, _, rate = control_checks(audited, result)
    assert null.status == "pass", "worlds that are alike stay alike"
    assert rate.status == ("fail" if fault in RATE_FAULTS else "pass"), rate


@pytest.mark.parametrize("sampler", ["fixed", "shuffle"])
@pytest.mark.parametrize("fault", ["half the noise", "crop always shows"])
def test_faults_under_other_samplers(
    sampler: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = subject(sampler)
    FAULTS[fault](monkeypatch)
    played, result = probe_game(audited, None)
    assert verdict(audited, played).status == "violation"
    rate = control_checks(audited, result)[2]
    assert rate.status == ("fail" if fault in RATE_FAULTS else "pass"), rate


def test_a_leak_without_the_patch_fails_the_null_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the coin to steer anything but the patch, equal contents would still be told apart."""
    signals = probing._Block._gradients

    def leaky(block: probing._Block, indices: list[int]) -> tuple[Tensor, Tensor]:
        signal, met = signals(block, indices)
        return torch.where(block.member[indices, None], -signal, signal), met

    monkeypatch.setattr(probing._Block, "_gradients", leaky)
    result = run_probe(games._probe(subject(), 400, 3))
    assert control_checks(subject(), result)[0].status == "fail"


def test_a_probe_that_sees_nothing_fails_the_positive_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both contents drawn in one channel: the model cannot tell them apart."""
    image = probing._slot_image
    monkeypatch.setattr(probing, "_slot_image", lambda spec, channel: image(spec, 1))
    result = run_probe(games._probe(subject(), 400, 3))
    assert control_checks(subject(), result)[1].status == "fail"


# What a game does with its scores.


def test_levels_are_split_over_attacks_and_tests() -> None:
    played, _ = honest("poisson")
    attacks = subject().config.game.attacks
    assert attacks == ("probe", "white-box", "black-box")
    share = LEVEL / 3
    levels = [1 - item.corrected.confidence for item in played.shown]
    assert levels == pytest.approx([0.85 * share, *[0.05 * share] * 3])
    assert [bound.confidence for bound in played.attack.bounds] == pytest.approx([1 - LEVEL] * 2)
    strict, own = played.shown[0].corrected, played.attack.bounds[0]
    assert (strict.estimator, strict.validity) == (own.estimator, own.validity)
    assert strict.epsilon <= own.epsilon
    assert {bound.validity for bound in played.attack.bounds} == {"exact", "model-based"}


def test_the_threshold_in_the_report_is_a_planned_rank() -> None:
    played, result = honest("poisson")
    whole, threshold = Scores.labelled(result.scores[0], result.member), played.attack.threshold
    assert threshold in whole.nonmember
    assert (played.attack.true_positives, played.attack.false_positives) == whole.counts(threshold)


def test_one_test_that_no_member_allows_refutes_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores that part the worlds as no noise can: the exact bound stands in, and it is said."""
    audited, (_, result) = subject(), honest("poisson")
    perfect = dataclasses.replace(
        result, scores=np.where(result.member, 50.0, 0.0)[None].repeat(len(result.scores), axis=0)
    )
    monkeypatch.setattr(games, "run_probe", lambda spec, progress=None: perfect)
    played, _ = probe_game(audited, None)
    assert played.shown[0].corrected.outside
    assert played.shown[0].corrected.epsilon > 3
    found = verdict(audited, played)
    assert (found.status, found.ground) == ("violation", "assumption-free")


def test_scores_are_kept_as_they_were() -> None:
    played, result = honest("poisson")
    assert np.array_equal(played.table.values, result.scores[0])
    assert np.array_equal(played.table.member, result.member)


def test_the_thinned_curve_is_part_of_the_whole_one() -> None:
    played, result = honest("poisson")
    thin = played.attack.roc
    fpr, tpr = Scores.labelled(result.scores[0], result.member).roc()
    assert len(thin.fpr) <= 402
    assert set(zip(thin.fpr, thin.tpr, strict=True)) <= set(zip(fpr, tpr, strict=True))
    assert (thin.fpr[0], thin.tpr[0], thin.fpr[-1], thin.tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(thin.fpr) >= 0)
    assert np.all(np.diff(thin.tpr) >= 0)


@pytest.mark.parametrize("name", ["white-box", "black-box"])
def test_one_run_games_have_their_share_of_the_level(name: str) -> None:
    audited = subject()
    scores = np.where(audited.member, 3.0, 0.0) + np.arange(len(audited.member)) / 100
    played = one_run_game(audited, ATTACKS[name], scores, 1.5)
    (shown,) = played.shown
    assert played.attack.name == shown.attack == name
    assert (played.attack.threshold, played.attack.true_positives) == (None, None)
    assert (played.attack.auc, played.attack.seconds) == (1.0, 1.5)
    names = [bound.estimator for bound in played.attack.bounds]
    assert names == ["one-run-f-dp", "one-run-order-statistics", "one-run"]
    assert [bound.confidence for bound in played.attack.bounds] == pytest.approx([0.95] * 3)
    assert shown.corrected.confidence == pytest.approx(1 - LEVEL / 3)
    assert 0 <= shown.corrected.epsilon <= played.attack.bounds[0].epsilon


def test_equal_scores_of_one_run_show_nothing() -> None:
    audited = subject()
    played = one_run_game(audited, ATTACKS["black-box"], np.zeros(len(audited.member)), 0.0)
    assert [bound.epsilon for bound in played.attack.bounds] == [0.0] * 3
    assert played.shown[0].p_value == 1


def test_the_same_seed_plays_the_same_game() -> None:
    audited = subject()
    again, result = probe_game(audited, None)
    played, first = honest("poisson")
    assert np.array_equal(again.table.values, played.table.values)
    assert again.shown == played.shown
    same = {"seconds": 0.0}
    assert again.attack.model_copy(update=same) == played.attack.model_copy(update=same)
    assert np.array_equal(result.hits, first.hits)
