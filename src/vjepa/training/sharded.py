"""FSDP2: the weights of a stage, their gradients and AdamW's moments are shared out over the devices.

    trainer: {strategy: fsdp2, devices: 8}

This is Lightning's ModelParallelStrategy with one axis, the data. A block's weights are gathered when it
computes, and let go of after that. Checkpoints and exports are the same single files as those of one device,
so a run continues under either strategy, and on another number of devices.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from vjepa.errors import require

NAME = "fsdp2"
"""What a recipe says: `trainer.strategy: fsdp2`."""
STAGES = ("pretrain", "cooldown", "distil", "ac", "vlm")
"""Stages whose networks may be too large for one device."""
FORWARDS = ("all_levels", "dense")
"""Methods that compute with a network's weights, beside `forward`."""
UNITS = ("blocks", "layers")
"""Attributes that hold a network's blocks, here and in transformers. Each block is gathered by itself."""


class SharedOut(ModelParallelStrategy):
    """Lightning's strategy, whose files are those of one device."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        # Lightning would share out over nodes alone, and expect another kind of parallelism within a node.
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    # State is saved and loaded by the names and numbers of one device. Lightning numbers the moments by the
    # order of the model's parameters, which is not the order of the optimiser's: other files would not fit.
    lightning_restore_optimizer = True
    lightning_module_state_dict = Strategy.lightning_module_state_dict
    load_checkpoint = Strategy.load_checkpoint
    optimizer_state = Strategy.optimizer_state

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str, storage_options: Any = None) -> None:
        """Gather all weights and moments on the first process, which writes them into one file."""
        # All processes gather each tensor in turn, and only the first one keeps it.
        whole = apply_to_collection(checkpoint, DTensor, gathered, keep=self.is_global_zero)
        Strategy.save_checkpoint(self, whole, filepath, storage_options)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        own = self.lightning_module.state_dict()
        state = checkpoint["state_dict"].items()
        parts = {key: part_of(value, own[key]) if key in own else value for key, value in state}
        self.lightning_module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(own_moments(state, optimizer))

    # Processes evaluate shares of different sizes, so none may wait there for the weights of the others.

    def on_validation_start(self) -> None:
        gather(self.lightning_module)

    def on_validation_end(self) -> None:
        let_go(self.lightning_module)

    def on_test_start(self) -> None:
        gather(self.lightning_module)

    def on_test_end(self) -> None:
        let_go(self.lightning_module)


StrategyRegistry.register(NAME, SharedOut, description="weights shared out over the devices, with FSDP2")


def check_sharding(stage: str, strategy: object, precision: object) -> None:
    """Raise UserError if a recipe asks for FSDP2 where it cannot be had. stage: Its name."""
    if strategy != NAME:
        return
    text = f"trainer.strategy={NAME}: what {stage} trains is small and fits every device; choose ddp"
    require(stage in STAGES, text)
    text = f"trainer.strategy={NAME} does not scale gradients; choose trainer.precision bf16-mixed or 32-true"
    require(str(precision) not in ("16", "16-mixed"), text)


def share_out(stage: L.LightningModule) -> None:
    """Under FSDP2, share out the networks that the stage trains; else do nothing.

    To be called from `configure_model`, when all weights are there. A second call changes nothing.
    """
    strategy = stage.trainer.strategy
    if not isinstance(strategy, SharedOut):
        return
    for name, network in stage.named_children():
        # A frozen encoder stays whole: processes that fill a cache of tokens do not compute in step.
        if name not in getattr(stage, "FROZEN", ()):
            shard(network, strategy.device_mesh["data_parallel"])


def shard(network: nn.Module, mesh: torch.distributed.device_mesh.DeviceMesh) -> None:
    """Share a network's weights out over `mesh`, block by block."""
    if isinstance(network, FSDPModule):
        return
    if hasattr(network, "extend"):  # the action-conditioned predictor reads weights of its blocks itself
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        register_fsdp_forward_method(network, "extend")
        return
    for name, blocks in network.named_modules():
        if isinstance(blocks, nn.ModuleList) and name.rpartition(".")[2] in UNITS:
            for block in blocks:
                fully_shard(block, mesh=mesh)
    # True, so that weights read between two steps (moving average, monitors, checkpoints) are parts again.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
    for name in filter(partial(hasattr, network), FORWARDS):
        register_fsdp_forward_method(network, name)


@contextmanager
def whole(network: nn.Module) -> Iterator[None]:
    """The network's weights are whole on every device inside; all processes enter and leave together."""
    gather(network)
    yield
    let_go(network)


def gather(network: nn.Module) -> None:
    """Make the weights whole until `let_go`. Does nothing to a network that is not shared out."""
    for module in units(network):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()


def let_go(network: nn.Module) -> None:
    """Keep this device's parts alone."""
    for module in units(network):
        module.set_reshard_after_forward(True, recurse=False)
        module.reshard()


def units(network: nn.Module) -> list[FSDPModule]:
    return [module for module in network.modules() if isinstance(module, FSDPModule)]


def gathered(part: DTensor, keep: bool) -> Tensor | None:
    """The whole tensor on the CPU; None on a process that does not keep it. All processes take part."""
    tensor = part.full_tensor()
    return tensor.cpu() if keep else None


def part_of(tensor: Tensor, own: Tensor) -> Tensor:
    """This device's part of a whole tensor, laid out as `own`; the tensor itself if `own` is whole."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor) or tensor.shape != own.shape:
        return tensor  # another shape is the error of whoever loads it
    # Every process has read the file, so none has to send anything.
    return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)


def own_moments(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of one device's optimiser, in the parts that this optimiser's parameters have."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = dict(zip(numbers, parameters, strict=True))
    moments = {
        number: {name: part_of(value, own[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
