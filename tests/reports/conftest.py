"""A realistic report: every field filled, numbers as an audit of a small training would give."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import brentq
from scipy.stats import norm

from cropaudit.audit.result import AuditReport
from cropaudit.reports.store import sha256

HEIGHT, WIDTH, CROP, PATCH = 128, 256, 63, 10
ROW, COLUMN = 59, 120
DELTA = 1 / 2975
TRUE_MU = 2.05
RAW = {"raw/probe_scores.json": b"[0.1, 0.7]", "raw/claim.json": b"{}"}


def _hits(length: int) -> np.ndarray:
    """Share of the windows on one axis that meet the patch, by the patch's place."""
    places, last = np.arange(length - PATCH + 1), length - CROP
    low, high = np.maximum(0, places - CROP + 1), np.minimum(last, places + PATCH - 1)
    return (high - low + 1) / (last + 1)


def build_inclusion() -> np.ndarray:
    return np.outer(_hits(HEIGHT), _hits(WIDTH))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _street() -> tuple[np.ndarray, np.ndarray]:
    """A picture that looks somewhat like a street, and its labels."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.empty((HEIGHT, WIDTH, 3))
    image[:] = (160, 190, 220) - np.multiply.outer(y, (0.5, 0.3, 0.1))
    labels = np.full((HEIGHT, WIDTH, 3), (70.0, 130.0, 180.0))
    for left, top, right in ((0, 22, 62), (70, 38, 105), (168, 30, 215), (222, 12, 256)):
        house = (x >= left) & (x < right) & (y >= top) & (y < 84)
        image[house] = rng.uniform(90, 190, 3)
        windows = house & ((x - left) % 12 > 6) & ((y - top) % 14 > 8)
        image[windows] *= 0.55
        labels[house] = (70, 70, 70)
    ground = y >= 84
    image[ground], labels[ground] = (120, 118, 116), (244, 35, 232)
    road = ground & (np.abs(x - 128) < 20 + 2.4 * (y - 84))
    image[road], labels[road] = (88, 88, 92), (128, 64, 128)
    image += rng.normal(0, 7, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def build_pictures() -> dict[str, bytes]:
    image, labels = _street()
    result = {}
    patch = np.s_[ROW : ROW + PATCH, COLUMN : COLUMN + PATCH]
    for world, colour, label in (("a", (235, 60, 40), (220, 20, 60)), ("b", None, None)):
        shown, marked = image.copy(), labels.copy()
        if colour is not None:
            shown[patch], marked[patch] = colour, label
        result[f"pictures/slot0_{world}.png"] = _png(shown)
        result[f"pictures/slot0_labels_{world}.png"] = _png(marked)
        if world == "a":
            result["pictures/slot0_hit.png"] = _png(shown[40 : 40 + CROP, 90 : 90 + CROP])
            result["pictures/slot0_miss.png"] = _png(shown[40 : 40 + CROP, 180 : 180 + CROP])
    return result


def _roc(mean: float, games: int) -> tuple[dict, float]:
    """Staircase of a Gaussian attack at ``games`` games a world, and its area."""
    false = np.unique(np.r_[0, np.geomspace(1, games, 60).round(), games]) / games
    true = np.floor(norm.cdf(norm.ppf(false) + mean) * games) / games
    true[0], true[-1] = np.floor(norm.cdf(norm.ppf(0.3 / games) + mean) * games) / games, 1.0
    return {"fpr": tuple(false), "tpr": tuple(true)}, float(norm.cdf(mean / math.sqrt(2)))


def _bound(estimator: str, epsilon: float, validity: str, assumes: str, **more: object) -> dict:
    return {
        "estimator": estimator,
        "epsilon": epsilon,
        "delta": DELTA,
        "confidence": 0.95,
        "validity": validity,
        "assumes": assumes,
        **more,
    }


def _attacks() -> list[dict]:
    probe, probe_auc = _roc(TRUE_MU, 10_000)
    white, white_auc = _roc(1.2, 400)
    black, black_auc = _roc(0.15, 200)
    independent = "Independent games"
    return [
        {
            "name": "probe",
            "title": "Pipeline probe",
            "adversary": "Sees every noisy update of a probe model, knows the claim",
            "game": "10,000 runs of each world, each with fresh sampling, crops and noise",
            "members": 10_000,
            "nonmembers": 10_000,
            "auc": probe_auc,
            "tpr_at_fpr": {"0.01": 0.3812, "0.001": 0.1546, "0.00001": 0.0123},
            "threshold": 3.412,
            "false_positives": 3,
            "true_positives": 861,
            "roc": probe,
            "bounds": [
                _bound("Clopper-Pearson", 4.1278, "exact", independent, cap=7.90),
                _bound(
                    "mechanism f-DP",
                    6.4789,
                    "model-based",
                    "Independent games, and a mechanism of the claimed family",
                    cap=9.2,
                    note="Rejecting the claimed curve needs no assumption on the family.",
                ),
            ],
            "seconds": 512.3,
        },
        {
            "name": "whitebox",
            "title": "White box, one run with 800 canaries",
            "adversary": "Sees every noisy update of the segmentation model, knows the canaries",
            "game": "One training; each canary's content drawn by an independent coin",
            "members": 400,
            "nonmembers": 400,
            "auc": white_auc,
            "tpr_at_fpr": {"0.01": 0.125, "0.001": 0.02},
            "threshold": None,
            "false_positives": None,
            "true_positives": None,
            "roc": white,
            "bounds": [
                _bound("order statistics", 2.0349, "exact", "Canaries act as product channels"),
                _bound("joint beta", 2.309, "credible", "Jeffreys priors", cap=4.0),
            ],
            "seconds": 3120.0,
        },
        {
            "name": "blackbox",
            "title": "Black box, final model",
            "adversary": "Queries the final model",
            "game": "One training; losses around each canary",
            "members": 200,
            "nonmembers": 200,
            "auc": black_auc,
            "tpr_at_fpr": {"0.01": 0.015},
            "threshold": 0.0,
            "false_positives": 0,
            "true_positives": 2,
            "roc": black,
            "bounds": [_bound("Clopper-Pearson", 0.0, "exact", independent, cap=3.99)],
            "seconds": 41.0,
        },
    ]


def _gaussian_delta(mu: float, epsilon: float) -> float:
    """Privacy profile of the Gaussian mechanism (Balle and Wang 2018)."""
    upper, lower = norm.cdf(mu / 2 - epsilon / mu), norm.cdf(-mu / 2 - epsilon / mu)
    return float(upper - math.exp(epsilon) * lower)


def _claim() -> dict:
    tradeoff = np.unique(np.r_[0, np.geomspace(1e-6, 1, 200)])
    mu = float(brentq(lambda mu: _gaussian_delta(mu, 4.2001) - DELTA, 0.5, 3.0))
    limit = norm.cdf(norm.ppf(tradeoff) + mu)
    epsilons = np.linspace(0, 8, 60)
    deltas = [_gaussian_delta(mu, epsilon) for epsilon in epsilons]
    return {
        "kind": "shortcut",
        "statement": "The training is (4.2, 1/2975)-DP for one 10x10 patch, by multiplying the "
        "sampling rate with the probability that a crop meets the patch.",
        "adjacency": "Two datasets are neighbours if they hold the same images but one, and that "
        "one differs only inside one 10x10 patch, in pixels and labels (substitution).",
        "epsilon": 4.2001,
        "delta": DELTA,
        "sampler": "poisson",
        "noise_multiplier": 1.0,
        "configured_noise_multiplier": 1.0,
        "max_grad_norm": 1.0,
        "records": 2975,
        "canary_records": 800,
        "canaries": 800,
        "batch": 200,
        "sample_rate": 200 / 2975,
        "steps": 1500,
        "image": f"{HEIGHT}x{WIDTH}",
        "crop": f"{CROP}x{CROP}",
        "padding": 0,
        "patch": f"{PATCH}x{PATCH}",
        "inclusion_probability": float(build_inclusion().max()),
        "worst_position": (ROW, COLUMN),
        "record_rate": 0.0218,
        "epsilon_amplified": 7.4501,
        "epsilon_without_crop": 31.3201,
        "epsilon_without_canaries": 11.6143,
        "shortcuts": [
            {
                "name": "add/remove accountant at rate qρ",
                "epsilon": 4.2001,
                "why_invalid": "Replacing a patch moves a clipped gradient by up to 2C, not C.",
            },
            {
                "name": "replace-one accountant at rate qρ",
                "epsilon": 7.2691,
                "why_invalid": "A crop that misses still gives a gradient; exact values exceed it.",
            },
        ],
        "tradeoff": {"fpr": tuple(tradeoff), "tpr": tuple(limit)},
        "profile": list(zip(epsilons, deltas, strict=True)),
    }


def build_report() -> AuditReport:
    return AuditReport.model_validate(
        {
            "identity": {
                "report_id": "2026-03-11-7f3a",
                "tool_version": "0.1.0",
                "created": "2026-03-11T14:02:09Z",
                "data_digest": sha256(b"data"),
                "model_digest": sha256(b"model"),
            },
            "claim": _claim(),
            "pair": {"epsilon": 7.3322, "miss_gradient": -1.0, "accountant_ratio": 0.984},
            "attacks": _attacks(),
            "controls": [
                {
                    "name": "Null control: both worlds hold content A",
                    "expected": "AUC within 0.5 ± 0.02",
                    "observed": "0.503 at 10,000 + 10,000 games",
                    "status": "pass",
                },
                {
                    "name": "Positive control: no noise",
                    "expected": "AUC above 0.99",
                    "observed": "skipped, because the budget was spent",
                    "status": "skipped",
                },
            ],
            "conformance": {
                "level": 0.01,
                "checks": [
                    {
                        "name": "window law",
                        "expected": "origins are uniform",
                        "observed": "3,000 windows of 64x64",
                        "status": "pass",
                    },
                    {
                        "name": "steps and rate",
                        "expected": "batches of 0.0672 of the records",
                        "observed": "0.0701, p = 0.0004",
                        "status": "fail",
                    },
                ],
                "delivered": {
                    "epsilon_low": 6.9,
                    "epsilon_high": 7.9,
                    "claimed": 7.4543,
                    "confidence": 0.95,
                    "limits": ["sampling rate 0.0685 to 0.0718 (OUTSIDE, claimed 0.0672)"],
                },
            },
            "headline": {
                "epsilon_lower": 6.4789,
                "delta": DELTA,
                "confidence": 0.95,
                "attack": "Pipeline probe",
                "estimator": "mechanism f-DP",
                "validity": "model-based",
                "correction": "corrected by Holm's method for 5 bounds of 3 attacks",
            },
            "verdict": {
                "status": "violation",
                "ground": "assumption-free",
                "detail": "The pipeline probe rejects the claimed trade-off curve at its "
                "pre-registered threshold: 861 of 10,000 members were found at 3 of 10,000 "
                "false positives, where the claim allows at most 1.6% of members.",
                "reasons": [
                    "The claim uses an accountant for adding and removing records.",
                    "The accountant with crops gives ε 7.46, which the bound respects.",
                ],
                "detectable_epsilon": 4.9123,
                "not_probed": ["Leaks in rare runs only.", "Crops that react to <content>."],
            },
            "utility": {
                "miou": 0.4312,
                "miou_without_noise": 0.5127,
                "miou_constant": 0.0214,
                "per_class": {"road": 0.912, "building": 0.71, "person": 0.102, "train": None},
                "per_class_without_noise": {
                    "road": 0.934,
                    "building": 0.78,
                    "person": 0.341,
                    "train": None,
                },
                "images": 500,
            },
            "canaries": [
                {
                    "slot": 0,
                    "name": "bright patch, one odd label",
                    "position": (ROW, COLUMN),
                    "world": "A",
                    "world_a": "pictures/slot0_a.png",
                    "world_b": "pictures/slot0_b.png",
                    "crop_hit": "pictures/slot0_hit.png",
                    "crop_miss": "pictures/slot0_miss.png",
                    "labels_a": "pictures/slot0_labels_a.png",
                    "labels_b": "pictures/slot0_labels_b.png",
                }
            ],
            "not_covered": [
                "The same person in several images: see the group ε.",
                "Objects larger than 10x10 pixels.",
            ],
            "provenance": {
                "config": {
                    "claim": {"delta": DELTA, "kind": "shortcut"},
                    "training": {"batch": 200, "crop": 63, "noise_multiplier": 1.0},
                    "attacks": ["probe", "whitebox", "blackbox"],
                },
                "config_digest": sha256(b"config"),
                "seed": 20260311,
                "command": "cropaudit run cityscapes.yaml --out runs/cityscapes",
                "versions": {"python": "3.11.7", "torch": "2.6.0", "cropaudit": "0.1.0"},
                "hardware": "2 CPU cores, no accelerator",
                "seconds": 3688.4,
                "files": {name: sha256(data) for name, data in RAW.items()},
            },
        }
    )


@pytest.fixture(scope="session")
def report() -> AuditReport:
    return build_report()


@pytest.fixture(scope="session")
def inclusion() -> np.ndarray:
    return build_inclusion()


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    return build_pictures()


@pytest.fixture
def raw() -> dict[str, bytes]:
    return dict(RAW)
