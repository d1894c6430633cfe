"""A run goes on elsewhere: its steps may be cut in another way, and it ends with the same weights."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.pretrain import Pretrain
from tests.training.test_trainer_settings import RECIPE
from vjepa.data.clip_data import ClipData
from vjepa.errors import UserError
from vjepa.training import machine
from vjepa.training.machine import (
    MACHINE,
    changes,
    check_same_batch,
    going_on,
    recorded_machine,
    recount,
)
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.stage_cli import run
from vjepa.weights.files import CheckpointError

HALF = "--checkpoint.every_n_train_steps 2 --checkpoint.save_top_k -1"
ONE = {"batch_size": 8, "devices": 1, "num_nodes": 1, "accumulate_grad_batches": 1}


@pytest.fixture(scope="module")
def finished(clips_manifest, tmp_path_factory) -> Path:
    """The folder of a run of four steps, with checkpoints after two and four, beside its recipe."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "recipe.yaml").write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    pretrain(folder, "run")
    return folder


def pretrain(folder: Path, out: str, words: str = "") -> None:
    """Run the command of the stage."""
    typed = ["--config", f"{folder}/recipe.yaml", "--out", f"{folder}/{out}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pretrain", "fit", *typed, *shlex.split(f"{HALF} {words}")])
        run(Pretrain, ClipData)


@pytest.fixture
def begin(finished, tmp_path, capsys):
    """Run the command with these words in a folder: its status, and what it printed."""
    shutil.copy(finished / "recipe.yaml", tmp_path)

    def begin(folder: str, words: str = "") -> tuple[int, str]:
        status = 0
        try:
            pretrain(tmp_path, folder, words)
        except SystemExit as end:
            status = end.code
        output = capsys.readouterr()
        return status, output.out + output.err

    return begin


@pytest.fixture
def half_done(finished, tmp_path) -> tuple[Path, dict]:
    """A folder whose run stopped after step 2 of 4, and the weights with which it would have ended."""
    folder = tmp_path / "run"
    shutil.copytree(finished / "run", folder)
    (folder / "model.safetensors").unlink()
    (folder / "checkpoints/step=4.ckpt").unlink()
    return folder, load_file(finished / "run/model.safetensors")


def check_ends_as(folder: Path, weights: dict) -> None:
    found = load_file(folder / "model.safetensors")
    torch.testing.assert_close(found, weights, atol=1e-6, rtol=0)


def edit_checkpoint(file: Path, edit) -> None:
    checkpoint = torch.load(file, weights_only=True)
    edit(checkpoint)
    torch.save(checkpoint, file)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--data.batch_size 4 --trainer.accumulate_grad_batches 2", "batches of 4 (before: 8), 2 batches a"),
        ("--data.batch_size 2 --trainer.accumulate_grad_batches 4 --trainer.log_every_n_steps 7", "every 7"),
        ("--data.workers 1 --trainer.precision 32", "with 1 worker (before: 0)\n"),
        ("--trainer.devices auto --trainer.accelerator auto --trainer.precision 32-true", "after step 2\n"),
    ],
)  # fmt: skip
def test_another_cut_ends_with_the_same_weights(words, told, begin, half_done):
    folder, weights = half_done
    status, output = begin("run", words)
    assert status == 0, output
    assert "continuing after step 2" in output and told in output
    check_ends_as(folder, weights)


def test_checkpoints_that_name_no_machine_go_on_too(begin, half_done):
    """As version 0.2 wrote them."""
    folder, weights = half_done
    edit_checkpoint(folder / "checkpoints/step=2.ckpt", lambda checkpoint: checkpoint.pop(MACHINE))
    status, output = begin("run", "--data.batch_size 2")
    assert status == 2 and "run takes 8 samples a step (data.batch_size 8 x 1 device)" in output
    status, output = begin("run", "--data.batch_size 4 --trainer.accumulate_grad_batches 2")
    assert status == 0 and "batches of 4 (before: 8), 2 batches a step (before: 1)" in output, output
    check_ends_as(folder, weights)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--data.batch_size 4", "would take 4 (data.batch_size 4 x 1 device); give --data.batch_size 8 or "
         "--trainer.accumulate_grad_batches 2"),
        ("--data.batch_size 16", "would take 16 (data.batch_size 16 x 1 device); give --data.batch_size 8\n"),
        ("--trainer.accumulate_grad_batches 3", "give --trainer.accumulate_grad_batches 1\n"),
        ("--trainer.devices 3 --trainer.strategy ddp", "choose a number of devices that divides 8\n"),
        ("--trainer.devices 2 --trainer.strategy fsdp2", "8 x 2 devices); give --data.batch_size 4\n"),
    ],
)  # fmt: skip
def test_another_number_of_samples_is_refused_and_nothing_is_written(words, told, begin, half_done):
    folder, _ = half_done
    before = (folder / "config.yaml").read_bytes()
    status, output = begin("run", words)
    assert status == 2 and told in output and output.count("error: ") == 1
    assert (folder / "config.yaml").read_bytes() == before


def test_a_precision_changes_only_if_it_is_asked_for(begin, half_done, monkeypatch):
    folder, _ = half_done
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["precision"] is None
    monkeypatch.setattr(machine, "our_precision", lambda accelerator: "bf16-mixed")  # as on a GPU
    status, output = begin("run")
    assert status == 2 and "was trained in 32-true, and this machine would go on in bf16-mixed" in output
    assert "give --trainer.precision 32-true to go on as before" in output
    status, output = begin("run", "--trainer.precision bf16")
    assert status == 0 and "with precision bf16-mixed (before: 32-true)" in output, output


