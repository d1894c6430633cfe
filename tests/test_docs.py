"""README and handbook: every Python block runs, every command parses, every link leads somewhere.

A block that needs what no test has is left out by a comment before it, `<!-- not run: why -->`. It is still
compiled, and the public names in it must exist.
"""

import ast
import csv
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

import vjepa
from tests.test_conf import STAGES as STAGE_CLASSES
from tests.test_conf import Parsed
from tests.videos import even_times, write_video
from vjepa.__main__ import command_of, load
from vjepa.command import stage_line as stage_lines
from vjepa.command.parser import parser_of
from vjepa.command.recipes import recipe_names
from vjepa.command.table import COMMANDS, STAGE_COMMANDS
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.training.stage_parser import StageParser
from vjepa.weights.box import box_path
from vjepa.weights.export import encoder_part, export

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = {
    "source",
    "pip",
    "python3",
    "ffmpeg",
    "hf",
    "jupyter",
    "sbatch",
    "docker",
    "git",
    "cd",
    "scripts/launch/torchrun.sh",
}
"""First words of commands that are not ours."""
MAKE_VARIABLES = {
    "RUN",
    "SCALE",
    "TASK",
    "CLIPS",
    "EPISODES",
    "SEEDS",
    "PROTOCOL",
    "PYTHON",
    "ARGS",
    "TEACHER",
}


def blocks() -> list:
    """(page, code, whether it runs) of every Python block."""
    found = [(page, match) for page in PAGES for match in BLOCK.finditer(page.read_text())]
    python = [(page, match) for page, match in found if match[2] == "python"]
    return [
        pytest.param(match[3], match[1] is None, id=f"{page.stem}-{number}")
        for number, (page, match) in enumerate(python)
    ]


def commands() -> list:
    """Every command line of every page, comments removed and continued lines joined."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        shell = [match[3] for match in BLOCK.finditer(text) if match[2] in ("sh", "bash", "console")]
        outside = BLOCK.sub("", text)
        indented = re.findall(r"(?<=\n\n)((?:    .*\n)+)", outside)
        lines = [line.strip() for part in [*shell, *indented] for line in part.splitlines()]
        found += [pytest.param(line, id=f"{page.stem}: {line[:50]}") for line in lines if is_command(line)]
    return found


def is_command(line: str) -> bool:
    """Whether an indented line is a command: not a path, a table of results or a line of Python."""
    first = line.split(" ")[0]
    return bool(re.fullmatch(r"vjepa|python|make|[A-Z]+=\S+", first)) or first in OTHERS


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> Path:
    """What the pages take for granted, in small: a video, a folder of classes, the demo's first files."""
    folder = tmp_path_factory.mktemp("docs")
    videos = ["my.mp4", "data/demo/test/000000_move_left.mp4"]
    videos += [f"clips/{name}/{number}.mp4" for name in ("jump", "run") for number in range(4)]
    for video in videos:
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / video, even_times(60), size=(64, 64))
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(width=64, depth=1, heads=4, mlp_width=64, patch=8))
    export(
        folder / "runs/demo/cooldown/model.safetensors", {"ema": encoder_part(encoder)}, {"stage": "cooldown"}
    )
    return folder


@pytest.mark.parametrize(("code", "runs"), blocks())
def test_python_blocks_run(code, runs, small_world, monkeypatch):
    names = {node.attr for node in ast.walk(ast.parse(code)) if is_public_call(node)}
    assert names - set(vjepa.PUBLIC) == set()
    if runs:
        if '"demo"' in code and not box_path().exists():
            pytest.skip("this copy holds no weights in the package")
        monkeypatch.chdir(small_world)
        exec(compile(code, "block", "exec"), {})


