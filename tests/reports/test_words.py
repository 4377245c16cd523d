"""What a signer reads beside the figures: which data, what was attacked, what a claim is worth."""

import math
import re

import pytest

from cropaudit.audit.result import AuditReport, Claim, Utility
from cropaudit.reports import words


def changed(report: AuditReport, **values: object) -> Claim:
    return report.claim.model_copy(update=values)


@pytest.mark.parametrize(
    ("total", "added", "canaries", "text"),
    [
        (256, 96, 96, "160 images + 96 canaries"),
        (104, 40, 40, "64 images + 40 canaries"),
        (160, 0, 96, "160 images, 96 canaries in them"),
        (184, 24, 96, "160 images + 24 records of 96 canaries"),
        (160, 0, 0, "160 images"),
    ],
)
def test_records_are_told_apart(total: int, added: int, canaries: int, text: str) -> None:
    assert words.records(total, added, canaries) == text


def test_the_images_alone_have_an_epsilon_only_where_canaries_add_records() -> None:
    assert words.alone(160, 7.7501, 96) == "epsilon <= 7.76 for the 160 images without the canaries"
    assert words.alone(160, 7.7501, 0) is None
    assert words.alone(160, None, 96) is None


def test_a_claim_of_33_is_told_to_be_worth_nothing(report: AuditReport) -> None:
    """Of a bare epsilon of 33 the best test finds every patch at any rate that matters."""
    text = words.worth(changed(report, epsilon=33.0, tradeoff=None, delta=1e-5))
    assert "100% of patches at 1%" in text
    assert "10^14.4 times" in text  # e^33 = 2.1e14
    assert text.endswith("practically no protection against such an attacker")


def test_a_small_claim_is_not_belittled(report: AuditReport) -> None:
    text = words.worth(changed(report, epsilon=0.5, tradeoff=None, delta=1e-5))
    assert "1.65 times" in text
    assert "1.65% of patches at 1%" in text
    assert "protection" not in text


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 4.45, 33.0, 800.0, 1e6])
def test_worth_takes_every_epsilon(report: AuditReport, epsilon: float) -> None:
    assert words.worth(changed(report, epsilon=epsilon, tradeoff=None)).startswith("epsilon ")


def test_worth_is_read_off_the_claimed_curve_upwards(report: AuditReport) -> None:
    """The next point of the tabulated curve: never below the curve itself, which rises."""
    curve = report.claim.tradeoff
    assert curve is not None
    above = next(t for f, t in zip(curve.fpr, curve.tpr, strict=True) if f >= 0.01)
    shown = re.search(r"up to ([\d.]+)% of patches at 1%", words.worth(report.claim))
    assert shown is not None
    assert float(shown[1]) == pytest.approx(100 * above, rel=5e-3)


def utility(**values: object) -> Utility:
    base = {
        "miou": 0.3,
        "miou_constant": 0.1,
        "miou_without_noise": 0.5,
        "per_class": {},
        "per_class_without_noise": {},
        "images": 4,
    }
    return Utility.model_validate(base | values)


def test_a_model_that_learned_nothing_is_called_so() -> None:
    assert words.learning(utility()) is None
    text = words.learning(utility(miou=0.002, miou_constant=0.02, miou_without_noise=0.005))
    assert text is not None
    assert "learned nothing: mIoU 0.002 is no better than 0.020" in text
    assert "without noise it learns nothing either (0.005)" in text
    text = words.learning(utility(miou=0.1))
    assert text is not None
    assert text.endswith("without noise it reaches 0.500")
    text = words.learning(utility(miou=0.1, miou_without_noise=None))
    assert text is not None
    assert text.endswith("everywhere")


def test_every_attack_says_what_it_attacked_and_what_it_could_have_shown(
    report: AuditReport,
) -> None:
    names = ("probe", "white-box", "black-box")
    renamed = tuple(
        item.model_copy(update={"name": name})
        for item, name in zip(report.attacks, names, strict=True)
    )
    config = {"training": {"model": "small-unet"}}
    provenance = report.provenance.model_copy(update={"config": config})
    told = report.model_copy(update={"attacks": renamed, "provenance": provenance})
    lines = dict(words.attacked(told))
    probe, white, black = (lines[item.title] for item in renamed)
    assert "worst-case gradients in place of a model's" in probe
    assert "the real model small-unet, every update seen" in white
    assert "epsilon >= 0, could have shown 3.99 at most" in black
    assert math.isclose(renamed[2].bounds[0].cap or 0, 3.99)
