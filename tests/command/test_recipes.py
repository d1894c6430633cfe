"""Recipes and inputs of `vjepa fit STAGE` are those of the Makefile."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vjepa.command.demo import demo
from vjepa.command.recipes import recipe_folder
from vjepa.command.stage_line import stage_line
from vjepa.command.table import STAGES
from vjepa.errors import UserError

ROOT = Path(__file__).parents[2]


def pretend(folder: Path, *files: str) -> None:
    """Empty files, as if earlier stages had made them."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


DATA = ("data/demo/done.json", "data/robot/done.json", "data/demo/test.jsonl", "data/demo/captions.jsonl")
EVENTS = tuple(f"data/anticipate/{split}/done.json" for split in ("train", "val", "test"))


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A folder with the Makefile and the recipes, in which everything before the stages is made."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(recipe_folder(), tmp_path / "conf")
    ready = [f".venv/{name}ready" for name in ("", "vlm-", "test-", "docs-")]
    pretend(tmp_path, "pyproject.toml", "constraints.txt", *ready, *DATA, *EVENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vjepa.command.recipes.recipe_folder", lambda: tmp_path / "conf")
    return tmp_path


def from_make(goal: str, *variables: str, program: str = "-m stages.") -> list[str]:
    """The command lines of stages, or of all our programs, that `make` would run for a goal."""
    command = ["make", "-n", "--assume-old=.venv/ready", goal, *variables]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [" ".join(line.split()) for line in told.splitlines() if program in line]
    return [line[line.index(".venv/bin/python") :] for line in lines]


def ours(stage: str, *words: str) -> str:
    line = stage_line("fit", stage, words)
    return " ".join([".venv/bin/python", "-m", line.module, *line.words])


def finish(run: str, *, before: str | None = None) -> None:
    """Pretend that all stages are finished, or those before this one."""
    made = ["pretrain/checkpoints/step=1.ckpt", "language/config.json"]
    stages = ["pretrain", "cooldown", "ac", "align"]
    for stage in stages[: stages.index(before) if before in stages else None]:
        made.append(f"{stage}/model.safetensors")
    pretend(Path(f"runs/{run}"), *made)
    pretend(Path("runs/teacher/pretrain"), "model.safetensors")


def test_the_demo_runs_what_make_demo_runs(clone, monkeypatch):
    made = from_make("demo", program="-m ")
    finish("demo")
    ran = []
    monkeypatch.setattr("vjepa.command.demo.program", lambda words: ran.append(" ".join(words)))
    demo()
    assert [f".venv/bin/python {words}" for words in ran] == made
    ran.clear()
    finish("seven")
    demo(run="seven", seed=7, clips=80)
    assert ran[0].endswith("--clips 80") and ran[1].endswith("--out runs/seven/pretrain --seed_everything 7")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_the_demo_runs_as_make_runs_it(stage, clone):
    made = from_make(f"runs/mine/{stage}/model.safetensors", "RUN=mine")[-1]
    finish("mine")
    assert ours(stage, "--run", "mine") == made


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("pretrain", {"scale": "vitl16", "task": "vm22m"}),
        ("pretrain", {"scale": "own"}),
        ("cooldown", {"scale": "own"}),
        ("distil", {"scale": "vitl16-2.1", "task": "vm163m"}),
        ("probe", {"task": "ssv2"}),
        ("ac", {"task": "droid"}),
        ("align", {"scale": "vitg16"}),
    ],
)
def test_overlays_are_those_of_make(stage, words, clone):
    variables = [f"{key.upper()}={value}" for key, value in words.items()]
    finish("demo", before=stage)
    made = from_make(f"runs/demo/{stage}/model.safetensors", *variables)[-1]
    assert ours(stage, *(f"--{key}={value}" for key, value in words.items())) == made


def test_a_size_is_not_trained_on_the_demos_clips(clone):
    with pytest.raises(UserError, match=r"lacks .*pretrain\.yaml; give --task"):
        stage_line("fit", "pretrain", ["--scale", "vitl16"])
    # Whoever brings data or a recipe knows better.
    stage_line("fit", "pretrain", ["--scale", "vitl16", "--data.train", "mine.csv"])
    stage_line("fit", "pretrain", ["--scale", "vitl16", "--config", "mine.yaml"])


def test_a_missing_predecessor_names_the_command_that_makes_it(clone):
    for stage, command in (
        ("cooldown", "vjepa fit pretrain --run mine, or give --model.init_from"),
        ("probe", "vjepa fit pretrain --run mine, or give --model.encoder"),
        ("clone", "vjepa fit pretrain --run mine, or give --model.encoder"),
    ):
        with pytest.raises(UserError, match=f"runs/mine/.* does not exist; make it with: {command}"):
            stage_line("fit", stage, ["--run", "mine"])
    words = ["--run", "own", "--scale", "own", "--data.train", "mine.csv"]
    with pytest.raises(
        UserError, match=r"vjepa fit pretrain --scale own --run own, or give --model\.encoder"
    ):
        stage_line("fit", "probe", words)
    # The demo has a cooldown, as with make, and one that was begun is to be finished.
    with pytest.raises(UserError, match="vjepa fit cooldown --run demo"):
        stage_line("fit", "probe", [])
    pretend(clone, "runs/mine/cooldown/config.yaml", "runs/mine/pretrain/model.safetensors")
    with pytest.raises(UserError, match="vjepa fit cooldown --run mine"):
        stage_line("fit", "probe", ["--run", "mine"])


