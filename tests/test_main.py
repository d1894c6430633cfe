"""The one way in: commands are parsed in one place, and a user's mistake is one sentence and status 2."""

import json

import pytest

from vjepa import __main__ as command_line
from vjepa.__main__ import COMMANDS, load, main, parser_of


def fails(capsys, *words: str) -> str:
    """The last line that the command prints as it ends with status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(words)
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def scores(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text(json.dumps([{"name": "ours", "value": 0.4, "clips": 100}]))
    return str(file)


def test_without_a_name_all_commands_are_listed(capsys):
    main([])
    assert set(COMMANDS) <= set(capsys.readouterr().out.split())


def test_an_unknown_command_names_the_known_ones(capsys):
    sentence = fails(capsys, "featuers")
    assert sentence.startswith("error: there is no command 'featuers'") and "features" in sentence


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_documented_function_with_explained_arguments(name):
    pytest.importorskip("mujoco")
    function = load(COMMANDS[name])
    assert function.__doc__
    actions = [
        action for action in parser_of(name, function)._actions if action.dest not in ("help", "config")
    ]
    assert [action.dest for action in actions if not action.help] == []


def test_a_positional_argument_takes_one_value_or_several(scores, capsys):
    main(["report", scores])
    assert "ours" in capsys.readouterr().out
    main(["report", scores, scores])
    assert "over 2 seeds" in capsys.readouterr().out


def test_texts_are_words_and_numbers_are_a_list():
    by = parser_of("evaluate", load(COMMANDS["evaluate"])).parse_args(
        ["--model", "m", "--questions", "q", "--by", "letter", "open"]
    )
    assert by.by == ["letter", "open"]
    horizons = parser_of("bench-planning", load(COMMANDS["bench-planning"])).parse_args(
        ["--horizons", "[1,3]"]
    )
    assert tuple(horizons.horizons) == (1, 3)


def test_mistakes_are_one_sentence(tmp_path, capsys):
    missing = str(tmp_path / "none.csv")
    assert fails(capsys, "check-manifest", missing) == f"error: {missing}: no such file or folder"
    assert "no scores" in fails(capsys, "report", missing)


def test_a_file_that_cannot_be_written_is_one_sentence(monkeypatch, capsys):
    def refuse(scores: list[str]) -> None:
        """Write nothing."""
        raise IsADirectoryError(21, "Is a directory", "out.json")

    monkeypatch.setattr(command_line, "load", lambda target: refuse)
    assert fails(capsys, "report", "a") == "error: out.json: Is a directory"
