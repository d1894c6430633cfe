"""Every number that a command takes: what is out of range is one sentence that names it, before any work."""

import socket
from functools import cache

import pytest

from vjepa.__main__ import main
from vjepa.command.parser import parser_of
from vjepa.command.source import arguments
from vjepa.command.table import COMMANDS
from vjepa.command.tensorboard import check_port
from vjepa.errors import UserError

FIRST_WORDS = {
    "look": ["none.mp4"],
    "predict": ["none.mp4"],
    "ask": ["Why?"],
    "sweep": ["none.yaml"],
    "report": ["none.json"],
    "data check": ["none.csv"],
    "data check-conversations": ["none.json"],
    "weights info": ["none"],
    "weights convert": ["none", "--to", "hf"],
    "data shards": ["none.csv", "--out", "none"],
}
"""What these commands need in front of their options. None of the files exists."""
COUNTS = {"--scene.objects": 2, "--shift": 2, "--turn": 2, "--sweep.axes": 2, "--sweep.span": 2}
COUNTS |= {f"--scene.camera.{name}": 2 for name in ("height", "distance", "fovy")}
COUNTS |= {"--scene.camera.target": 3}
"""Options that take several numbers, not one or any count of them."""
ZERO_IS_RIGHT = {
    *("predict --overlap", "features --overlap", "features --layers", "features --workers"),
    *("features --part", "plan --planner.bounds.moved", "plan --planner.threshold", "landscape --start"),
    *("landscape --sweep.step", "data record-clips --shift", "data record-clips --turn"),
    *("data record-clips --wobble", "data record-clips --held", "data record-clips --azimuth"),
    *("data record-clips --val", "data record-clips --test", "data record-clips --clips"),
    *("data record-clips --episodes", "data record-robot --scripted", "data record-robot --val"),
    *("data record-robot --test", "data record-robot --scene.objects", "data record-robot --scene.tray"),
    *("data record-robot --scene.occluder", "data record-robot --scene.camera.azimuth"),
    *("data record-robot --scene.camera.height", "data record-robot --scene.camera.target"),
    *("data record-robot --scene.camera.jitter", "weights convert --unsaid.levels"),
    *("weights convert --unsaid.head", "data record-robot --practised"),
    *(f"plan --planner.state.{name}" for name in ("tokens", "position", "gripper", "near", "closing")),
}
BELOW_ZERO_IS_RIGHT = {"features --layers", "data record-robot --scene.camera.target"}
BELOW_ZERO_IS_RIGHT |= {"plan --planner.state.closing"}

KEPT = cache(parser_of)
"""The parser of each command, made once."""


def is_right(option: str, value: str) -> bool:
    """Whether a command, named with its option, may have the value."""
    if value == "0":
        return option in ZERO_IS_RIGHT or option.endswith("seed")
    return value == "-1" and option in BELOW_ZERO_IS_RIGHT


def numbers(name: str) -> list[str]:
    """The options of a command that take numbers."""
    taken = arguments(COMMANDS[name].target)
    return [f"--{argument.name}" for argument in taken if argument.kind.startswith(("INT", "NUMBER"))]


def words_before(name: str) -> list[str]:
    """The command with all that it needs, in files that do not exist."""
    words = [*name.split(), *FIRST_WORDS.get(name, [])]
    for argument in arguments(COMMANDS[name].target):
        if argument.default is None and not argument.positional and argument.kind.startswith("PATH"):
            words += [f"--{argument.name}", f"none-{argument.name}"]
    return words


