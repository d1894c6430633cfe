"""The one way in: commands are found by name, and a mistake is one sentence and status 2."""

import json
import subprocess
import sys

import pytest

from vjepa import __main__ as command_line
from vjepa.__main__ import load, main
from vjepa.command.pages import command_page
from vjepa.command.parser import call, parser_of
from vjepa.command.source import arguments
from vjepa.command.table import COMMANDS, FORMER, STAGE_COMMANDS, STAGES


def fails(capsys, *words: str) -> str:
    """The one line that the command prints as it ends with status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(words)
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


def shown(capsys, *words: str) -> str:
    main(words)
    return capsys.readouterr().out


@pytest.fixture
def scores(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text(json.dumps([{"name": "ours", "value": 0.4, "clips": 100}]))
    return str(file)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_all_commands_are_listed(words, capsys):
    page = shown(capsys, *words)
    named = [*COMMANDS, *(f"{name} STAGE" for name in STAGE_COMMANDS), *STAGES]
    assert [name for name in named if name not in page] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_documented_function_with_explained_arguments(name):
    pytest.importorskip("mujoco")
    target = COMMANDS[name].target
    assert load(target).__doc__
    assert [argument.name for argument in arguments(target) if not argument.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_and_the_parser_of_a_command_know_the_same(name):
    pytest.importorskip("mujoco")
    target = COMMANDS[name].target
    parser = parser_of(load(target), name)
    groups = ("help", "config", "print_shtab", "print_config")
    actions = {action.dest: action for action in parser._actions if action.dest not in groups}
    # A config has an option of its own, beside one for each of its fields.
    leaves = [dest for dest in actions if not any(other.startswith(f"{dest}.") for other in actions)]
    page = {argument.name: argument for argument in arguments(target)}
    assert sorted(page) == sorted(leaves)
    for dest, argument in page.items():
        if argument.default:
            default = actions[dest].default
            values = default if isinstance(default, list | tuple) else [default]
            assert argument.default == " ".join(
                str(value).lower() if isinstance(value, bool) else str(value) for value in values
            )


def test_a_page_explains_every_argument(capsys):
    page = shown(capsys, "features", "--help")
    assert page.startswith(
        "usage: vjepa features --encoder PATH --videos PATH --out PATH [--OPTION VALUE ...]"
    )
    assert "--pool {none,mean,frame,attentive}" in page and "(mean)" in page
    assert page.strip() == command_page("vjepa features", COMMANDS["features"].target)


def test_a_group_lists_its_commands(capsys):
    assert shown(capsys, "data") == shown(capsys, "data", "--help")
    assert "data record-clips" in shown(capsys, "data")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["feeture"], "did you mean features?"),
        (["neighbors"], "did you mean neighbours?"),
        (["data", "chek", "mine.csv"], "did you mean data check?"),
        (["pretrain"], "did you mean fit pretrain?"),
        (["fit", "pretran"], "did you mean pretrain?"),
        (["fit", "pretrain", "--scale", "vitl61"], "did you mean vitl16?"),
        (["fit", "probe", "--task", "ssv"], "did you mean ssv2?"),
        (["features", "--encodr", "a"], "did you mean --encoder?"),
        (["features", "--batch-size", "3"], "did you mean --batch_size?"),
        (
            ["features", "--encoder", "a", "--videos", "b", "--out", "c", "--pool", "men"],
            "did you mean mean?",
        ),
        (["evaluate", "--model", "m", "--questions", "q", "--by", "lettr"], "did you mean letter?"),
    ],
)
def test_a_misspelt_word_names_the_nearest(words, meant, capsys):
    assert fails(capsys, *words).endswith(meant)


@pytest.mark.parametrize(("old", "new"), FORMER.items())
def test_a_former_name_says_the_new_one(old, new, capsys):
    assert fails(capsys, old, "x") == f"{old!r} is now {new!r}"
    assert new in COMMANDS


def test_what_is_missing_or_too_much_is_named(capsys):
    assert fails(capsys, "features") == "missing: --encoder, --videos, --out"
    assert fails(capsys, "report") == "missing: SCORES"
    assert fails(capsys, "data", "check", "a", "b") == "'b' is one word too many; options begin with --"
    assert fails(capsys, "features", "--frames", "few").startswith("--frames few: a whole number")


def test_a_shortened_option_is_not_taken_in_silence(capsys):
    assert fails(capsys, "features", "--enc", "a").startswith("there is no option --enc")


def test_a_positional_argument_takes_one_value_or_several(scores, capsys):
    assert "ours" in shown(capsys, "report", scores)
    assert "over 2 seeds" in shown(capsys, "report", scores, scores)


def test_a_list_is_words_or_a_single_one():
    evaluate = parser_of(load(COMMANDS["evaluate"].target), "evaluate")
    required = ["--model", "m", "--questions", "q"]
    assert list(evaluate.parse_args([*required, "--by", "letter", "open"]).by) == ["letter", "open"]
    assert list(evaluate.parse_args([*required, "--by", "letter"]).by) == ["letter"]
    planning = parser_of(load(COMMANDS["bench planning"].target), "bench planning")
    for words in (["--horizons", "[1,3]"], ["--horizons", "1", "3"], ["--horizons=[1, 3]"]):
        assert tuple(planning.parse_args(words).horizons) == (1, 3)


def test_naming_a_switch_turns_it_on():
    def film(files: list[str], *, gif: bool = False, sizes: tuple[int, ...] = ()) -> tuple:
        """Draw."""
        return files, gif, sizes

    def run(*words: str) -> tuple:
        parser = parser_of(film, "film")
        return call(film, parser.instantiate(parser.parse_args(words)))

    assert run("a", "b") == (["a", "b"], False, ())
    assert run("--gif", "a") == run("a", "--gif") == run("--gif", "true", "a") == (["a"], True, ())
    assert run("a", "--sizes", "1", "2", "--gif") == (["a"], True, (1, 2))


def test_mistakes_are_one_sentence(tmp_path, capsys):
    missing = str(tmp_path / "none.csv")
    assert fails(capsys, "data", "check", missing) == f"{missing}: no such file or folder"
    assert "cannot be read" in fails(capsys, "report", missing)


def stub(error: BaseException):
    def command(scores: list[str]) -> None:
        """Do nothing."""
        raise error

    return lambda target: command


def test_a_file_that_cannot_be_written_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "load", stub(IsADirectoryError(21, "Is a directory", "out.json")))
    assert fails(capsys, "report", "a") == "out.json: Is a directory"


def test_an_interrupted_command_is_one_line_and_status_130(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "load", stub(KeyboardInterrupt()))
    with pytest.raises(SystemExit, match="130"):
        main(["report", "a"])
    assert capsys.readouterr().err.strip() == "stopped"


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    for error in (
        KeyError("bug"),
        ModuleNotFoundError("No module named 'vjepa.nothing'", name="vjepa.nothing"),
    ):
        monkeypatch.setattr(command_line, "load", stub(error))
        with pytest.raises(type(error)):
            main(["report", "a"])


def test_lists_and_pages_import_neither_torch_nor_the_parser():
    code = (
        "import sys; from vjepa.__main__ import main\n"
        "for words in ([], ['features', '--help'], ['data', 'check', '-h'], ['fit', 'vlm', '--help']):\n"
        "    main(words)\n"
        "print([name for name in ('torch', 'jsonargparse', 'lightning', 'mujoco') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [("predict", "--help"), ("look", "--help")])
def test_the_page_names_the_weights_in_the_package_as_the_default(words, capsys):
    assert "(demo)" in shown(capsys, *words)


@pytest.mark.parametrize("stage", ["probe", "anticipate", "ac", "clone", "decode", "vlm"])
def test_the_page_of_a_stage_says_that_demo_is_an_encoder(stage, capsys):
    page = " ".join(shown(capsys, "fit", stage, "--help").split())
    assert "a Hugging Face directory, or `demo`" in page
