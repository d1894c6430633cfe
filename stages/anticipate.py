"""Anticipation: the coming action from a clip that ends before it begins (V-JEPA 2, sections 6 and D).

    python -m stages.anticipate fit --config conf/anticipate.yaml

The encoder and the pretraining predictor are frozen. The predictor predicts the tokens of the moment tau
after the clip's end. Probes with three queries (verb, noun, pair) read tokens. One run trains these rows:

encoder    the encoder's tokens of the clip
predictor  the predictor's tokens of the moment ahead
both       one beside the other, as in the paper
shown      the encoder's tokens of a clip that ends at the moment itself: an upper bound

Each row is a grid of probes, every learning rate with every weight decay. The one with the highest recall of
actions on the validation clips is reported. Test actions are scored twice: with clips that end tau before the
recipe's anchor (in the paper the action's start), and with clips that end tau before the other anchor.
"""

from dataclasses import asdict

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.benchmarks.anticipation_clips import AnticipationBatch
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.benchmarks.anticipation_report import TRAINED_ROWS, AnticipationScores
from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.evaluation.recall import Unseen, focal_loss
from vjepa.models.anticipation import AnticipationGrid, AnticipationProbe, add_position_embedding, look_ahead
from vjepa.models.frozen import freeze
from vjepa.models.probe import ProbeConfig
from vjepa.training.grid_optim import GridConfig
from vjepa.training.grid_stage import GridStage, Selection
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_checks import check_own_tokens
from vjepa.training.stage_cli import check_divisible, run
from vjepa.weights.export import Part
from vjepa.weights.load import Weights, load_predictor


class Anticipate(GridStage):
    FROZEN = ("encoder", "predictor")
    EXPORTED = "both"

    def __init__(
        self,
        encoder: str,
        probe: ProbeConfig = ProbeConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        top: int = 5,
        positions: bool = False,
        seed: int = 0,
        unseen: Unseen = "missed",
        grid: GridConfig = GridConfig(),
        selection: Selection = "val",
        activation_checkpointing: bool = False,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`; it has to
                hold the predictor too.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            top: Predictions per clip that recall allows.
            positions: Add each token's time, counted from the moment, and place. Not in the paper, whose deep
                encoders write both into their tokens. The demo's probes do not know the order without it.
            seed: Decides the probes' initial weights.
            unseen: Test classes that training never shows count as missed, as in the challenge, or are left
                out, as in the released code; see vjepa.evaluation.recall.
            grid: Learning rates and weight decays; one head for each pair.
            selection: Split on which heads are chosen; `best_on_test` as in the papers, and labelled so.
            activation_checkpointing: Compute heads again for their gradients: less memory, more arithmetic.
        """
        super().__init__(encoder, weights, optim, seed, grid, selection)
        require(top > 0, f"model.top={top} leaves no answer; use 1 or more")
        require(probe.depth > 0, "probe.depth=0: anticipation needs queries; use 1 or more blocks")
        self.config = probe
        self.top = top
        self.positions = positions
        self.unseen = unseen
        self.activation_checkpointing = activation_checkpointing

    def load_frozen(self) -> None:
        super().load_frozen()
        self.predictor = freeze(load_predictor(self.source))
        check_own_tokens(self.predictor, self.source)

    def build(self) -> None:
        data = self.trainer.datamodule
        self.grid = check_divisible(self.encoder, data.clip)
        probe = AnticipationProbe(self.config, self.encoder.config.width, data.training_classes.sizes)
        grids = {
            row: AnticipationGrid(probe, len(self.heads), self.activation_checkpointing)
            for row in TRAINED_ROWS
        }
        self.probes = nn.ModuleDict(grids)
        self.scores = AnticipationScores(data, self.heads, self.top, self.unseen, self.on_test)

    @torch.no_grad()
    def tokens(self, batch: AnticipationBatch) -> dict[str, Float[Tensor, "b n d"]]:
        """The tokens that each row reads."""
        seen = self.predictor.context(self.encoder, normalise(batch.clip))
        shown = self.encoder(normalise(batch.shown))
        per_second = self.trainer.datamodule.clip.fps / self.encoder.config.tubelet
        # Time steps between the clip's end and the moment. The margin keeps rounding errors from losing one.
        steps = (batch.tau * per_second + 1e-6).long()
        seen, ahead = look_ahead(self.predictor, seen, self.grid, steps, self.positions)
        if self.positions:
            shown = add_position_embedding(shown, self.grid, torch.full_like(steps, -self.grid[0]))
        return {"encoder": seen, "predictor": ahead, "both": torch.cat([seen, ahead], dim=1), "shown": shown}

    def training_step(self, batch: AnticipationBatch, batch_idx: int) -> Tensor:
        """The losses of all heads add up; they share no parameter, so each trains as if alone."""
        total = []
        for row, tokens in self.tokens(batch).items():
            heads = zip(*self.probes[row](tokens), strict=True)
            losses = torch.stack([self.loss(logits, batch.labels) for logits in heads])  # one per head
            total.append(self.add_losses(row, losses, len(batch.clip)))
        return torch.stack(total).sum()

    def loss(self, logits: tuple[Tensor, Tensor, Tensor], labels: Int[Tensor, "b 3"]) -> Float[Tensor, ""]:
        """The focal losses of one head's verb, noun and action, added up."""
        kinds = zip(logits, labels.T, strict=True)
        return torch.stack([focal_loss(kind.float(), label) for kind, label in kinds]).sum()  # not bfloat16

    def validation_step(self, batch: AnticipationBatch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: AnticipationBatch, batch_idx: int, dataloader_idx: int) -> None:
        self.score(self.scores.splits[dataloader_idx], batch)

    def score(self, split: str, batch: AnticipationBatch) -> None:
        if len(batch.clip):  # some clip could be decoded
            logits = {row: self.probes[row](tokens) for row, tokens in self.tokens(batch).items()}
            self.scores.update(split, logits, batch)

    def parts(self) -> dict[str, Part]:
        """The chosen head of `both`, with what it reads and what its outputs mean."""
        data = self.trainer.datamodule
        schema = self.inputs() | {"ahead": asdict(data.ahead), "positions": self.positions, "top": self.top}
        schema |= asdict(data.training_classes)
        description = {"config": asdict(self.config), "width": self.encoder.config.width, "schema": schema}
        return {"anticipation": Part(self.probes["both"].member(self.head), description)}


if __name__ == "__main__":
    run(Anticipate, AnticipationData)