def told(words: list[str], capsys) -> str:
    """The one line with which a command refuses its words."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    error = capsys.readouterr().err
    assert (stopped.value.code, error.count("error: ")) == (2, 1), (words, error)
    return error


def needs_files(name: str) -> bool:
    """Whether a command with numbers in range ends at once, because its files do not exist."""
    return bool(numbers(name)) and any(
        word.startswith("none") and word != "none-out" for word in words_before(name)
    )


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    def no_work(*_):
        raise AssertionError("a stage of the demo would begin")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vjepa.command.parser.parser_of", KEPT)
    monkeypatch.setattr("vjepa.command.demo.program", no_work)


@pytest.mark.parametrize("name", [name for name in COMMANDS if numbers(name)])
def test_what_is_out_of_range_is_named(name, capsys):
    if "record" in name or name in ("plan", "data gallery"):
        pytest.importorskip("mujoco")
    for option in numbers(name):
        for value in ("0", "-1", ".nan"):
            if not is_right(f"{name} {option}", value):
                values = [value] * COUNTS.get(option, 1)
                error = told([*words_before(name), option, *values], capsys)
                # Some sentences name the setting in the singular.
                assert option.rpartition(".")[2].strip("-").rstrip("s") in error, (option, value, error)


@pytest.mark.parametrize("name", filter(needs_files, COMMANDS))
def test_what_is_in_range_is_not_named(name, capsys):
    for option in numbers(name):
        for value in ("0", "-1"):
            if is_right(f"{name} {option}", value):
                error = told([*words_before(name), option, *[value] * COUNTS.get(option, 1)], capsys)
                assert option.strip("-") not in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("neighbours --features f --videos v --sheet.pixels 100000", "pixels; give smaller numbers"),
        ("neighbours --features f --videos v --sheet.queries 9999999", "pixels; give smaller numbers"),
        ("data gallery --out a.png --columns 1000000", "pixels; give smaller numbers"),
        ("data gallery --out a.png --size 1600000", "at most 4096"),
        ("data record-clips --out a --seconds 1e9", "expected 3 to 10000"),
        ("data record-robot --out a --workers 100000", "--workers 100000: give 1 to 1024"),
        ("features --encoder e --videos v --out a --workers 100000", "--workers 100000: give 0 to 1024"),
        ("data check none.csv --workers 100000", "--workers 100000: give 1 to 1024"),
        ("weights untrained --encoder e --out a --seed 99999999999", "--seed 99999999999: give"),
        (
            "landscape --trajectory t --encoder e --ac a --out o --sweep.points 100000",
            "points=100000: give 2 to",
        ),
        ("bench planning --tokens 60", "--tokens 60: give the square"),
        ("bench planning --horizons 1 0", r"--horizons (1, 0)"),
        ("bench planning --width 100000000000000000", "too little memory"),
        ("bench planning --device tpu", "--device tpu cannot be used"),
        (
            "landscape --trajectory t --encoder e --ac a --out o --sweep.axes 1",
            "--sweep.axes 1: 2 values are",
        ),
    ],
)
def test_what_no_machine_has_room_for_is_one_sentence(words, sentence, capsys):
    if words.startswith("data gallery") or "record" in words:
        pytest.importorskip("mujoco")
    assert sentence in told(words.split(), capsys)


OUTPUTS = {
    "evaluate --model m --questions FILE --out": "file",
    "data check FILE --json": "file",
    "look FILE --out": "file",
    "predict FILE --out": "file",
    "neighbours --features f --videos FILE --picture": "file",
    "weights tiny-language-model --texts FILE --out": "folder",
    "landscape --trajectory FILE --encoder e --ac a --out": "folder",
    "sweep FILE --out": "folder",
    "features --encoder e --videos FILE --out": "folder",
}
"""Commands up to their output, which is a file or a folder."""


@pytest.mark.parametrize("words", OUTPUTS)
def test_an_output_of_the_other_kind_is_refused_before_the_work(words, tmp_path, capsys):
    given = tmp_path / "given.csv"
    given.write_text(
        "{stage: pretrain, configs: [given.csv], runs: {a: {}}}" if "sweep" in words else "a.mp4\n"
    )
    output = tmp_path / "folder" if OUTPUTS[words] == "file" else given
    (tmp_path / "folder").mkdir()
    error = told([*words.replace("FILE", str(given)).split(), str(output)], capsys)
    assert f"{output} is a {'folder' if OUTPUTS[words] == 'file' else 'file'}" in error


@pytest.mark.parametrize("words", [words for words, kind in OUTPUTS.items() if kind == "file"])
def test_an_output_that_is_the_input_is_refused(words, tmp_path, capsys):
    given = tmp_path / "given.csv"
    given.write_text("a.mp4\n")
    error = told([*words.replace("FILE", str(given)).split(), str(given)], capsys)
    assert "is read and would be overwritten" in error
    assert given.read_text() == "a.mp4\n"


@pytest.mark.parametrize("value", ["nan", ".nan", "-.inf", "[1.0,.nan]", "1e999", "abc", ""])
def test_what_is_no_finite_number_is_refused(value, capsys):
    assert "--overlap" in told(["predict", "none.mp4", f"--overlap={value}"], capsys)


def test_a_busy_port_is_one_sentence():
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: .*give another port"):
            check_port(port)
    check_port(port)


def test_tensorboard_names_what_is_missing(tmp_path, capsys):
    assert "none: no such folder" in told(["tensorboard", "none"], capsys)
    assert "--port 65536: give a number from 1 to 65535" in told(
        ["tensorboard", ".", "--port", "65536"], capsys
    )
