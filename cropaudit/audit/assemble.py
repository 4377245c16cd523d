"""Turns findings into the canonical document and the raw files beside it."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from cropaudit import __version__
from cropaudit.accounting.accountant import pair_curve, privacy_curve
from cropaudit.accounting.geometry import Crop
from cropaudit.audit.accounted import finite
from cropaudit.audit.claims import StatedClaim
from cropaudit.audit.digests import data_digest, sha256
from cropaudit.audit.result import (
    Attack,
    AuditReport,
    CanaryPicture,
    Check,
    Claim,
    Conformance,
    Curve,
    Headline,
    Identity,
    Pair,
    Provenance,
    Shortcut,
    Utility,
    Verdict,
)
from cropaudit.audit.run_files import config_bytes
from cropaudit.audit.subject import Subject

__all__ = ["Findings", "assemble", "library_versions", "raw_files"]

_LIBRARIES = ("torch", "torchvision", "opacus", "dp-accounting", "numpy", "scipy")
_NOT_COVERED = (
    "the same person or plate in several images: the bound holds for one image",
    "objects larger than the patch, and several patches in one image",
    "labels outside the patch that were drawn by looking at it",
    "choices made by looking at the data: tuning, early stopping, normalisation statistics",
    "floating-point attacks on the noise generator",
)


@dataclass(frozen=True, eq=False)
class Findings:
    """What the games and the training brought."""

    attacks: tuple[Attack, ...]
    controls: tuple[Check, ...]
    conformance: Conformance
    headline: Headline
    verdict: Verdict
    utility: Utility
    device: str
    command: str


def assemble(
    subject: Subject,
    claim: StatedClaim,
    findings: Findings,
    canaries: tuple[CanaryPicture, ...],
    raw: Mapping[str, bytes],
    seconds: float,
) -> AuditReport:
    """Returns the report of findings whose raw files are ``raw``."""
    config = json.loads(subject.config.model_dump_json())
    return AuditReport(
        identity=_identity(subject, raw),
        claim=_claim(subject, claim),
        pair=_pair(subject),
        attacks=findings.attacks,
        controls=findings.controls,
        conformance=findings.conformance,
        headline=findings.headline,
        verdict=findings.verdict,
        utility=findings.utility,
        canaries=canaries,
        not_covered=_not_covered(subject),
        provenance=Provenance(
            config=config,
            config_digest=sha256(raw["config.yaml"]),
            seed=subject.config.seed,
            command=findings.command,
            versions=library_versions(),
            hardware=f"{platform.machine()}, {findings.device}",
            seconds=round(seconds, 1),
            files={name: sha256(data) for name, data in sorted(raw.items())},
        ),
    )


def raw_files(
    subject: Subject, training: Mapping[str, bytes], scores: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Returns what an audit leaves beside its report, by name.

    Args:
        subject: What is audited.
        training: What the training left behind.
        scores: Of each attack, by its name.
    """
    files = {f"{name}.csv": data for name, data in scores.items()}
    return {**files, **training, "config.yaml": config_bytes(subject.config)}


def _identity(subject: Subject, raw: Mapping[str, bytes]) -> Identity:
    data = data_digest(subject.filled)
    created = datetime.now(UTC).replace(microsecond=0).isoformat()
    return Identity(
        report_id=sha256(f"{created} {data} {subject.config.model_dump_json()}".encode())[:16],
        tool_version=__version__,
        created=created,
        data_digest=data,
        model_digest=sha256(raw["model.safetensors"]),
    )


def _crop_words(crop: Crop) -> str:
    words = [str(crop.size)]
    if crop.mode != "constant":
        words.append(f"{crop.mode} padding")
    if crop.pad_if_needed:
        words.append("padded if needed")
    flips = (("horizontal", crop.horizontal_flip), ("vertical", crop.vertical_flip))
    words += [f"{name} flip {share:g}" for name, share in flips if share > 0]
    return ", ".join(words)


def _claim(subject: Subject, claim: StatedClaim) -> Claim:
    bound, training = subject.bound, subject.config.training
    return Claim(
        kind=claim.kind,
        statement=claim.statement,
        adjacency=bound.adjacency,
        epsilon=claim.epsilon,
        delta=claim.delta,
        sampler=bound.sampler,
        noise_multiplier=claim.noise_multiplier,
        configured_noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        records=subject.records,
        canary_records=subject.canary_records,
        canaries=len(subject.slots),
        batch=training.batch,
        sample_rate=bound.sample_rate,
        steps=bound.steps,
        image=bound.image,
        crop=_crop_words(subject.crop),
        padding=subject.crop.padding,
        patch=str(subject.patch),
        inclusion_probability=bound.inclusion_probability,
        worst_position=bound.worst_position,
        record_rate=bound.record_rate,
        epsilon_amplified=finite(bound.epsilon),
        epsilon_without_crop=finite(bound.epsilon_without_crop),
        epsilon_without_canaries=subject.epsilon_without_canaries,
        shortcuts=tuple(
            Shortcut(name=item.name, epsilon=item.epsilon, why_invalid=item.why_invalid)
            for item in bound.shortcuts
        ),
        tradeoff=_tradeoff(claim),
        profile=_profile(claim),
    )


def _tradeoff(claim: StatedClaim) -> Curve | None:
    if claim.curve is None:
        return None
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 160)])
    return Curve(fpr=tuple(fpr.tolist()), tpr=tuple(claim.curve.highest_tpr(fpr).tolist()))


def _profile(claim: StatedClaim) -> tuple[tuple[float, float], ...]:
    if claim.curve is None:
        return ((claim.epsilon, claim.delta),)
    epsilons = np.linspace(0, 1.6 * max(claim.epsilon, 0.1), 60)
    return tuple((float(e), claim.curve.delta(float(e))) for e in epsilons)


def _pair(subject: Subject) -> Pair:
    delta, mechanism = subject.config.game.delta, subject.mechanism
    played = pair_curve(mechanism.pair(), mechanism.compositions, delta).epsilon(delta)
    accountant = privacy_curve(mechanism, delta).epsilon(delta)
    ratio = played / accountant if accountant > 0 else 1.0
    return Pair(epsilon=played, miss_gradient=-1.0, accountant_ratio=ratio)


def _not_covered(subject: Subject) -> tuple[str, ...]:
    data = subject.config.data
    if data.folder is None or data.short_side is None:
        return _NOT_COVERED
    resized = (
        f"detail lost before training: photographs are resized to a short side of at most "
        f"{data.short_side} pixels, and the patch is measured at that size"
    )
    return (*_NOT_COVERED, resized)


def library_versions() -> dict[str, str]:
    """Returns the versions of cropaudit, Python and the libraries that decide what comes out."""
    found = {name: version(name) for name in _LIBRARIES}
    return {"cropaudit": __version__, "python": platform.python_version(), **found}
