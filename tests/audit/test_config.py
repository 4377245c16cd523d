"""The configuration: defaults, presets, dotted changes, and one-line errors."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.config import AuditConfig, load_config, preset_names
from cropaudit.errors import InputError

LEAST = {"training": {"steps": 5}}


def written(path: Path, text: str) -> str:
    file = path / "config.yaml"
    file.write_text(text)
    return str(file)


def fault(values: dict[str, Any], path: Path, changes: dict[str, Any] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_config(written(path, yaml.safe_dump(values)), changes or {})
    words = str(caught.value)
    assert len(words.splitlines()) == 1, words
    return words


def test_defaults() -> None:
    config = AuditConfig.model_validate(LEAST)
    assert (config.name, config.seed, config.patch) == ("audit", 0, "16x16")
    assert config.data.folder is None
    assert config.crop_law() == Crop(Size(64, 64), 0)
    assert config.patch_shape() == Rectangle(Size(16, 16))
    assert (config.training.sampler, config.training.steps) == ("poisson", 5)
    assert (config.claim.epsilon, config.claim.family, config.claim.shortcut) == (
        None,
        "mechanism",
        None,
    )
    assert (config.game.delta, config.game.confidence, config.game.resolution) == (1e-5, 0.95, 2.0)


def test_every_preset_is_listed_and_loads() -> None:
    assert "quickstart" in preset_names()
    assert list(preset_names()) == sorted(preset_names())
    for name in preset_names():
        config = load_config(name, {})
        assert config.name == name
        config.crop_law().origins(Size.parse(config.data.size))


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config("quickstart", {"claim.epsilon": 2, "crop.padding": 3, "patch": 9})
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert load_config(written(tmp_path, text), {}) == config


def test_a_configuration_cannot_be_changed() -> None:
    config = AuditConfig.model_validate(LEAST)
    with pytest.raises(ValidationError):
        setattr(config, "seed", 4)  # noqa: B010 - mypy knows it is frozen
    with pytest.raises(ValidationError):
        setattr(config.training, "batch", 4)  # noqa: B010


def test_changes_reach_into_sections(tmp_path: Path) -> None:
    file = written(tmp_path, "training: {steps: 5, batch: 4}\n")
    changes = {"training.batch": 7, "game.delta": 1e-6, "seed": 9, "crop.size": 33, "patch": "3x4"}
    config = load_config(file, changes)
    assert (config.training.batch, config.training.steps) == (7, 5), "only what is named"
    assert (config.game.delta, config.seed, config.crop.size) == (1e-6, 9, "33x33")
    assert config.patch == "3x4"
    assert load_config(file, {}).training.batch == 4, "changes do not stay"
    epochs = load_config(file, {"training.steps": None, "training.epochs": 2}).training
    assert (epochs.steps, epochs.epochs) == (None, 2)


def test_yaml_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-6 for text; a delta written so must not be refused."""
    config = load_config(written(tmp_path, "training: {steps: 5}\ngame: {delta: 1e-6}\n"), {})
    assert config.game.delta == 1e-6
    assert load_config("quickstart", {"game.delta": "1e-6"}).game.delta == 1e-6


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bach": 1}, "bach must be a known key (name, seed, patch, data, crop, training, "),
        ({"data": {"imags": 3}}, "data.imags must be a known key (kind, folder, images, "),
        ({"data": {"imags": 3}}, ", short_side, foreground), got imags"),
        ({"training": {"steps": 5, "lr": 1}}, "training.lr must be a known key (model, "),
        ({"training": {"steps": "many"}}, "training.steps: must be a valid integer"),
        ({"training": {"steps": "many"}}, ", got many"),
        ({"training": {"steps": 2.5}}, "training.steps: must be a valid integer, got 2.5"),
        ({"training": {"steps": [3]}}, "training.steps: must be a valid integer, got [3]"),
        ({"training": {"steps": {"a": 3}}}, "training.steps: must be a valid integer, got a sec"),
        ({"training": {"steps": True}}, "training.steps: must be a number or text, got True"),
        ({"training": {"steps": 5, "noise_multiplier": True}}, "must be a number or text"),
        ({"seed": False}, "seed: must be a number or text, got False"),
        ({"seed": -1}, "seed: must be greater than or equal to 0, got -1"),
        ({"name": 3}, "name: must be a valid string, got 3"),
        ({"training": {"steps": 0}}, "training.steps: must be greater than or equal to 1, got 0"),
        ({"training": {"steps": 5, "momentum": 1}}, "training.momentum: must be less than 1, got"),
        ({"game": {"delta": 1.0}}, "game.delta: must be less than 1, got 1.0"),
        ({"game": {"confidence": 0.5}}, "game.confidence: must be greater than 0.5, got 0.5"),
        ({"game": {"resolution": float("inf")}}, "resolution: must be a finite number, got inf"),
        ({"claim": {"epsilon": float("nan")}}, "claim.epsilon: must be a finite number, got nan"),
        (
            {"training": {"steps": 5, "sampler": "uniform"}},
            "training.sampler: must be 'poisson', 'fixed', 'shuffle', 'cyclic' or 'full', "
            "got uniform",
        ),
        ({"patch": "0x3"}, "patch: size must be HxW or one number, each at least 1, got 0x3"),
        ({"patch": "3xx"}, "got 3xx"),
        ({"crop": {"size": -3}}, "crop.size: size must be HxW or one number, each at least 1, got"),
        ({"crop": {"padding": -1}}, "crop.padding: must be greater than or equal to 0, got -1"),
        ({"training": {}}, "training: exactly one of steps and epochs must be given"),
        ({"training": {"steps": 1, "epochs": 1}}, "exactly one of steps and epochs"),
        ({"training": None}, "training: must be a section of keys, got None"),
        ({"data": 3}, "data: must be a section of keys, got 3"),
        ({"claim": {"family": "none"}}, "claim: family none needs an epsilon"),
        ({"claim": {"epsilon": 1, "shortcut": "x"}}, "claim: a short cut brings its own epsilon"),
    ],
)
def test_faults_are_one_line_with_key_legal_range_and_value(
    values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in fault({**LEAST, **values}, tmp_path)


def test_a_value_of_several_lines_still_gives_one(tmp_path: Path) -> None:
    assert fault({**LEAST, "patch": "a\nb"}, tmp_path).endswith("got a b")


def test_training_must_be_given(tmp_path: Path) -> None:
    assert fault({"seed": 1}, tmp_path) == "training must be given"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.steps.x": 1}, "key training.steps.x must lead into a section, got a value at"),
        ({"nonsense.key": 1}, "nonsense must be a known key"),
        ({"training.bach": 1}, "training.bach must be a known key"),
        ({"training": 4}, "training: must be a section of keys, got 4"),
        ({"training..batch": 1}, "must be a known key"),
        ({"": 1}, "must be a known key"),
    ],
)
def test_changes_that_lead_nowhere(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in fault(LEAST, tmp_path, changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "must be YAML: while parsing a flow node"),
        ("a: b: c", "must be YAML: mapping values are not allowed here"),
        ("\tx: 1", "must be YAML"),
        ("a: *b", "must be YAML: found undefined alias"),
        ("a: 1\0", "must be YAML"),
        ("? [1]\n: 2", "must be YAML"),
        ("name: 2024-13-45", "must be YAML: month must be in 1..12"),
        ("[" * 5000, "must be at most 50 deep"),
        ("", "must be a mapping of keys, got NoneType"),
        ("- 1\n- 2", "must be a mapping of keys, got list"),
        ("just words", "must be a mapping of keys, got str"),
        ("5", "must be a mapping of keys, got int"),
    ],
)
def test_what_is_no_yaml_mapping(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, text), {})
    assert words in str(caught.value)
    assert "config.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:pathlib.Path.touch [{path}]",
        "!!python/object/new:pathlib.Path [{path}]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
        "!made-up 3",
    ],
)
def test_object_tags_are_refused_and_not_run(tag: str, tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    with pytest.raises(InputError, match="must be YAML: could not determine a constructor"):
        load_config(written(tmp_path, f"name: {tag.format(path=trace)}\n"), {})
    assert not trace.exists()


def test_names_that_are_no_file(tmp_path: Path) -> None:
    for name in ("quickstrat", str(tmp_path), str(tmp_path / "no.yaml")):
        with pytest.raises(InputError) as caught:
            load_config(name, {})
        legal = ", ".join(preset_names())
        words = f"config must be a preset ({legal}) or a YAML file, got {name}"
        assert str(caught.value) == words


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(InputError, match=r"binary.yaml must be readable text"):
        load_config(str(path), {})


def test_every_section_is_closed_and_frozen() -> None:
    sections: list[type[BaseModel]] = [AuditConfig]
    for field in AuditConfig.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections.append(field.annotation)
    assert len(sections) == 9
    for section in sections:
        assert section.model_config["extra"] == "forbid"
        assert section.model_config["frozen"]
