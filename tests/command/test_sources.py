"""A single path stands for a list of sources, on the command line and in YAML, with the same meaning."""

from dataclasses import dataclass
from importlib import import_module

import pytest

from tests.test_conf import CONF, STAGES, Parsed
from vjepa.command.parser import parser_of_settings
from vjepa.errors import UserError
from vjepa.training.stage_parser import StageParser


@dataclass(frozen=True)
class ListSource:
    manifest: str
    weight: float = 1.0


def train(
    *,
    train: list[ListSource],
    val: ListSource | None = None,
    sizes: tuple[int, ...] = (1,),
    names: tuple[str, ...] = (),
) -> None:
    """Takes sources as the data of a stage does."""


def parsed(tmp_path, yaml: str = "", *words: str) -> dict:
    (tmp_path / "recipe.yaml").write_text(yaml)
    config = ["--config", str(tmp_path / "recipe.yaml")] if yaml else []
    options = parser_of_settings(train, "train").parse_args([*config, *words]).as_dict()
    return {key: options[key] for key in ("train", "val", "sizes", "names")}


A = {"manifest": "a.csv", "weight": 1.0}
B = {"manifest": "b.csv", "weight": 2.0}


@pytest.mark.parametrize(
    ("yaml", "words", "expected"),
    [
        ("train: a.csv", ["--train=a.csv"], [A]),
        ("train: [a.csv]", ["--train", "a.csv"], [A]),
        ("train: {manifest: b.csv, weight: 2}", ["--train={manifest: b.csv, weight: 2}"], [B]),
        (
            "train: [a.csv, {manifest: b.csv, weight: 2}]",
            ["--train", "[a.csv, {manifest: b.csv, weight: 2}]"],
            [A, B],
        ),
        ("train: [a.csv, a.csv]", ["--train", "a.csv", "a.csv"], [A, A]),
        ("train: '[draft] a.csv'", ["--train", "[draft] a.csv"], [A | {"manifest": "[draft] a.csv"}]),
        ("train: a b.csv", ["--train=a b.csv"], [A | {"manifest": "a b.csv"}]),
    ],
)
def test_yaml_and_words_mean_the_same(tmp_path, yaml, words, expected):
    assert parsed(tmp_path, yaml)["train"] == expected
    assert parsed(tmp_path, "", *words)["train"] == expected


def test_a_single_source_and_plain_lists(tmp_path):
    yaml = "{train: a.csv, val: a.csv, sizes: 3, names: x}"
    expected = {"train": [A], "val": A, "sizes": (3,), "names": ("x",)}
    assert parsed(tmp_path, yaml) == expected
    words = ["--train", "a.csv", "--val=a.csv", "--sizes", "3", "--names", "x"]
    assert parsed(tmp_path, "", *words) == expected


def test_a_word_replaces_or_adds_to_the_recipe(tmp_path):
    assert parsed(tmp_path, "train: a.csv", "--train", "b.csv")["train"] == [B | {"weight": 1.0}]
    assert len(parsed(tmp_path, "train: a.csv", "--train+", "b.csv")["train"]) == 2


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("train: 3", "--train 3: a path, or settings"),
        ("train: [3]", "--train 3: a path, or settings"),
        ("train: {manifst: a.csv}", "no setting train.manifst; did you mean"),
        ("train: {manifest: a.csv, weight: .nan}", "--train .*nan: a finite number"),
        ("sizes: [1.5]\ntrain: a.csv", "--sizes 1.5: a whole number is expected"),
    ],
)
def test_what_is_no_source_is_one_sentence(tmp_path, yaml, sentence):
    with pytest.raises(UserError, match=sentence):
        parsed(tmp_path, yaml)


def stage_settings(stage: str, *words: str):
    """The settings of a stage's recipe with some words behind it, as its program resolves them."""
    name, data = STAGES[stage]
    module = import_module("stages.vlm" if name == "VLM" else f"stages.{stage}")
    words = ["fit", "--config", str(CONF / f"{stage}.yaml"), *words]
    parts = {"parser_class": StageParser, "save_config_callback": None, "seed_everything_default": 0}
    return Parsed(getattr(module, name), data, args=words, **parts).config.fit


@pytest.mark.parametrize(
    ("stage", "path", "field"),
    [("pretrain", "mine.csv", "manifest"), ("ac", "episodes", "folder"), ("align", "talks.jsonl", "file")],
)
def test_every_stage_takes_a_path_in_its_recipe(tmp_path, stage, path, field):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(f"data: {{train: {path}}}")
    by_file = stage_settings(stage, "--config", str(overlay))
    by_word = stage_settings(stage, f"--data.train={path}")
    assert [getattr(source, field) for source in by_file.data.train] == [path]
    assert by_file.data.train == by_word.data.train
