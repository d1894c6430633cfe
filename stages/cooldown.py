"""Cooldown: longer clips and larger frames while the learning rate falls to its end (V-JEPA 2, section 2.4).

    python -m stages.cooldown fit --config conf/cooldown.yaml

It starts from any checkpoint of the constant phase and does not change that run, so several cooldowns of
different sizes can follow one pretraining run. From a `.ckpt` it takes over the optimiser's moments too. An
export holds only weights, so the moments then start at zero.
"""

from pathlib import Path

import torch

from stages.pretrain import Pretrain
from vjepa.data.clip_data import ClipData
from vjepa.errors import damage_as_error, require
from vjepa.training.stage_cli import run
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.family import Family
from vjepa.weights.files import CheckpointError
from vjepa.weights.pickles import read_pickle
from vjepa.weights.source import read_source


class Cooldown(Pretrain):
    def setup(self, stage: str) -> None:
        if not self.init_from:
            raise CheckpointError(
                "model.init_from is missing: a cooldown needs a pretraining run to start from"
            )
        super().setup(stage)

    def on_fit_start(self) -> None:
        # A cooldown that continues from its own checkpoint has moments of its own.
        if self.trainer.ckpt_path:
            return
        source = checkpoint_in(self.init_from)
        if read_source(source).family is Family.LIGHTNING:
            self.take_over_moments(source)

    def take_over_moments(self, source: Path) -> None:
        """Load AdamW's moments of the pretraining run, for the same parameters in the same order."""
        optimizer = self.optimizers().optimizer
        # Only moments: learning rate and weight decay are those of this recipe.
        groups = optimizer.state_dict()["param_groups"]
        state = {"state": read_moments(source, optimizer), "param_groups": groups}
        self.trainer.strategy.load_optimizer_state_dict({"optimizer_states": [state]})


def read_moments(source: Path, optimizer: torch.optim.Optimizer) -> dict[int, dict]:
    """AdamW's moments in a checkpoint, by the number of the parameter in `optimizer`.

    Raises CheckpointError if it holds none, or such as do not fit the parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    advice = "give another checkpoint, or the export of its run: moments then start at zero"
    with damage_as_error(source, CheckpointError, advice):
        moments = read_pickle(source)["optimizer_states"][0]["state"]
        for number, moment in moments.items():
            shapes = [moment[name].shape for name in ("step", "exp_avg", "exp_avg_sq")]
            expected = [(), parameters[number].shape, parameters[number].shape]
            require(shapes == expected, f"its moments of parameter {number} have other shapes; {advice}")
    return moments


if __name__ == "__main__":
    run(Cooldown, ClipData)
