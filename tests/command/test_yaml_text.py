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
