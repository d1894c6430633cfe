"""Texts of YAML: what a recipe may hold is loaded as before, and what would fill the memory is refused."""

import string
import time
from itertools import pairwise

import pytest
import yaml

from vjepa.command.parser import PlainParser
from vjepa.command.recipes import recipe_folder
from vjepa.command.yaml_text import load_yaml
from vjepa.errors import UserError


def references(first: str, line: str) -> str:
    """Twenty lines, each of which refers to the one before it nine times."""
    names = string.ascii_lowercase[:20]
    pairs = pairwise(names)
    lines = [line.format(new=new, old=",".join([f"*{old}"] * 9)) for old, new in pairs]
    return "\n".join([f"a: &a {first}", *lines])


BOMBS = {
    "references to references": references("[x]", "{new}: &{new} [{old}]"),
    "merged references": references("{x: 1}", "{new}: &{new} {{<<: [{old}]}}"),
    "itself": "a: &a [*a]",
    "brackets": "[" * 200_000,
    "braces": "{a: " * 200_000,
    "lists in a line": "- " * 200_000 + "x",
    "keys in a line": "? " * 200_000 + "x",
    "indented": "\n".join(" " * depth + "a:" for depth in range(1300)),
    "letters": "a: " + "x" * 3_000_000,
    "values": "- a\n" * 200_000,
    "digits": "a: " + "9" * 100_000,
    "base sixty": "a: " + ":".join(["1"] * 100_000),
}
WRONG = {
    "tag": "a: !!python/object/apply:os.system ['true']",
    "time": "a: !!timestamp x",
    "empty number": "a: !!int ''",
    "date": "a: 2001-99-99",
    "float": "a: !!float x",
    "key": "{[1]: 2}",
    "bytes": "a: !!binary x",
    "reference": "a: *b",
    "two documents": "a: 1\n---\nb: 2",
    "control": "a: \x00",
}


@pytest.mark.parametrize("name", [*BOMBS, *WRONG])
def test_every_other_text_is_a_yaml_error_at_once(name):
    begin = time.process_time()
    with pytest.raises(yaml.YAMLError):
        load_yaml((BOMBS | WRONG)[name])
    assert time.process_time() - begin < 2


def test_recipes_are_loaded_as_they_were():
    for recipe in sorted(recipe_folder().rglob("*.yaml")):
        assert load_yaml(recipe.read_text()) == yaml.safe_load(recipe.read_text())
    shared = "a: &a {x: 1}\nb: {<<: *a, y: [1, *a]}\nc: '" + "[" * 90 + "'"
    assert load_yaml(shared) == yaml.safe_load(shared)


def test_a_key_that_stands_twice_is_named_and_a_merged_one_may_be_given_anew():
    with pytest.raises(yaml.YAMLError, match=r"^line 4: the key .seed. stands in line 2 already; remove one"):
        load_yaml("a:\n  seed: 1\n  b: 2\n  seed: 3\n")
    with pytest.raises(yaml.YAMLError, match="line 1: the key 'b' stands in line 1 already"):
        load_yaml("[{b: 1, 'b': 2}]")
    merged = "a: &a {x: 1, y: 2}\nb: &b {z: 0}\nc:\n  <<: *a\n  <<: *b\n  x: 3\nd: {<<: [*a, *b], z: 4}"
    assert load_yaml(merged) == yaml.safe_load(merged)
    assert load_yaml(merged)["c"] == {"x": 3, "y": 2, "z": 0}


def test_times_are_texts():
    text = "é: 190:20:30 # 1:30\nlist: [1:30, -1:30, 1:30.5, '1:30', 00:00:10:00, 12]\n1:30: x"
    times = ["1:30", "-1:30", "1:30.5", "1:30", "00:00:10:00", 12]
    assert load_yaml(text) == {"é": "190:20:30", "list": times, "1:30": "x"}
    assert load_yaml("\ufeffa: 1:30") == {"a": "1:30"}
    assert load_yaml("&a 1:30") == "1:30"
    begin = time.process_time()
    load_yaml("- 1:30\n" * 90_000)
    assert time.process_time() - begin < 10


def test_times_of_a_recipe_are_texts_too(tmp_path):
    command = PlainParser()
    command.add_argument("--config", action="config")
    command.add_argument("--a", type=dict)
    (tmp_path / "a.yaml").write_text("a:\n  time: 10:00:00:00\n")
    assert command.parse_args([f"--config={tmp_path / 'a.yaml'}"]).a == {"time": "10:00:00:00"}
    (tmp_path / "a.yaml").write_text("a:\n  b: 1\na:\n  b: 2\n")
    with pytest.raises(UserError, match="line 3: the key 'a' stands in line 1 already"):
        command.parse_args([f"--config={tmp_path / 'a.yaml'}"])


def test_a_command_reads_no_other_yaml(tmp_path):
    """Neither in a file nor in a word; what is refused as YAML is a plain text, which fits no dictionary."""
    command = PlainParser()
    command.add_argument("--config", action="config")
    command.add_argument("--a", type=dict)
    (tmp_path / "a.yaml").write_text(f"a:\n  {BOMBS['itself']}\n")
    with pytest.raises(UserError, match="refers to"):
        command.parse_args([f"--config={tmp_path / 'a.yaml'}"])
    with pytest.raises(UserError, match="dict is expected"):
        command.parse_args([f"--a={BOMBS['brackets'][:100_000]}"])
    assert command.parse_args(["--a={b: [1, 2.5]}"]).a == {"b": [1, 2.5]}
