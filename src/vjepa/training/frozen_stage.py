"""The base of stages that train a network on top of a frozen encoder.

A stage adds its own settings, `build`, the steps of Lightning, and the `parts` of its export:

    class Count(FrozenStage):
        def __init__(self, encoder: str, weights: Weights = "ema", seed: int = 0):
            super().__init__(encoder, weights, OptimConfig(), seed)

        def build(self) -> None:
            self.head = nn.Linear(self.encoder.config.width, 1)
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import ClassVar

import lightning as L
import torch
from torch import Tensor

from vjepa.data.means import Means
from vjepa.errors import require
from vjepa.models.frozen import freeze
from vjepa.training.optim import OptimConfig, Schedule, set_step
from vjepa.training.sharded import share_out
from vjepa.weights.files import weights_digest
from vjepa.weights.load import Weights, load_encoder

DIGEST = "encoder_digest"
"""Where a checkpoint holds the digest of the encoder whose tokens it was trained on."""
TEACHER_DIGEST = "teacher_digest"
"""The same of a distillation's teacher."""


class FrozenStage(L.LightningModule):
    """Loads the encoder, seeds the trained networks, sets schedules, keeps frozen weights out of checkpoints.

    A subclass overrides `build`. If it needs more frozen networks, it overrides `load_frozen` too and names
    them in FROZEN.
    """

    FROZEN: ClassVar[tuple[str, ...]] = ("encoder",)
    """Attributes that hold frozen networks: always in evaluation mode, and never in a checkpoint."""

    def __init__(self, encoder: str, weights: Weights, optim: OptimConfig, seed: int) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            seed: Decides the initial weights of what `build` makes.
        """
        super().__init__()
        self.source = encoder
        self.weights = weights
        self.optim = optim
        self.seed = seed
        self.step_means = Means()

    def configure_model(self) -> None:
        """Lightning calls this before `fit` and again before `test`; the networks are made once."""
        if hasattr(self, "encoder"):
            return
        self.load_frozen()
        # So the initial weights depend on the seed alone, and later draws do not depend on their number.
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.build()
        share_out(self)  # with trainer.strategy fsdp2

    def load_frozen(self) -> None:
        """Load the networks that do not train. Runs before the random generator is seeded for `build`."""
        self.encoder = freeze(load_encoder(self.source, self.weights))

    def build(self) -> None:
        """Make the networks that train, and check the recipe. The random generator is seeded for it."""
        raise NotImplementedError

    @cached_property
    def encoder_digest(self) -> str:
        """Of the frozen weights. It is computed once, since it takes seconds for a large encoder."""
        return weights_digest(self.encoder)

    def learning_rates(self) -> list[Schedule]:
        """One schedule for each pair (matrices, vectors) of the optimiser's parameter groups."""
        return [self.optim.lr]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run. Ask for it only when a checkpoint is loaded: to answer, Lightning makes the
        data loader, which begins where the checkpoint ended."""
        return int(self.trainer.estimated_stepping_batches)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        # Lightning counts finished steps; schedules count the step that is about to be taken.
        step = self.global_step + 1
        # Lightning wraps the optimiser, and the groups to be set are those of the wrapped one.
        set_step(optimizer.optimizer, self.optim, step, self.total_steps, self.learning_rates())
        optimizer.step(closure=partial(self.finish_step, optimizer_closure))

    def finish_step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Run the last batch of a step by `closure`. Its gradients are clipped after that."""
        loss = closure()
        self.end_step(self.step_means.compute(self.trainer.strategy))
        return loss

    def end_step(self, means: dict[str, float]) -> None:
        """Log what `training_step` added to `step_means`: the means over all batches and devices of a step.

        A single batch would be a device's share of it. The gradients are complete, and not yet clipped.
        """
        self.log_dict(means)

    def train(self, mode: bool = True) -> "FrozenStage":
        """Training mode for all but the frozen networks."""
        super().train(mode)
        # Lightning switches the whole stage to training mode, which would bring dropout into frozen networks.
        for name in self.FROZEN:
            # Modes may be switched before `configure_model` has made the networks, and some are optional.
            if getattr(self, name, None) is not None:
                getattr(self, name).eval()
        return self

    def unsaved_keys(self) -> set[str]:
        """Keys that a checkpoint leaves out: frozen networks, parameters that do not train, tied doubles."""
        # A frozen encoder may be many times larger than what is trained, and it has a file of its own.
        networks = tuple(f"{name}." for name in self.FROZEN)
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        # A tied parameter has several names in the state dict, of which a checkpoint holds the first.
        parameters = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        fixed = parameters - trained
        return {key for key in self.state_dict() if key in fixed or key.startswith(networks)}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        unsaved = self.unsaved_keys()
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key not in unsaved}
        checkpoint[DIGEST] = self.encoder_digest

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Add the frozen weights, which were loaded again, so that Lightning finds every key it expects.

        Raises UserError if the checkpoint was trained on the tokens of another encoder.
        """
        same = DIGEST not in checkpoint or checkpoint[DIGEST] == self.encoder_digest
        text = f"the checkpoint was trained on the tokens of another encoder than {self.source}"
        require(same, f"{text}; give --model.encoder the one of its run")
        unsaved = self.unsaved_keys()
        loaded = {key: value for key, value in self.state_dict().items() if key in unsaved}
        checkpoint["state_dict"] = loaded | checkpoint["state_dict"]


def divide_gradients(stage: FrozenStage, count: int) -> None:
    """Make gradients of sums, over the batches and devices of a step, those of a mean over `count` values.

    Batches differ in how many values they add up, so that a mean of their means would depend on how a step is
    cut into batches.
    """
    # Lightning has divided the gradients by these numbers, as if batches were equal.
    batches = stage.trainer.accumulate_grad_batches * stage.trainer.world_size
    gradients = [parameter.grad for parameter in stage.parameters() if parameter.grad is not None]
    torch._foreach_mul_(gradients, batches / max(count, 1))
