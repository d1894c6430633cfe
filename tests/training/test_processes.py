"""As many processes as the recipe asks for, and all of them begin where the first one says."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from jsonargparse import Namespace
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator

from vjepa.errors import UserError
from vjepa.training.processes import Processes, device_count, started_processes

TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"},
    **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
}
SRUN = {
    **{"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
    **{"SLURM_NNODES": "1", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"},
}
BY_HAND = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "NODE_RANK": "0", "LOCAL_RANK": "1"}
NAMES = ("RANK", "RANKS", "SLURM", "WORLD_SIZE", "MASTER", "TORCHELASTIC")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No variable of a starter, and none that outlives a test."""
    for name in [*TORCHRUN, *SRUN, *BY_HAND, *os.environ]:
        if any(word in name for word in NAMES):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
    monkeypatch.setattr(Processes, "shared_store", lambda self: None)


def started(monkeypatch, environment: dict[str, str], devices: object = 1, nodes: int = 1) -> Processes:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return started_processes(Namespace(accelerator="cpu", devices=devices, num_nodes=nodes))


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "rank", "others"),
    [
        ({}, 1, 1, 0, 0),
        ({}, "auto", 1, 0, 0),
        ({}, "2", 1, 0, 0),  # Lightning starts the other one when the fit begins
        (BY_HAND, 2, 1, 1, 1),  # as Lightning starts it
        (BY_HAND | {"NODE_RANK": "1", "WORLD_SIZE": "4"}, 2, 2, 3, 3),
        (TORCHRUN, 2, 1, 1, 1),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "1"}, 1, 2, 1, 1),
        (SRUN, 2, 1, 1, 1),
        (SRUN | {"SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"}, 1, 2, 1, 1),
        (SRUN | TORCHRUN, 2, 1, 1, 1),  # torchrun below Slurm
        (SRUN | {"WORLD_SIZE": "9"}, 2, 1, 1, 1),  # which Lightning does not read there
        ({"WORLD_SIZE": ""}, 1, 1, 0, 0),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, 1, 1, 0, 0),  # a script of sbatch
        # A shell of salloc, whatever it is called; srun was not used.
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "interactive"}, 1, 1, 0, 0),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "mine", "SLURM_JOB_ID": "7"}, 2, 1, 0, 0),
    ],
)
def test_a_process_knows_its_place(monkeypatch, environment, devices, nodes, rank, others):
    found = started(monkeypatch, environment, devices, nodes)
    assert (found.rank, found.others) == (rank, others)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "told"),
    [
        (SRUN, 1, 1, r"srun .*SLURM_NTASKS=2.*trainer\.devices=1 x trainer\.num_nodes=1.*srun --nodes 1"),
        (SRUN, 1, 2, "SLURM_NTASKS_PER_NODE=2, SLURM_NNODES=1"),
        (SRUN, 4, 1, "SLURM_NTASKS=2"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 1, 1, "SLURM_NTASKS=2"),  # sbatch without srun
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 2, 1, "no --ntasks-per-node"),
        (TORCHRUN, 1, 1, r"torchrun .*WORLD_SIZE=2, LOCAL_WORLD_SIZE=2.*devices=1 .*--nproc_per_node 1"),
        (TORCHRUN, 1, 2, "LOCAL_WORLD_SIZE=2"),
        (TORCHRUN, 4, 1, "WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2"}, 1, 1, "unset what no torchrun has set"),
        ({"WORLD_SIZE": "two"}, 1, 1, "WORLD_SIZE=two"),
        ({"LOCAL_RANK": "1"}, 1, 1, "LOCAL_RANK=1 is set"),
        ({"LOCAL_RANK": "x"}, 1, 1, "LOCAL_RANK=x is set"),
        ({"LOCAL_RANK": "1"}, 2, 1, "MASTER_ADDR, MASTER_PORT"),
        ({}, 1, 2, "MASTER_ADDR, MASTER_PORT, NODE_RANK.* with torchrun or srun"),
        (BY_HAND | {"NODE_RANK": "2"}, 2, 2, "NODE_RANK=2 is set, and the recipe has 2"),
        ({}, 99, 1, r"trainer\.devices=99 would start 99 processes"),
        ({}, -1, 1, "trainer: `devices`"),
        ({}, "0,1", 1, "trainer: `devices`"),
        ({}, [0], 1, "trainer: `devices`"),
        ({}, 1, 0, r"trainer\.num_nodes=0"),
    ],
)
def test_other_processes_than_the_recipe_asks_for_are_refused(monkeypatch, environment, devices, nodes, told):
    with pytest.raises(UserError, match=told) as refused:
        started(monkeypatch, environment, devices, nodes)
    assert "\n" not in str(refused.value)


