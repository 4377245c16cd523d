"""Plays attacks on a saved run.

The coins are those of the run; no attack is shown them. Attacks that watch the training share one
replay, and those that query the model share its answers and the reference models.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED
from cropaudit.attacks.black_box.registry import attack_named
from cropaudit.attacks.last_iterate import RunFacts, last_iterate_scores
from cropaudit.audit.attack_names import KnownAttack
from cropaudit.audit.reference_models import (
    Asking,
    References,
    ask_references,
    ask_target,
    made_decoys,
)
from cropaudit.audit.saved_run import SavedRun, replay
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.audit.stages import Stage
from cropaudit.audit.subject import Subject
from cropaudit.audit.watchers import Watcher, projected_watcher, white_box_watcher
from cropaudit.training.streams import spawn_seeds

__all__ = ["Settings", "mechanism_text", "play", "scores_csv"]

Scored = dict[str, NDArray[np.float64]]
_MAPS = 4  # cells along each side of the loss maps


@dataclass(frozen=True)
class Settings:
    """How attacks are played.

    Attributes:
        windows: Crops shown of each slot.
        references: Reference models.
        seed: Of all draws of the attacks; none of the training's.
    """

    windows: int
    references: int
    seed: int


def play(
    run: SavedRun, attacks: Sequence[KnownAttack], settings: Settings, stage: Stage
) -> tuple[ScoreTable, ...]:
    """Plays attacks.

    Args:
        run: The run.
        attacks: Which.
        settings: How.
        stage: As in `run_audit`.

    Raises:
        InputError: If an attack cannot be played on this run.
    """
    found: Scored = {}
    names = {attack.name for attack in attacks}
    # Queries first: what is wrong with them is then told before an hour of replay.
    asked = [attack for attack in attacks if attack.access == "final model"]
    if asked:
        found |= _asked(run, asked, settings, stage)
    if "last-iterate" in names:
        stage("Last iterate", 0)
        found["last-iterate"] = _last_iterate(run, settings)
    watchers = _watchers(run.subject, names, settings.seed)
    if watchers:
        steps = run.subject.bound.steps
        replay(run, list(watchers.values()), stage("Replay, watched", steps))
        found |= {name: watcher.scores() for name, watcher in watchers.items()}
    member = run.subject.member
    return tuple(ScoreTable(item.name, found[item.name], member) for item in attacks)


def scores_csv(tables: Sequence[ScoreTable]) -> bytes:
    """Returns the scores of all attacks as a CSV that ``cropaudit estimate`` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["attack", "score", "member"])
    for table in tables:
        rows = zip(table.values, table.member, strict=True)
        writer.writerows((table.attack, repr(float(v)), int(m)) for v, m in rows)
    return text.getvalue().encode()


def mechanism_text(mechanism: PatchMechanism) -> str:
    """Returns a mechanism as ``cropaudit estimate --mechanism`` takes it."""
    words = (
        f"{mechanism.kind}:noise={mechanism.noise_multiplier!r},q={mechanism.sample_rate!r},"
        f"rho={mechanism.inclusion!r},steps={mechanism.steps}"
    )
    if mechanism.kind not in ORDERED:
        return words
    return f"{words},epochs={mechanism.compositions}"


def _watchers(subject: Subject, names: set[str], seed: int) -> Mapping[str, Watcher]:
    found: dict[str, Watcher] = {}
    one, other = spawn_seeds(np.random.SeedSequence([seed, 0]), 2)
    if "white-box" in names:
        found["white-box"] = white_box_watcher(subject, one)
    if "projected" in names:
        found["projected"] = projected_watcher(subject, other)
    return found


def _last_iterate(run: SavedRun, settings: Settings) -> NDArray[np.float64]:
    subject, training = run.subject, run.subject.config.training
    facts = RunFacts(
        sampling=subject.sampling,
        steps=run.tape.steps,
        learning_rate=float(np.mean(run.tape.facts.learning_rates)),
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        momentum=training.momentum,
    )
    return last_iterate_scores(
        run.model(run.initial),
        run.model(run.final),
        subject.empty,
        subject.slots,
        subject.crop,
        facts,
        seed=spawn_seeds(np.random.SeedSequence([settings.seed, 1]), 1)[0],
    )


def _asked(
    run: SavedRun, attacks: Sequence[KnownAttack], settings: Settings, stage: Stage
) -> Scored:
    windows, trained = spawn_seeds(np.random.SeedSequence([settings.seed, 2]), 2)
    names = {attack.name for attack in attacks}
    stage("Queries", 0)
    decoys = made_decoys(run.subject) if "quantile" in names else None
    asking = Asking(settings.windows, windows, _MAPS if "learned" in names else 0)
    target = ask_target(run, asking, decoys)
    references = coins = None
    if any(attack.references for attack in attacks):
        # References of world B alone serve the offline attack better, and no other.
        offline = {a.name for a in attacks if a.references} == {"lira-offline"}
        wanted = References(settings.references, trained, 0.0 if offline else 0.5)
        told = stage("Reference models", wanted.count)
        references, coins = ask_references(run, asking, wanted, told)
    return {name: attack_named(name).score(target, references, coins)[0] for name in sorted(names)}
