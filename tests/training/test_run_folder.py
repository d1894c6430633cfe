"""The folder of a run: one process has it, its recipe is whole, and it names the version of the code."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

from tests.stage_runs import RESUMABLE
from vjepa.drawing import folder_lock
from vjepa.drawing.folder_lock import NAME
from vjepa.errors import UserError
from vjepa.training import run_folder
from vjepa.training.run_folder import RunFolder, commit
from vjepa.training.starting_point import SETTINGS, SettingsInside, claim_folder, starting_checkpoint


def repository(folder, file: str) -> str:
    """Make a repository with one committed file, and return the commit."""
    (folder / file).write_text("")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    done = subprocess.run(["git", "describe", "--always"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_our_own_code(tmp_path, monkeypatch):
    first = repository(tmp_path, "run_folder.py")
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "run_folder.py"))
    assert commit() == first
    (tmp_path / "run_folder.py").write_text("changed")
    assert commit() == f"{first}-dirty"


def test_another_repository_around_the_package_says_nothing_of_it(tmp_path, monkeypatch):
    repository(tmp_path, "users.py")
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.setattr(run_folder, "__file__", str(packages / "run_folder.py"))
    assert commit() == version("vjepa")


def test_outside_any_repository_it_is_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "run_folder.py"))
    assert commit() == version("vjepa")


def begun(folder, damage) -> RunFolder:
    """A run with a checkpoint, and something wrong with one of its files."""
    run = RunFolder(folder / "run")
    run.checkpoints.mkdir(parents=True)
    torch.save({"global_step": 3} | RESUMABLE, run.checkpoints / "step=3.ckpt")
    run.write_recipe({"model": {"seed": 0}})
    run.inputs.write({}, {})
    damage(run)
    return run


def no_recipe(run: RunFolder) -> None:
    run.recipe.unlink()


def recipe_is_a_folder(run: RunFolder) -> None:
    run.recipe.unlink()
    run.recipe.mkdir()


def dangling_recipe(run: RunFolder) -> None:
    run.recipe.unlink()
    run.recipe.symlink_to("nowhere.yaml")


def link_to_itself(run: RunFolder) -> None:
    run.recipe.unlink()
    run.recipe.symlink_to(run.recipe)


def inputs_are_a_folder(run: RunFolder) -> None:
    run.inputs.file.unlink()
    run.inputs.file.mkdir()


def holding(content: bytes):
    return lambda run: run.recipe.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (no_recipe, "without its config.yaml.*put it back, or choose another --out"),
        (dangling_recipe, "without its config.yaml.*put it back"),
        (link_to_itself, "config.yaml.*put it back"),
        (recipe_is_a_folder, r"cannot be read \(Is a directory\).*put it back"),
        (holding(b""), "is empty or damaged"),
        (holding(b"- a\n- b\n"), "is empty or damaged"),
        (holding(b"model: {seed: 0"), "is empty or damaged"),
        (holding(b"\x00\xff\xfe"), "is empty or damaged"),
        (holding(b"when: 2026-99-99\n"), "is empty or damaged"),
        (holding(b"model: {seed: 0, newer: 7}\n"), r"another recipe \(model.newer: 7 -> None\)"),
        (inputs_are_a_folder, r"inputs.json cannot be read \(Is a directory\); remove it"),
    ],
)
def test_a_run_whose_files_are_damaged_is_not_continued(tmp_path, damage, told):
    run = begun(tmp_path, damage)
    with pytest.raises(UserError, match=told) as refused:
        claim_folder(run, {"model": {"seed": 0}}, dict)
    assert "\n" not in str(refused.value)


def test_without_a_checkpoint_a_damaged_recipe_is_written_anew(tmp_path):
    run = RunFolder(tmp_path)
    run.recipe.write_text("{")
    claim_folder(run, {"model": {}}, dict)
    run.write_recipe({"model": {}})
    assert run.read_recipe() == {"model": {}}
    recipe_is_a_folder(run)
    with pytest.raises(UserError, match=r"config\.yaml is a folder"):
        run.write_recipe({"model": {}})


def test_a_run_saves_nothing_into_a_folder_that_another_process_has_by_now(tmp_path):
    run = RunFolder(tmp_path / "run")
    claim_folder(run, {"model": {}}, dict)
    inside = SettingsInside({"seed": 0}, run)
    checkpoint = {}
    inside.on_save_checkpoint(None, None, checkpoint)
    assert checkpoint == {SETTINGS: {"seed": 0}}
    shutil.rmtree(run.path)
    run.path.mkdir()
    (run.path / NAME).write_text("process 7 on another machine")
    with pytest.raises(UserError, match=r"was removed .* now process 7 on another machine has it"):
        inside.on_save_checkpoint(None, None, checkpoint)


HOLD = """
import sys
from pathlib import Path
from vjepa.drawing.folder_lock import own
own(Path(sys.argv[1]))
print("has it", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def hold():
    """Lets another process have a folder until the test ends."""
    holders = []

    def begin(folder) -> None:
        words = [sys.executable, "-c", HOLD, folder]
        holders.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        holders[-1].stdout.readline()

    yield begin
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_two_looks_do_not_write_into_one_folder_and_one_beside_a_fit_may(tmp_path, monkeypatch, hold):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    recipe = {"ckpt_path": None, "model": {"init_from": "weights"}}
    run = RunFolder(tmp_path / "run")
    for folder in (run.path, run.path / "test"):  # a fit, and another look
        hold(folder)
    assert starting_checkpoint("validate", run, recipe, {}, dict) is None
    with pytest.raises(UserError, match=r"run/test is in use by process"):
        starting_checkpoint("test", run, recipe, {}, dict)