def test_devices_are_counted_as_lightning_does(monkeypatch):
    for name, value in {"is_available": True, "auto_device_count": 4}.items():
        monkeypatch.setattr(CUDAAccelerator, name, staticmethod(lambda value=value: value))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("lightning.fabric.utilities.device_parser._get_all_available_gpus", gpus)
    given = {"auto": 4, -1: 4, "-1": 4, "2": 2, 2: 2, "0,1": 2, "3,": 1}
    assert {devices: device_count("gpu", devices) for devices in given} == given
    assert device_count("cuda", [1, 3]) == device_count("auto", [0, 1]) == 2
    for devices in (5, "0,9", "x"):
        with pytest.raises(UserError, match=r"^trainer: "):
            device_count("gpu", devices)


def gpus(*_, **__) -> list[int]:
    return [0, 1, 2, 3]


def test_an_accelerator_that_is_not_there_is_named():
    for accelerator in (
        "tpu",
        "cuda",
        Namespace(class_path="lightning.pytorch.accelerators.CUDAAccelerator"),
    ):
        with pytest.raises(UserError, match=r"^trainer\.accelerator=(tpu|cuda): "):
            device_count(accelerator, 1)


def refuse() -> Path:
    raise UserError("no")


def leave() -> Path:
    raise SystemExit(0)


def agree() -> Path:
    return Path("a/b c.ckpt")


def vanish() -> Path:
    os._exit(9)


def take_part(rank: int, port: int, decide, together, answers) -> None:
    """One of three processes, as torchrun starts them without a store of its own."""
    environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "3", "MASTER_PORT": str(port)}
    os.environ.update(TORCHRUN | environment)
    time.sleep(0.2 * (2 - rank))  # the first comes last
    try:
        ours = Processes(TorchElasticEnvironment(), 3, 1)
        first = ours.first_decides(lambda: Path(f"of {rank}"))
        second = ours.first_decides(lambda: None)
        together.wait(60)
        answers.put((rank, str(first), second, ours.first_decides(decide)))
        together.wait(60)
    except (UserError, SystemExit) as error:
        answers.put((rank, str(error)))


@pytest.mark.parametrize(
    ("decide", "answer"),
    [(refuse, ["no", "2", "2"]), (leave, ["0", "0", "0"]), (vanish, None), (agree, None)],
)
def test_what_the_first_process_decides_holds_for_all(monkeypatch, decide, answer):
    monkeypatch.undo()
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    shared = (LightningEnvironment().main_port, decide, fork.Barrier(3), answers)
    taking_part = [fork.Process(target=take_part, args=(rank, *shared)) for rank in range(3)]
    for process in taking_part:
        process.start()
    said = sorted(answers.get(timeout=60) for _ in range(2 if decide is vanish else 3))
    for process in taking_part:
        process.join(60)
    if decide is vanish:
        assert [rank for rank, _ in said] == [1, 2]
        assert all("does not reach the first one at 127.0.0.1" in words for _, words in said)
    elif decide is agree:
        assert said == [(rank, "of 0", None, Path("a/b c.ckpt")) for rank in range(3)]
    else:
        assert [words for _, words in said] == answer
