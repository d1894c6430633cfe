"""What tests of stages share: a short run on the CPU, and whether two networks are equal."""

from pathlib import Path

import lightning as L
import torch

QUIET = dict.fromkeys(
    ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
)

RESUMABLE = {
    "optimizer_states": [{"state": {0: {}}}],
    **{"state_dict": {}, "lr_schedulers": [], "callbacks": {}, "loops": {}},
}
"""What a checkpoint holds beside its step, as far as a folder is searched for the newest one."""


def fit(
    stage: L.LightningModule,
    data: L.LightningDataModule,
    folder: Path,
    steps: int,
    ckpt_path: Path | None = None,
    **settings,
) -> L.Trainer:
    """Train a stage for some steps, with other settings of Lightning's Trainer if given."""
    ours = {"accelerator": "cpu", "default_root_dir": folder, "use_distributed_sampler": False}
    trainer = L.Trainer(max_steps=steps, **QUIET | ours | settings)
    trainer.fit(stage, data, ckpt_path=ckpt_path)
    return trainer


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether all tensors of two networks are equal to the bit."""
    others = b.state_dict()
    return all(torch.equal(value, others[key]) for key, value in a.state_dict().items())
