"""FSDP2 in two processes: a stage trains, saves, resumes and exports as it does in one process."""

import os
from pathlib import Path

import pytest

from vjepa import torchvision_ops  # noqa: F401  before lightning imports torchvision, in a process of its own

# isort: split
import lightning as L
import torch
from safetensors.torch import load_file

from stages.vlm import VLM
from tests.stage_runs import fit
from tests.stages.test_cut import STAGES, free_port, write_world
from vjepa.errors import UserError
from vjepa.language.alignment_file import LANGUAGE_FOLDER
from vjepa.training.loss_guard import LossGuard
from vjepa.training.machine import MachineRecord
from vjepa.training.monitors import OptimizerMonitor
from vjepa.training.sharded import check_sharding, own_moments, whole
from vjepa.weights.export import export

STEPS = 20
HALF = 10
NAMES = ("pretrain", "cooldown", "ac", "align", "vlm")
RESUMED = ("pretrain", "ac", "vlm")


class SaveHalf(L.Callback):
    """Saves a checkpoint in the middle of the run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if trainer.global_step == HALF and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self.file, weights_only=False)


def train(world: Path, name: str, run: str, ckpt: Path | None = None, cut: tuple = (1, 8, 1), **settings):
    """Train a stage with everything that reads its weights, and export it. cut: devices, batch, accumulated.

    Returns the Trainer and the stage.
    """
    devices, batch, accumulated = cut
    folder = world / f"{name}-{run}"
    stage, data = STAGES[name](world, batch)
    callbacks = [MachineRecord({"accumulate_grad_batches": accumulated}), LossGuard(), OptimizerMonitor()]
    callbacks += [SaveHalf(folder / "half.ckpt")]
    usual = {"devices": devices, "accumulate_grad_batches": accumulated, "gradient_clip_val": 0.1}
    usual |= {"val_check_interval": 7 * accumulated, "check_val_every_n_epoch": None, "log_every_n_steps": 2}
    steps = settings.pop("steps", STEPS)
    trainer = fit(stage, data, folder, steps, ckpt_path=ckpt, callbacks=callbacks, **usual | settings)
    export(folder / "model.safetensors", stage.parts(), {}, writes=trainer.is_global_zero)
    return trainer, stage


def in_two(rank: int, world: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (world / "port").read_text()}
    os.environ |= place | {"WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    for name in NAMES:
        train(world, name, "shared", cut=(2, 4, 1), strategy="fsdp2")
    for name in RESUMED:
        half = world / f"{name}-one/half.ckpt"
        train(world, name, "shared-after-one", half, cut=(2, 2, 2), strategy="fsdp2")
    half = world / "pretrain-shared/half.ckpt"
    train(world, "pretrain", "ddp-after-shared", half, cut=(2, 4, 1), strategy="ddp")
    clipped = {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value", "strategy": "fsdp2", "steps": 4}
    train(world, "pretrain", "shared-by-value", cut=(2, 4, 1), **clipped)
    train(world, "pretrain", "shared-mixed", cut=(2, 4, 1), strategy="fsdp2", precision="bf16-mixed", steps=3)
    check_whole(world)


def check_whole(world: Path) -> None:
    """One process alone may compute with weights that were gathered; outside, no device holds them all."""
    trainer, stage = train(world, "pretrain", "shared-whole", cut=(2, 4, 1), strategy="fsdp2", steps=1)
    stage.encoder.activation_checkpointing = True  # for the next fit
    clip = torch.zeros(1, 3, 4, 32, 32)
    with whole(stage.target), torch.no_grad():
        if trainer.is_global_zero:
            torch.save(stage.target(clip), world / "alone.pt")
    held = sum(p.to_local().numel() for p in stage.target.parameters())
    every = sum(p.numel() for p in stage.target.parameters())
    assert held < 0.6 * every
    torch.save(stage.target(clip), world / f"together{trainer.global_rank}.pt")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The runs of one process, then those of two, which continue some of the first."""
    world = write_world(tmp_path_factory.mktemp("world"))
    for name in NAMES:
        train(world, name, "one")
    (world / "port").write_text(str(free_port()))
    torch.multiprocessing.spawn(in_two, (world,), nprocs=2)
    return world