@pytest.mark.parametrize("stage", ["probe", "anticipate", "ac", "clone", "align"])
def test_without_a_cooldown_the_encoder_is_that_of_pretraining(stage, clone, capsys):
    export = "runs/own/pretrain/model.safetensors"
    pretend(clone, export, "runs/own/language/config.json")
    assert f"--model.encoder {export}" in ours(stage, "--run", "own")
    assert capsys.readouterr().err == f"runs/own holds no cooldown, so the encoder is {export}\n"
    assert export not in ours(stage, "--run", "own", "--model.encoder", "demo")
    assert capsys.readouterr().err == ""


def test_missing_recordings_name_the_command_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage, command in (
        ("pretrain", "vjepa data record-clips --out data/demo"),
        ("ac", "vjepa data record-robot --out data/robot"),
        ("anticipate", "vjepa data record-clips --out data/anticipate/train --clips 0"),
        ("align", "vjepa data record-questions --world data/demo"),
    ):
        with pytest.raises(UserError, match=f"make it with: {command}.*, or give --data.train with yours"):
            stage_line("fit", stage, [])


def test_what_is_typed_takes_the_place_of_what_make_gives(clone):
    words = ["--out", "here", "--model.encoder=mine.pt", "--config", "mine.yaml", "--model.classes", "3"]
    line = stage_line("test", "probe", words)
    recipes = ["--config", "conf/probe.yaml", "--config", "mine.yaml"]
    options = ["--out", "here", "--model.encoder=mine.pt", "--model.classes", "3"]
    assert line.words == ["test", *recipes, *options]


def test_away_from_a_clone_recipes_have_their_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = stage_line("fit", "pretrain", ["--data.train", "mine.csv"])
    assert Path(line.words[2]) == recipe_folder() / "pretrain.yaml"
    assert line.words[3:] == ["--out", "runs/demo/pretrain", "--data.train", "mine.csv"]


@pytest.mark.parametrize(
    "text",
    [
        "model: {encoder: demo}",
        "model.encoder: demo",
        "model:\n  encoder: demo\n  classes: 3\nout: runs/other/probe",
        "model: {encoder: {path: demo}}",
    ],
)
def test_what_a_recipe_of_the_users_sets_is_not_asked_for(text, clone):
    (clone / "mine.yaml").write_text(text)
    line = stage_line("fit", "probe", ["--run", "b", "--model.classes", "3", "--config=mine.yaml"])
    # Files come first, so that a folder in one of them does not take the place of --run.
    files = ["--config", "conf/probe.yaml", "--config", "mine.yaml"]
    assert line.words == ["fit", *files, "--out", "runs/b/probe", "--model.classes", "3"]


def test_what_a_recipe_leaves_open_is_still_asked_for(clone, tmp_path, monkeypatch):
    Path("open.yaml").write_text("model: {encoder: null, encoder_of: x, optim: {lr: {peak: 1}}}")
    with pytest.raises(UserError, match=r"cooldown/model\.safetensors does not exist"):
        stage_line("fit", "probe", ["--config", "open.yaml"])
    Path("weights.yaml").write_text("model: {encoder: demo}")
    Path("data/demo/done.json").unlink()
    with pytest.raises(UserError, match=r"data/demo/done\.json does not exist"):
        stage_line("fit", "probe", ["--config", "weights.yaml"])
    Path("data.yaml").write_text("data: {train: [{manifest: mine.csv}]}")
    assert (
        stage_line("fit", "probe", ["-c", "weights.yaml", "-c", "data.yaml"]).words[-1] == "runs/demo/probe"
    )


def test_a_file_of_a_whole_group_brings_its_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--model", "model.yaml", "--data=data.yaml"]
    assert stage_line("fit", "probe", words).words[-3:] == words


@pytest.mark.parametrize("stage", ["cooldown", "vlm", "align"])
def test_every_input_may_stand_in_a_recipe(stage, clone):
    shutil.rmtree("data")
    Path("mine.yaml").write_text(
        "model: {encoder: demo, init_from: x, language: {source: y}}\ndata: {train: [mine]}\nout: runs/m/x"
    )
    line = stage_line("fit", stage, ["--config", "mine.yaml"])
    assert line.words == ["fit", "--config", f"conf/{stage}.yaml", "--config", "mine.yaml"]


def test_validate_and_test_take_the_recipe_of_the_run(clone):
    pretend(clone, "runs/m2/probe/config.yaml")
    line = stage_line("validate", "probe", ["--run", "m2", "--ckpt_path", "best"])
    own = ["--config", "runs/m2/probe/config.yaml", "--out", "runs/m2/probe"]
    assert line.words == ["validate", *own, "--ckpt_path", "best"]
    assert stage_line("test", "probe", ["--out=runs/m2/probe"]).words == ["test", *own]
    finish("demo")
    for words in (["--task", "ssv2"], ["--config", "mine.yaml"]):
        assert (
            own[1] not in stage_line("test", "probe", ["--run", "m2", "--model.encoder", "x", *words]).words
        )
    assert own[1] not in stage_line("fit", "probe", ["--run", "m2", "--model.encoder", "x"]).words
