"""What stages on a frozen encoder have in common: it stays in evaluation mode and out of checkpoints."""

from typing import ClassVar

import lightning as L

from vjepa.training.optim import OptimConfig, set_step


class FrozenStage(L.LightningModule):
    """Trains what stands on networks that do not train. A subclass sets `optim` and builds the networks in configure_model."""

    FROZEN: ClassVar[tuple[str, ...]] = ("encoder",)
    """Attributes that hold networks which do not train. They are rebuilt from where they came from, never resumed."""
    optim: OptimConfig

    def on_fit_start(self) -> None:
        self.total_steps = int(self.trainer.estimated_stepping_batches)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        set_step(optimizer.optimizer, self.optim, self.global_step + 1, self.total_steps)
        optimizer.step(closure=optimizer_closure)

    def train(self, mode: bool = True) -> "FrozenStage":
        """Training mode for all but the frozen networks."""
        super().train(mode)
        for name in self.FROZEN:
            if hasattr(self, name):
                getattr(self, name).eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if not self.is_frozen(key)}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["state_dict"] |= {
            key: value for key, value in self.state_dict().items() if self.is_frozen(key)
        }

    def is_frozen(self, key: str) -> bool:
        return key.split(".")[0] in self.FROZEN