def test_a_checkpoint_within_a_step_goes_on_after_the_step_before(begin, half_done):
    """Gradients that were accumulated so far are in no checkpoint."""
    folder, weights = half_done
    cut = "--data.batch_size 4 --trainer.accumulate_grad_batches 2"
    assert begin("other", cut)[0] == 0
    (other := folder.with_name("other") / "model.safetensors").unlink()
    (other.parent / "checkpoints/step=4.ckpt").unlink()

    def one_batch_more(checkpoint: dict) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        for counts in (loop["epoch_loop.batch_progress"][part] for part in ("total", "current")):
            counts.update({name: count + 1 for name, count in counts.items()})

    edit_checkpoint(other.parent / "checkpoints/step=2.ckpt", one_batch_more)
    assert begin("other", "--data.batch_size 8 --trainer.accumulate_grad_batches 1")[0] == 0
    check_ends_as(other.parent, weights)


def state_after(steps: int, batches: int, epoch: int, extra: int = 0) -> dict:
    """What Lightning saves after so many steps of `batches` batches, `epoch` steps an epoch."""
    total = steps * batches + extra
    current = (steps - 1) % epoch * batches + batches + extra
    progress = {
        name: {"ready": count, "started": count, "processed": count, "completed": count - 1}
        for name, count in (("total", total), ("current", current))
    }
    loop = {
        "epoch_loop.state_dict": {"_batches_that_stepped": steps - 1},
        "epoch_loop.batch_progress": progress | {"is_last_batch": current == epoch * batches},
    }
    return {"global_step": steps, "loops": {"fit_loop": loop}}


@pytest.mark.parametrize("steps", [1, 3, 4, 7])
@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("now", [1, 2, 6])
@pytest.mark.parametrize("known", [True, False])
def test_counts_are_those_of_a_run_that_was_always_cut_so(steps, before, now, known):
    state = state_after(steps, before, epoch=3)
    recount(state, before if known else None, now)
    assert state == state_after(steps, now, epoch=3)


@pytest.mark.parametrize(("steps", "extra", "now"), [(4, 1, 1), (4, 2, 3), (5, 1, 2)])
def test_batches_of_an_unfinished_step_count_for_nothing(steps, extra, now):
    state = state_after(steps, 3, epoch=10, extra=extra)
    state["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] = steps
    recount(state, 3, now)
    assert state == state_after(steps, now, epoch=10)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (ONE | {"devices": 2, "batch_size": 4}, None),
        (ONE | {"devices": 2, "num_nodes": 2, "batch_size": 2}, None),
        (ONE | {"devices": 2, "num_nodes": 2, "batch_size": 1, "accumulate_grad_batches": 2}, None),
        (ONE | {"devices": 2, "num_nodes": 2}, "8 x 2 devices x 2 nodes); give --data.batch_size 2"),
        (
            ONE | {"accumulate_grad_batches": 16, "batch_size": 3},
            "--data.batch_size 8 --trainer.accumulate_grad",
        ),
        (ONE | {"devices": 16}, "choose a number of devices that divides 8"),
    ],
)
def test_the_product_is_what_counts(now, told):
    check_same_batch(Path("run"), {}, now)  # nothing is known of the run
    if told is None:
        check_same_batch(Path("run"), ONE, now)
        return
    with pytest.raises(UserError) as refused:
        check_same_batch(Path("run"), ONE, now)
    assert told in str(refused.value)


def test_only_what_changed_is_said():
    assert changes(ONE, ONE) == "" and changes({}, ONE) == ""
    assert changes(ONE, ONE | {"devices": 2}) == " with 2 devices (before: 1)"
    other = {"num_nodes": 1, "accelerator": "cuda", "strategy": "fsdp2", "new": 1}
    before = {"num_nodes": 2, "accelerator": "cpu", "strategy": "ddp", "old": 2}
    told = "1 node (before: 2), accelerator cuda (before: cpu), strategy fsdp2 (before: ddp)"
    assert changes(before, other) == f" with {told}"


@pytest.mark.parametrize(
    ("trainer", "known"),
    [
        ({"devices": "auto", "precision": None}, {"batch_size": 8}),
        ({"devices": "2", "precision": 32}, {"devices": 2, "batch_size": 8, "precision": "32-true"}),
        ({"devices": [0, 1], "num_nodes": 3}, {"num_nodes": 3, "batch_size": 8}),
    ],
)
def test_an_older_recipe_says_what_it_knows(trainer, known, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": trainer, "data": {"batch_size": 8}}))
    assert recorded_machine(RunFolder(tmp_path)) == known


@pytest.mark.parametrize(
    "damage",
    [7, "cpu", [1, 2], {"devices": "two"}, {"batch_size": 0}, {"num_nodes": 1.5}, {"devices": None}],
)
def test_a_checkpoint_whose_machine_is_none_is_one_sentence(damage, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {}, "data": {"batch_size": 8}}))
    file = tmp_path / "step=3.ckpt"
    torch.save({"global_step": 3, MACHINE: damage}, file)
    with pytest.raises(CheckpointError, match=r"step=3\.ckpt: its ") as told:
        going_on(RunFolder(tmp_path), file, ONE, has_precision=True)
    assert "\n" not in str(told.value)


def test_limits_of_an_epoch_are_compared_in_steps():
    def recipe(limit: int | float, batches: int) -> dict:
        return {"trainer": {"limit_train_batches": limit, "accumulate_grad_batches": batches}}

    assert differences(recipe(4, 1), recipe(8, 2)) == [] == differences(recipe(0.5, 1), recipe(0.5, 2))
    assert differences(recipe(4, 1), recipe(4, 2)) == ["trainer.limit_train_batches, in steps: 4.0 -> 2.0"]
