"""What attacks on a run leave behind: scores that can be read, bounds that are corrected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropaudit.accounting.registry import parse_mechanism
from cropaudit.audit.attack_names import checked_names
from cropaudit.audit.attack_run import mechanism_text, scores_csv
from cropaudit.audit.attack_verdict import judge
from cropaudit.audit.config import load_config
from cropaudit.audit.declared import declare
from cropaudit.audit.reference_models import References
from cropaudit.audit.score_tables import ScoreTable, read_table
from cropaudit.audit.subject import prepare_subject
from cropaudit.errors import InputError

SMALL: dict[str, Any] = {
    "patch": "8x8",
    "data.images": 12,
    "data.validation": 4,
    "data.size": "48x96",
    "crop.size": "32x32",
    "training.batch": 8,
    "training.steps": 6,
    "game.canary_slots": 10,
}


def test_scores_that_tell_every_coin_contradict_a_small_claim() -> None:
    """Sixty right guesses of sixty show more than 0.3, however the level is split over two."""
    small = {**SMALL, "game.canary_slots": 60, "claim.epsilon": 0.3}
    subject = prepare_subject(load_config("quickstart", small))
    told = ScoreTable("loss", subject.member.astype(float), subject.member)
    silent_one = ScoreTable("rmia", np.zeros(60), subject.member)
    attacks = checked_names(["loss", "rmia"])
    found = judge(subject, attacks, [told, silent_one])
    assert found.contradicted
    assert found.headline.attack == "loss"
    assert found.headline.epsilon_lower > 0.3
    again = judge(subject, attacks, [silent_one, silent_one])
    assert not again.contradicted
    assert again.headline.epsilon_lower == 0


@pytest.mark.parametrize("sampler", ["poisson", "fixed", "shuffle"])
def test_a_mechanism_is_written_as_it_is_read(sampler: str) -> None:
    config = load_config("quickstart", {**SMALL, "training.sampler": sampler})
    mechanism = declare(config).mechanism
    read = parse_mechanism(mechanism_text(mechanism))
    assert read.with_noise(2.0).pair() == mechanism.with_noise(2.0).pair()
    assert read.compositions == mechanism.compositions


def test_scores_are_written_for_estimate(tmp_path: Path) -> None:
    member = np.array([True, False, True])
    tables = [ScoreTable(name, np.array([0.1, -1 / 3, 7.0]), member) for name in ("a", "b")]
    path = tmp_path / "scores.csv"
    path.write_bytes(scores_csv(tables))
    for wrote, read in zip(tables, read_table(path), strict=True):
        assert read.attack == wrote.attack
        np.testing.assert_array_equal(read.values, wrote.values)
        np.testing.assert_array_equal(read.member, member)


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "got none"), (["psychic"], "got psychic"), (["loss", "loss"], "each named once")],
)
def test_unknown_attacks_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked_names(names)


def test_too_few_references_are_refused() -> None:
    with pytest.raises(InputError, match="references must be at least 4, got 3"):
        References(3, 0)
