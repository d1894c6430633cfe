"""The base of stages that train an encoder beside its moving average: pretraining, cooldown, distillation."""

import lightning as L
import torch
from torch import nn

from vjepa.models.encoder import Encoder
from vjepa.models.predictor import Predictor
from vjepa.objectives import ema
from vjepa.training.alarms import AlarmConfig
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.optim import OptimConfig, Schedule, adamw, set_step
from vjepa.training.pretraining_monitors import CollapseMonitor
from vjepa.training.sharded import share_out
from vjepa.training.warm_start import check_same_configs, network_configs, start_from
from vjepa.weights.export import Part, encoder_part, predictor_part


class AveragedStage(L.LightningModule):
    """Schedules, the moving average, where weights come from, and what a checkpoint and an export hold.

    A subclass makes the three networks.
    """

    encoder: Encoder
    """The one that is trained."""
    target: Encoder
    """Its moving average."""
    predictor: Predictor

    def __init__(
        self,
        optim: OptimConfig,
        momentum: Schedule,
        half_life: float | None,
        init_from: str | None,
        alarm: AlarmConfig,
        seed: int,
    ) -> None:
        """
        Args:
            optim: AdamW and its schedules.
            momentum: Share of the moving average that stays at each step.
            half_life: The same as the clips after which half of it is new; None for `momentum`.
            init_from: Weights to start from; None for scratch.
            alarm: When the run counts as collapsed, and what happens then.
            seed: Decides the initial weights (through seed_everything) and the masks.
        """
        super().__init__()
        self.optim = optim
        self.momentum = momentum
        self.half_life = half_life
        self.init_from = init_from
        self.alarm = alarm
        self.continues = False  # the command line says so, as the Trainer knows it only after `setup`
        self.seed = seed

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What a run hands over, and starts from."""
        return {"encoder": self.encoder, "target": self.target, "predictor": self.predictor}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.encoder, self.predictor)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        """The schedules, AdamW and the moving average, once per step however many batches are accumulated."""
        step = self.global_step + 1
        set_step(optimizer.optimizer, self.optim, step, self.total_steps)
        optimizer.step(closure=optimizer_closure)  # checkpoints are saved before the batch-end hook
        ema.update(self.target, self.encoder, self.momentum_at(step))

    def momentum_at(self, step: int) -> float:
        """Share of the moving average that stays at a step."""
        if self.half_life is None:
            return self.momentum.at(step, self.total_steps)
        trainer = self.trainer
        clips = trainer.datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        return ema.momentum_of(self.half_life, clips)

    def setup(self, stage: str) -> None:
        """Weights: 1. this run's checkpoint, which Lightning loads later; 2. `init_from`; 3. scratch."""
        if self.init_from and not self.continues:
            start_from(self.init_from, self.networks)

    def configure_model(self) -> None:
        share_out(self)

    def configure_callbacks(self) -> list[L.Callback]:
        return [LabelFreeMonitor(), CollapseMonitor(self.alarm)]  # the first one only judges without labels

    @property
    def total_steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)  # not before `on_train_start`, see FrozenStage

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["networks"] = network_configs(self.networks)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raises UserError for networks of other settings, of which the weights may fit all the same."""
        check_same_configs(self.networks, checkpoint.get("networks"), self.trainer.ckpt_path)

    def parts(self) -> dict[str, Part]:
        """The three networks: later stages read one of the encoders, a cooldown starts from all of them."""
        return {
            "ema": encoder_part(self.target),
            "student": encoder_part(self.encoder),
            "predictor": predictor_part(self.predictor, self.encoder.config),
        }
