"""The processes of a run: whether they are as many as the recipe asks for, and what the first one decides.

    processes = started_processes(trainer)
    checkpoint = processes.first_decides(lambda: newest_checkpoint(folder))

A run has a process for each device. Lightning starts them, or torchrun, or srun of Slurm.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from jsonargparse import Namespace
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator
from torch.distributed import DistError, TCPStore

from vjepa.errors import UserError, require
from vjepa.training.trainer_settings import class_name

STARTERS = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
"""What starts all processes of a run, in the order in which Lightning looks for it."""
ON_A_CPU = 8
"""Processes that any machine may start; more than that, and more than its cores, are a typing error."""
WAIT = timedelta(minutes=30)
"""How long a process waits for the first one, which may have to read all of the data."""
FAREWELL = 60.0
"""Seconds that the first process waits until the others know that the run ends."""


class Processes:
    """This process among those of its run."""

    def __init__(self, starter: ClusterEnvironment, devices: int, nodes: int) -> None:
        is_alone = isinstance(starter, LightningEnvironment)
        self.rank = (
            starter.node_rank() * devices + starter.local_rank() if is_alone else starter.global_rank()
        )
        self.count = devices * nodes
        # Lightning starts the others of its machine later, when the fit begins.
        self.others = (self.count if starter.creates_processes_externally else nodes) - 1
        self.decisions = 0
        self.address = (starter.main_address, starter.main_port) if self.count > 1 else None
        self.store = self.shared_store() if self.count > 1 else None

    def shared_store(self) -> TCPStore:
        """Where all processes read what the first one writes; torch uses it too when the fit begins."""
        os.environ.setdefault("MASTER_PORT", str(self.address[1]))  # a free one, chosen just now
        of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        is_server = self.rank == 0 and not of_torchrun
        settings = {"wait_for_workers": False, "multi_tenant": True, "timeout": WAIT}
        try:
            return TCPStore(*self.address, is_master=is_server, **settings)
        except DistError as error:
            raise self.unreachable(error) from error

    def first_decides(self, decide: Callable[[], Path | None]) -> Path | None:
        """What `decide` returns in the first process, in all of them.

        Where it raises or exits, the other processes exit too, and leave the words to the first one.
        """
        if self.store is None:
            return decide()
        key = f"vjepa/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{self.decisions}"
        self.decisions += 1
        if self.rank == 0:
            return self.decided(key, decide)
        try:
            decision = json.loads(self.store.get(key))
            if "status" in decision:
                self.store.add(f"{key}/heard", 1)
        except DistError as error:
            raise self.unreachable(error) from error
        if "status" in decision:
            raise SystemExit(decision["status"])
        return decision["path"] and Path(decision["path"])

    def decided(self, key: str, decide: Callable[[], Path | None]) -> Path | None:
        """Decide, and tell the others."""
        try:
            path = decide()
        except (Exception, SystemExit) as error:
            status = error.code if isinstance(error, SystemExit) else 2
            self.store.set(key, json.dumps({"status": status}))
            end = time.monotonic() + FAREWELL
            while self.store.add(f"{key}/heard", 0) < self.others and time.monotonic() < end:
                time.sleep(0.05)
            raise
        self.store.set(key, json.dumps({"path": path and str(path)}))
        return path

    def unreachable(self, error: DistError) -> UserError:
        host, port = self.address
        return UserError(
            f"process {self.rank} of {self.count} does not reach the first one at {host}:{port}, which "
            f"ended, or does not listen there ({str(error).partition('.')[0][:200]}); start them all again, "
            "or give another MASTER_ADDR or MASTER_PORT"
        )


def started_processes(trainer: Namespace) -> Processes:
    """The processes that a Trainer's settings ask for. Raises UserError if others were started."""
    devices = device_count(trainer.accelerator, trainer.devices)
    nodes = trainer.num_nodes
    require(nodes > 0, f"trainer.num_nodes={nodes}: give the number of machines, 1 or more")
    if "SLURM_NTASKS" in os.environ and "SLURM_PROCID" not in os.environ:
        # The shell of salloc, which is no task itself. This is Lightning's own way to say so.
        os.environ["SLURM_JOB_NAME"] = "interactive"
    kind = next((kind for kind in STARTERS if kind.detect()), LightningEnvironment)
    check_started(kind, devices, nodes)
    return Processes(kind(), devices, nodes)


