"""Cooldown: longer clips and larger frames while the learning rate falls to its end (V-JEPA 2, section 2.4).

    python -m stages.cooldown fit --config conf/cooldown.yaml

It starts from any checkpoint of the constant phase and does not change that run, so several cooldowns of
different sizes can follow one pretraining run. From a `.ckpt` it takes over the optimiser's moments too. An
export holds only weights, so the moments then start at zero.
"""

from pathlib import Path

from stages.pretrain import Pretrain
from vjepa.data.clip_data import ClipData
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
        super().on_fit_start()
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
        moments = read_pickle(source)["optimizer_states"][0]["state"]
        state = {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
        self.trainer.strategy.load_optimizer_state_dict({"optimizer_states": [state]})


if __name__ == "__main__":
    run(Cooldown, ClipData)