def is_public_call(node: ast.AST) -> bool:
    """Whether a node is `vjepa.NAME`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vjepa"


def test_the_split_of_labelled_folders_is_right(small_world, monkeypatch):
    monkeypatch.chdir(small_world)
    (code,) = [match[3] for match in BLOCK.finditer((ROOT / "docs/own-video.md").read_text())]
    exec(compile(code, "block", "exec"), {})
    tables = [Path(f"{name}.csv").read_text().splitlines() for name in ("train", "val", "test")]
    rows = [row for table in tables for row in csv.DictReader(table)]
    assert len({row["path"] for row in rows}) == len(rows) == 8
    assert all((row["label"] == "1") == ("run" in row["path"]) for row in rows)


def test_the_recipe_of_a_robot_parses(tmp_path, monkeypatch):
    (block,) = [
        match[3] for match in BLOCK.finditer((ROOT / "docs/own-robot.md").read_text()) if match[2] == "yaml"
    ]
    (tmp_path / "robot.yaml").write_text(block)
    monkeypatch.chdir(ROOT)
    parse_stage("ac", ["fit", "--config", "conf/ac.yaml", "--config", str(tmp_path / "robot.yaml")])


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z]+=.*", words[0]):
        words = words[1:]
    first, *rest = words
    if first == "make":
        check_make(rest)
    elif first == "vjepa" or words[:3] == ["python", "-m", "vjepa"]:
        check_command(rest if first == "vjepa" else words[3:])
    elif words[:2] == ["python", "-m"] and words[2].startswith("scripts."):
        check_script(words[2], words[3:])
    elif words[:2] == ["python", "-m"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            parse_stage(words[2].removeprefix("stages."), words[3:])
    else:
        assert first in OTHERS
        scripts = [word for word in words if word.startswith("scripts/")]
        assert all((ROOT / script).exists() for script in scripts)


def check_make(words: list[str]) -> None:
    """Targets and variables exist, and so do the folders of recipes that they name."""
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    assert {word for word in words if "=" not in word and word != "-n"} <= targets
    assert set(variables) <= MAKE_VARIABLES
    for variable, kind in (("SCALE", "scale"), ("TASK", "task")):
        assert variable not in variables or variables[variable] in recipe_names(kind, ROOT / "conf")
    recipe = [f"--{name.lower()}={variables[name]}" for name in ("SCALE", "TASK") if name in variables]
    for stage in [word for word in words if word in STAGE_CLASSES and "ARGS" in variables]:
        check_stage("fit", stage, [*recipe, *shlex.split(variables["ARGS"])])


def check_command(words: list[str]) -> None:
    """The command exists, and its own parser takes the words. Nothing is run."""
    if words == ["--help"]:
        return
    if words[0] in STAGE_COMMANDS:
        return check_stage(*words[:2], words[2:])
    name, rest = command_of(words)
    if name in COMMANDS:  # else the page of a group
        parser_of(load(COMMANDS[name].target), name).parse_args(rest)


def check_script(module: str, words: list[str]) -> None:
    """The script's function, which has its name, takes the words. Nothing is run."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(
        getattr(import_module(module), module.rpartition(".")[2]), as_positional=False
    )
    parser.parse_args(words)


def check_stage(command: str, stage: str, words: list[str]) -> None:
    """The stage's command line takes the words; recipes are read, networks are not built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(stage_lines, "inputs", lambda *_: [])  # files of stages that were not run
        parse_stage(stage, stage_lines.stage_line(command, stage, words).words)


def parse_stage(stage: str, words: list[str]) -> None:
    # A recipe of the reader's own is not here, but the options beside it are.
    configs = [place for place, word in enumerate(words) if word == "--config"]
    gone = [place for place in configs if not Path(words[place + 1]).exists()]
    kept = [word for place, word in enumerate(words) if place not in gone and place - 1 not in gone]
    cli = command_line(stage)
    cli.parse_arguments(cli.parser, kept)


@cache
def command_line(stage: str) -> Parsed:
    """The command line of a stage; it takes seconds to make and serves all lines."""
    name, data = STAGE_CLASSES[stage]
    module = import_module("stages.vlm" if name == "VLM" else f"stages.{stage}")
    words = ["fit", "--config", str(ROOT / f"conf/{stage}.yaml")]
    settings = {"seed_everything_default": 0, "save_config_callback": None, "parser_class": StageParser}
    return Parsed(getattr(module, name), data, args=words, **settings)


def test_the_handbook_builds_and_refers_to_nothing_outside_itself(tmp_path):
    site = tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    told = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="(http[^"]+)|<link[^>]* href="(http[^"]+)', page.read_text()
        )
        assert loaded == [], page
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(), sheet


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if ":" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_named_in_pages_exist(page):
    named = re.findall(
        r"`((?:conf|docs|scripts|stages|tests|src)/[\w./-]+\.(?:py|yaml|sh|md))`", page.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(notebook):
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(notebook, 4).cells
    assert [cell for cell in cells if cell.get("outputs")] == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(notebook, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    if not box_path().exists():
        pytest.skip("this copy holds no weights in the package")
    book = nbformat.read(notebook, 4)
    for cell in book.cells:
        cell.source = re.sub(r"^CLIPS = \d+", "CLIPS = 48", cell.source, flags=re.MULTILINE)
        cell.source = re.sub(r"^STEPS = \d+", "STEPS = 2", cell.source, flags=re.MULTILINE)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