def device_count(accelerator: object, devices: int | str | list[int]) -> int:
    """How many devices of this machine a Trainer takes. Raises UserError if it has not as many."""
    kind = accelerator_class(accelerator)
    asked = kind.auto_device_count() if devices == "auto" else devices
    try:
        count = len(kind.get_parallel_devices(kind.parse_devices(asked)) or [])
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    require(count > 0, f"trainer.devices={devices}: give a number of devices, 1 or more")
    cores = os.cpu_count() or 1
    most = max(cores, ON_A_CPU)
    text = f"trainer.devices={devices} would start {count} processes, and this machine has {cores} cores"
    require(kind is not CPUAccelerator or count <= most, f"{text}; give {most} or fewer")
    return count


def accelerator_class(accelerator: object) -> type[Accelerator]:
    """Lightning's class of a Trainer's `accelerator`. Raises UserError if this machine has none."""
    kinds = {"mps": MPSAccelerator, "cuda": CUDAAccelerator, "cpu": CPUAccelerator}
    name = class_name(accelerator).removesuffix("Accelerator").lower()
    require(name in ("auto", "gpu", *kinds), f"trainer.accelerator={name}: give auto, cpu, gpu, cuda or mps")
    there = [known for known, kind in kinds.items() if kind.is_available()]  # the processor is the last one
    if name in ("auto", "gpu"):
        name = there[0] if name == "auto" or there[0] != "cpu" else name
    require(name in there, f"trainer.accelerator={name}: this machine has none; give auto or cpu")
    return kinds[name]


def check_started(kind: type[ClusterEnvironment], devices: int, nodes: int) -> None:
    """Raise UserError if as many processes were started as the recipe does not ask for."""
    if kind is SLURMEnvironment:
        given = "srun"
        right = f"srun --nodes {nodes} --ntasks-per-node {devices}"
        names = {"SLURM_NTASKS": devices * nodes, "SLURM_NTASKS_PER_NODE": devices, "SLURM_NNODES": nodes}
    else:  # also where nothing else starts them: what another program has left here would mislead torch
        given = "torchrun"
        right = f"torchrun --nnodes {nodes} --nproc_per_node {devices}, or unset what no torchrun has set"
        names = {"WORLD_SIZE": devices * nodes, "LOCAL_WORLD_SIZE": devices}
    found = {name: number for name in names if (number := os.environ.get(name, "").partition("(")[0])}
    wrong = [f"{name}={number}" for name, number in found.items() if number != str(names[name])]
    require(
        not wrong,
        f"{given} says that there are other processes ({', '.join(wrong)}) than trainer.devices={devices} x "
        f"trainer.num_nodes={nodes}; give the numbers of {given} to both, or start {right}",
    )
    several = kind is SLURMEnvironment and devices * nodes > 1
    text = f"srun was given no --ntasks-per-node, without which ranks are not known; start {right}"
    require(not several or "SLURM_NTASKS_PER_NODE" in found, text)
    if kind is LightningEnvironment:
        check_place(devices, nodes)


def check_place(devices: int, nodes: int) -> None:
    """Raise UserError if the first of several processes is nowhere named, or this one is beyond the last."""
    places = {"NODE_RANK": nodes, "LOCAL_RANK": devices}
    for name, count in places.items():
        number = os.environ.get(name, "0")
        text = f"{name}={number} is set, and the recipe has {count}, counted from 0; unset it"
        require(number.isdecimal() and int(number) < count, text)
    needed = (
        ["MASTER_ADDR", "MASTER_PORT"] if nodes > 1 or (devices > 1 and "LOCAL_RANK" in os.environ) else []
    )
    needed += ["NODE_RANK"] if nodes > 1 and "GROUP_RANK" not in os.environ else []
    lacking = [name for name in needed if name not in os.environ]
    require(
        not lacking,
        f"trainer.devices={devices} x trainer.num_nodes={nodes}, and nothing says how the processes find one "
        f"another ({', '.join(lacking)}); start them with torchrun or srun (docs/cluster.md)",
    )
