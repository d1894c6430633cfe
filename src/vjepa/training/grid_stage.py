"""The base of stages that train a grid of heads, one for each learning rate and weight decay.

Such a stage (probe, anticipate) prints a table. Each row of the table is a way to read the frozen networks,
and has a grid of heads of its own. One head is chosen for each row, and the chosen head of one row is
exported.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.features.clip_features import clip_of
from vjepa.models.probe_grid import check_not_negative
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.grid_optim import GridAdamW, GridConfig
from vjepa.training.optim import OptimConfig
from vjepa.weights.load import Weights

Selection = Literal["val", "best_on_test"]
# What decides the frames that a head sees. The other settings of a clip apply to training alone.
CLIP_SETTINGS = ("frames", "fps", "size", "short")


class Scores(Protocol):
    """Predictions of all heads on the splits, over all processes."""

    splits: tuple[str, ...]
    """The validation split and those of the test, in the order of the test's loaders."""

    def begin(self, *splits: str) -> None:
        """Forget the predictions on these splits."""

    def validation(self) -> dict[str, float]:
        """The best head's score of each row, by its name in TensorBoard."""

    def gather(self) -> Any:
        """The results of the test over all processes. Every process must call it."""

    def choose(self, results: Any) -> dict:
        """The chosen head of each row. Raises DataError if there are no clips to choose or report it on."""

    def report(self, chosen: dict, results: Any, out: Path) -> None:
        """Write the files of the run's folder, and print the table."""


class GridStage(FrozenStage):
    """Chooses heads on validation clips, and reports them on test clips.

    A subclass makes `scores` and `probes`, and names the row whose head is exported.
    """

    EXPORTED: ClassVar[str]
    """The row whose chosen head is exported."""
    scores: Scores
    probes: nn.ModuleDict
    """The heads of each row, stacked."""

    def __init__(
        self,
        encoder: str,
        weights: Weights,
        optim: OptimConfig,
        seed: int,
        grid: GridConfig,
        selection: Selection,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules, which the grid scales.
            seed: Decides the heads' initial weights.
            grid: Learning rates and weight decays; one head for each pair.
            selection: Split on which heads are chosen.
        """
        super().__init__(encoder, weights, optim, seed)
        check_not_negative(grid.lr, grid.weight_decay)
        # Heads differ only in these settings; their parameters are stacked and trained at once.
        self.heads = grid.heads(optim)
        self.on_test = selection == "best_on_test"
        self.head = 0  # the exported row's chosen head, once it is tested

    @property
    def chooses(self) -> bool:
        """Whether validation clips decide between heads, so that they cannot be test clips."""
        return len(self.heads) > 1 and not self.on_test

    @property
    def summed_losses(self) -> int:
        """How many losses a training step adds up: one for each head of each row."""
        return sum(len(grid) for grid in self.probes.values())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return GridAdamW(self.optim, self.heads, self.probes)

    def on_fit_start(self) -> None:
        clip = self.trainer.gradient_clip_val
        require(
            not clip or self.trainer.gradient_clip_algorithm == "value",
            f"trainer.gradient_clip_val={clip} would limit the norm over all heads, and tie them together; "
            "give trainer.gradient_clip_algorithm value, or leave both out",
        )
        if self.trainer.is_global_zero:  # a note if the encoder was trained on other clips
            clip = self.trainer.datamodule.clip
            clip_of(self.source, clip.frames, clip.fps, clip.size)

    def add_losses(self, row: str, losses: Float[Tensor, " heads"], clips: int) -> Float[Tensor, ""]:
        """The sum of the losses of a row's heads, which are kept for the log: means over `clips` clips."""
        self.step_means.add({f"{row}_{head}": loss for head, loss in enumerate(losses)}, clips)
        return losses.sum()

    def end_step(self, means: dict[str, float]) -> None:
        """Log the loss of each row's best head."""
        heads = range(len(self.heads))
        best = {f"train/loss_{row}": min(means[f"{row}_{i}"] for i in heads) for row in self.probes}
        super().end_step(best)

    def on_validation_epoch_start(self) -> None:
        self.scores.begin("val")

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:  # a few clips, of which perhaps none can be decoded
            # The same in every process, where checkpoints may be chosen by it.
            self.log_dict(self.scores.validation(), sync_dist=True)

    def on_test_epoch_start(self) -> None:
        # The validation split too: the test chooses heads on it anew, with their last weights.
        self.scores.begin(*self.scores.splits)

    def on_test_epoch_end(self) -> None:
        results = self.scores.gather()
        chosen = self.scores.choose(results)
        self.head = chosen[self.EXPORTED].head
        # All processes have gathered the same results, and one of them writes.
        if self.trainer.is_global_zero:
            self.scores.report(chosen, results, Path(self.trainer.default_root_dir))

    def inputs(self) -> dict:
        """What an exported head reads, for its schema: tokens of this encoder, of such clips."""
        clip = {name: getattr(self.trainer.datamodule.clip, name) for name in CLIP_SETTINGS}
        encoder = {"encoder": self.source, "encoder_digest": self.encoder_digest}
        return encoder | {"weights": self.weights, "clip": clip}
