"""What TensorBoard shows besides curves: an order of the curves, the recipe and the networks as text.

The order is the tab `Custom scalars`: first the curves to watch, then all others in groups.
"""

from pathlib import Path

import lightning as L
from torch import nn

from vjepa.drawing.event_writers import event_writers
from vjepa.training.forecast import tokens_per_clip
from vjepa.training.run_folder import RunFolder
from vjepa.weights.card import parameters_text

Charts = dict[str, list[str]]
"""Title -> patterns of the tags that the chart shows."""

PRETRAINING: Charts = {
    "are the features useful? read-out of the labels": ["readout/label_linear$"],
    "do they fill their space? effective rank": ["collapse/effective_rank$"],
    "are places told apart? loss over that of the mean": ["collapse/loss_over_mean$", "val/loss_over_mean$"],
}
WATCH: dict[str, Charts] = {
    "pretrain": PRETRAINING,
    "cooldown": PRETRAINING,
    "distil": PRETRAINING,
    "probe": {"score on validation clips": [r"val/.*_(encoder|random|frame)$"], "loss": ["train/loss_.*"]},
    "anticipate": {
        "recall of actions": ["val/recall_.*_action$"],
        "recall of verbs": ["val/recall_.*_verb$"],
        "loss": ["train/loss_.*"],
    },
    "ac": {
        "error of the predictor, and of standing still": ["val/(model|persistence)_.*"],
        "are actions used? error with shuffled actions over error": ["val/action_use$"],
        "loss": ["train/.*"],
    },
    "state": {
        "centimetres from the hand, and those of always reading the middle": ["val/.*centimetres$"],
        "share of grippers read wrongly": ["val/gripper_wrong$"],
        "loss": ["train/.*"],
    },
    "clone": {"error of the policy, and of no motion": ["val/.*"], "loss": ["train/loss$"]},
    "decode": {
        "how like the true frame a decoded one is": ["val/psnr$", "val/ssim$"],
        "loss": ["train/loss$", "val/loss$"],
    },
    "vlm": {"right answers, and chance": ["val/accuracy$", "val/chance$"], "loss": [".*/loss$"]},
}
"""By stage, the charts that come first."""

GROUPS: dict[str, Charts] = {
    "loss": {"training": ["train/.*"], "validation": ["val/.*"]},
    "read-outs": {"read-outs": ["readout/.*"]},
    "collapse": {
        "features": ["collapse/(feature_std|token_cosine)$"],
        "target encoder": ["collapse/target_.*"],
    },
    "optimiser": {
        "rates": ["optim/(lr|language_lr)$"],
        "gradient norm": ["optim/grad_norm$"],
        "weight decay and momentum": ["optim/(weight_decay|ema_momentum)$"],
    },
    "speed and data": {
        "clips per second": ["speed/clips_per_s$"],
        "waiting": ["speed/data_wait_share$"],
        "files that cannot be decoded": ["data/bad_draws$"],
    },
}
"""Everything else."""


def layout(stage: str) -> dict[str, dict[str, list]]:
    """The order of a stage's curves, as `SummaryWriter.add_custom_scalars` takes it."""
    groups = {f"{stage}: watch these first": WATCH.get(stage, {})} | GROUPS
    return {
        name: {title: ["Multiline", tags] for title, tags in charts.items()}
        for name, charts in groups.items()
        if charts
    }


class RunDescription(L.Callback):
    """Shows the order of curves, the recipe and the networks when training starts."""

    def __init__(self, stage: str, out: Path) -> None:
        self.stage = stage
        self.recipe = RunFolder(out).recipe

    def on_train_start(self, trainer, stage) -> None:
        for writer in event_writers(trainer):
            writer.add_custom_scalars(layout(self.stage))
            if self.recipe.exists():
                text = f"```yaml\n{self.recipe.read_text()}\n```"
                writer.add_text("recipe", text, trainer.global_step)
            writer.add_text("networks", networks_table(stage, trainer.datamodule), trainer.global_step)


def networks_table(stage: L.LightningModule, data: L.LightningDataModule) -> str:
    """Markdown: parameters of each network, how many of them are trained, and the tokens of a clip."""
    lines = ["| network | parameters | trained |", "|---|---|---|"]
    for name, network in stage.named_children():
        count = parameters(network)
        # Metrics are modules too.
        if count:
            trained = parameters_text(parameters(network, trained=True))
            lines.append(f"| {name} | {parameters_text(count)} | {trained} |")
    tokens = tokens_per_clip(stage, data)
    return "\n".join(lines) + (f"\n\nA training clip is {tokens} tokens." if tokens else "")


def parameters(network: nn.Module, trained: bool = False) -> int:
    """How many parameters a network has, or how many of them are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained)
