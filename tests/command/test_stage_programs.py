"""`python -m stages.X`: its page, its mistakes, and what it takes for a list."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.pretrain import Pretrain
from stages.probe import Probe
from vjepa.command.pages import stage_page
from vjepa.command.table import STAGES
from vjepa.data.clip_data import ClipData
from vjepa.evaluation.probe_data import ProbeData
from vjepa.training.stage_cli import run

ROOT = Path(__file__).parents[2]


def python(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture
def fails(monkeypatch, capsys):
    """The one line with which `python -m stages.pretrain WORDS` ends with status 2."""

    def told(*words: str, stage=(Pretrain, ClipData)) -> str:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["pretrain.py", *words])
        with pytest.raises(SystemExit, match="2"):
            run(*stage)
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line.removeprefix("error: ")

    return told


@pytest.mark.parametrize("stage", STAGES)
def test_a_page_says_first_what_the_stage_is(stage):
    page = stage_page(stage, f"vjepa fit {stage}", with_recipe=True)
    says = Path(ROOT / STAGES[stage].replace(".", "/")).with_suffix(".py").read_text().splitlines()[0]
    assert page.split()[:4] == says.removeprefix('"""').split()[:4]
    assert f"usage: vjepa fit {stage} " in page
    recipe = yaml.safe_load((ROOT / "conf" / f"{stage}.yaml").read_text())
    assert [key for key in recipe["model"] if f"--model.{key}" not in page] == []
    assert [key for key in recipe["data"] if f"--data.{key}" not in page] == []


@pytest.mark.parametrize("stage", sorted({module.partition(".")[2] for module in STAGES.values()} | {"plan"}))
def test_help_of_a_program_is_shown_before_torch_is_imported(stage):
    told = python("-X", "importtime", "-m", f"stages.{stage}", "fit", "--help")
    assert told.returncode == 0
    assert f"usage: python -m stages.{stage} " in told.stdout
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert imported & {"torch", "lightning", "mujoco"} == set()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--trainer.max_step 3", "there is no option --trainer.max_step; did you mean --trainer.max_steps?"),
        ("--max_steps 3", "there is no option --max_steps; did you mean --trainer.max_steps?"),
        ("--trainer.max_steps many", "--trainer.max_steps many: a whole number is expected"),
        ("--trainer.max_steps", "--trainer.max_steps needs a value"),
        ("--data.clip.short keep", "--data.clip.short keep: give one of"),
        ("--data.train mine.csv", "mine.csv: no such file or folder"),
        ("--data.train mine.csv other.csv", "mine.csv: no such file or folder"),
        ("--config conf/pretrian.yaml", f"--config {ROOT}/conf/pretrian.yaml: no such file"),
        ("--trainer.callbacks+=vjepa.Nothing", "--trainer.callbacks: there is no class vjepa.Nothing"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(words, sentence, tmp_path, fails):
    recipe = ("--config", "conf/pretrain.yaml", "--out", str(tmp_path))
    assert fails("fit", *recipe, *words.split()).startswith(sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("model: {optm: {lr: {peak: 1}}}", "model.optm.lr.peak; did you mean model.optim.lr.peak?"),
        ("modle: {optim: {lr: {peak: 1}}}", "modle.optim.lr.peak; did you mean model.optim.lr.peak?"),
        ("data: {train: [{manifst: a.csv}]}", "data.train.manifst; did you mean manifest?"),
    ],
)
def test_a_misspelt_key_of_a_recipe_names_file_and_nearest(settings, sentence, tmp_path, fails):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(settings)
    told = fails("fit", "--config", "conf/pretrain.yaml", "--config", str(recipe))
    assert told == f"{recipe}: there is no setting {sentence}"


def test_a_misspelt_command_of_a_stage_names_the_nearest(fails):
    assert fails("fti").endswith("give one of fit, validate, test; did you mean fit?")
    assert fails().startswith("a command is missing")
    assert fails("fit", stage=(Probe, ProbeData)).startswith("missing: --model.encoder, --model.classes")


@pytest.mark.slow
def test_old_class_paths_and_single_paths_are_taken_on_the_command_line():
    old = "--trainer.callbacks+=vjepa.callbacks.LossByDistance"
    words = ["--data.train", "mine", "--data.val", "other", old, "--print_config"]
    told = python("-m", "stages.ac", "fit", "--config", "conf/ac.yaml", *words)
    recipe = yaml.safe_load(told.stdout)
    assert [source["folder"] for source in recipe["data"]["train"]] == ["mine"]
    assert recipe["data"]["val"]["folder"] == "other"
    callbacks = [callback["class_path"] for callback in recipe["trainer"]["callbacks"]]
    assert callbacks == ["vjepa.training.pretraining_monitors.LossByDistance"]


@pytest.mark.slow
def test_the_page_of_everything_still_exists():
    page = python("-m", "stages.pretrain", "fit", "--help_all").stdout
    assert "Pretraining by predicting" in page and "--model.optim.lr.peak" in page
    assert "Lightning Trainer command line tool" not in page and "--trainer.gradient_clip_val" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seed_everything", "-1"], "--seed_everything -1: give a whole number"),
        (["--trainer.accelerator", "foo"], "trainer.accelerator=foo: give auto, cpu"),
        (["--trainer.precision", "7"], "--trainer.precision 7: give one of 64, 32, 16"),
        (["--data.train", ""], "--data.train is empty"),
        (["--config", "."], "is no file"),
        (["--out", ""], "--out is empty"),
    ],
)
def test_values_that_a_library_would_refuse_with_a_traceback(fails, tmp_path, words, sentence):
    out = [] if "--out" in words else ["--out", str(tmp_path)]
    assert sentence in fails("fit", "--config", "conf/pretrain.yaml", *out, *words)


def test_a_recipe_that_is_no_text(fails, tmp_path):
    (tmp_path / "video.yaml").write_bytes(b"\xff\xfe\xa0")
    assert "a recipe is a text of YAML" in fails("fit", "--config", str(tmp_path / "video.yaml"))


def test_a_run_that_was_never_trained_is_not_validated(fails, tmp_path):
    out = ("--out", str(tmp_path))
    assert "holds no checkpoint" in fails("validate", "--config", "conf/pretrain.yaml", *out)