def difference(world: Path, first: str, second: str) -> float:
    one, other = (load_file(world / run / "model.safetensors") for run in (first, second))
    assert one.keys() == other.keys()
    return max(float((value - other[key]).abs().max()) for key, value in one.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_that_share_the_weights_train_as_one_does(world, name):
    assert difference(world, f"{name}-one", f"{name}-shared") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_their_checkpoints_are_those_of_one_process(world, name):
    one, shared = (
        torch.load(world / f"{name}-{run}/half.ckpt", weights_only=True) for run in ("one", "shared")
    )
    assert one["state_dict"].keys() == shared["state_dict"].keys()
    torch.testing.assert_close(shared["state_dict"], one["state_dict"], atol=1e-5, rtol=0)
    torch.testing.assert_close(shared["optimizer_states"], one["optimizer_states"], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_under_either_strategy(world, name):
    train(world, name, "one-after-shared", world / f"{name}-shared/half.ckpt", cut=(1, 2, 4))
    assert difference(world, f"{name}-one", f"{name}-one-after-shared") < 1e-5
    assert difference(world, f"{name}-one", f"{name}-shared-after-one") < 1e-5


@pytest.mark.slow
def test_what_else_works_under_it(world):
    assert difference(world, "pretrain-one", "pretrain-ddp-after-shared") < 1e-5
    train(world, "pretrain", "by-value", gradient_clip_val=1e-4, gradient_clip_algorithm="value", steps=4)
    assert difference(world, "pretrain-by-value", "pretrain-shared-by-value") < 1e-5
    assert difference(world, "pretrain-one", "pretrain-by-value") > 0
    train(world, "pretrain", "mixed", precision="bf16-mixed", steps=3)
    # Rounded to 8 bits, the same gradients differ.
    assert difference(world, "pretrain-mixed", "pretrain-shared-mixed") < 2e-2
    alone, first, second = (torch.load(world / f"{file}.pt") for file in ("alone", "together0", "together1"))
    assert torch.equal(alone, first) and torch.equal(first, second)


@pytest.mark.slow
def test_the_language_model_beside_an_export_is_the_same(world):
    one, shared = (
        load_file(world / f"vlm-{run}" / LANGUAGE_FOLDER / "model.safetensors") for run in ("one", "shared")
    )
    assert VLM.__name__ == "VLM" and one.keys() == shared.keys()
    torch.testing.assert_close(shared, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stage", ["probe", "anticipate", "clone"])
def test_small_stages_take_ddp(stage):
    with pytest.raises(UserError, match=f"what {stage} trains is small and fits every device; choose ddp"):
        check_sharding(stage, "fsdp2", None)
    check_sharding(stage, "ddp", "16-mixed")


@pytest.mark.parametrize("precision", [16, "16", "16-mixed"])
def test_float16_is_refused(precision):
    with pytest.raises(UserError, match="does not scale gradients; choose"):
        check_sharding("pretrain", "fsdp2", precision)
    for other in (None, 32, "bf16-mixed"):
        check_sharding("pretrain", "fsdp2", other)


def test_moments_follow_the_order_of_the_optimiser_and_not_of_the_model():
    """Lightning's own strategy numbers them by the order of the model, so files of DDP would not fit."""
    model = torch.nn.Sequential(torch.nn.LayerNorm(3), torch.nn.Linear(3, 3))
    vectors, matrices = [p for p in model.parameters() if p.ndim == 1], [model[1].weight]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": vectors}])
    model(torch.randn(2, 3)).square().sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    again = torch.optim.AdamW([{"params": matrices}, {"params": vectors}])
    again.load_state_dict(own_moments(state, again))
    assert again.state[model[1].weight]["exp_avg"].shape == (3, 3)
    torch.testing.assert_close(again.state_dict()["state"], state["state"])
