"""Attentive probing of the frozen encoder, with controls (V-JEPA 2, sections 2.3 and C.1).

    python -m stages.probe fit --config conf/probe.yaml

One run trains a grid of probes, every learning rate with every weight decay, for each row of the table:

encoder   the frozen encoder under test
random    an encoder of the same shape that was never trained: what the probe and the patches achieve alone
frame     the encoder under test, shown only the clip's middle frame: what a still image shows

Each row's head is chosen on the validation clips and reported on the test clips. `scores.json` holds the
table, `heads.csv` the grid; `predictions.csv`, `classes.csv` and `confusion.png` describe the encoder's head.
Instead of one class, a clip may have several labels, or numbers; `targets.csv` then holds their scores:

    ... --model.targets multilabel --model.classes 5                          column `labels`, such as 0|3
    ... --model.targets regression --model.classes 2 --data.numbers '[x,y]'   these columns, standardised
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.data.clips import Batch
from vjepa.data.targets import Targets
from vjepa.data.transforms import normalise
from vjepa.evaluation.probe_data import ProbeData, check_held_out
from vjepa.evaluation.probe_report import ProbeScores, Row
from vjepa.evaluation.probe_tasks import probe_task
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.probe_grid import ProbeGrid
from vjepa.training.grid_optim import GridConfig
from vjepa.training.grid_stage import GridStage, Selection
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.stage_cli import check_divisible, run
from vjepa.weights.export import Part, probe_part
from vjepa.weights.load import Weights


class Probe(GridStage):
    FROZEN = ("encoder", "random")
    EXPORTED = "encoder"

    def __init__(
        self,
        encoder: str,
        classes: int,
        probe: ProbeConfig = ProbeConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        grid: GridConfig = GridConfig(),
        selection: Selection = "val",
        layers: tuple[int, ...] = (),
        rows: tuple[Row, ...] = ("encoder", "random", "frame"),
        seed: int = 0,
        targets: Targets = "classes",
        activation_checkpointing: bool = False,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            classes: Number of classes; labels are 0..classes-1. For regression, how many numbers a clip has.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules, which the grid scales.
            grid: Learning rates and weight decays; one head for each pair.
            selection: Split on which heads are chosen; `best_on_test` as in the papers, and labelled so.
            layers: Blocks whose tokens are read side by side, counted from 0; the last block's if empty.
            rows: Which rows of the table are trained.
            seed: Decides the random encoder and the probes' initial weights.
            targets: One class per clip, several labels, or numbers.
            activation_checkpointing: Compute heads again for their gradients: less memory, more arithmetic.
        """
        super().__init__(encoder, weights, optim, seed, grid, selection)
        self.config = probe
        self.layers = layers
        self.activation_checkpointing = activation_checkpointing
        self.task = probe_task(targets, classes)
        self.scores = ProbeScores(self.task, rows, self.heads, self.on_test)

    def setup(self, stage: str) -> None:
        self.task.read_targets(self.trainer.datamodule)
        if self.chooses:  # else no clip decides
            check_held_out(self.trainer.datamodule, len(self.heads))

    def build(self) -> None:
        check_divisible(self.encoder, self.trainer.datamodule.clip)
        # The random encoder is drawn first. Another order would change the numbers of every table.
        self.random = freeze(Encoder(self.encoder.config))
        probe = AttentiveProbe(self.config, self.encoder.config.width, self.task.classes)
        # Every head of every row starts from the same weights, so that only its settings make a difference.
        rows = self.scores.rows
        grids = {row: ProbeGrid(probe, len(self.heads), self.activation_checkpointing) for row in rows}
        self.probes = nn.ModuleDict(grids)

    @torch.no_grad()
    def tokens(self, row: Row, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        encoder = self.random if row == "random" else self.encoder
        if row == "frame":
            # The encoder repeats a single frame to the length of one tubelet: nothing moves in it.
            middle = clip.shape[2] // 2
            clip = clip[:, :, middle : middle + 1]
        if not self.layers:
            return encoder(clip)
        # Along the tokens, as in the paper: the probe has the same width for any number of layers.
        return rearrange(encoder.layers(clip, self.layers), "b l n d -> b (l n) d")

    def logits(self, clip: Float[Tensor, "b c t h w"]) -> dict[Row, Float[Tensor, "p b classes"]]:
        return {row: probe(self.tokens(row, clip)) for row, probe in self.probes.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum over rows and heads. They share no parameter: without clipping, each trains as if alone."""
        total = []
        for row, logits in self.logits(normalise(batch.clip)).items():
            losses = torch.stack([self.task.loss(head, batch.label) for head in logits])
            total.append(self.add_losses(row, losses, len(batch.clip)))
        return torch.stack(total).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.score("val", batch, views=1)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int) -> None:
        self.score(self.scores.splits[dataloader_idx], batch, self.trainer.datamodule.views.count)

    def score(self, split: str, batch: Batch, views: int) -> None:
        """Keep the predictions for a batch, which holds all views of each clip."""
        if len(batch.clip) == 0:
            return
        # All views of a batch at once would take `views` times the memory of training.
        parts = [
            self.logits(normalise(clip)) for clip in batch.clip.split(self.trainer.datamodule.batch_size)
        ]
        logits = {row: torch.cat([part[row] for part in parts], dim=1) for row in self.probes}
        self.scores.update(split, logits, batch, views)

    def parts(self) -> dict[str, Part]:
        """The encoder's chosen head, with what it reads and what its outputs mean."""
        # Numbers were standardised for training. The exported head answers in the manifest's units.
        part = probe_part(self.task.rescale(self.probes["encoder"].member(self.head)))
        schema = self.inputs() | {"layers": list(self.layers)}
        schema |= {"targets": self.task.kind, "names": list(self.task.names)}
        return {"probe": Part(part.module, part.description | {"schema": schema})}


if __name__ == "__main__":
    run(Probe, ProbeData)
