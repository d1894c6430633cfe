"""The report of a probe: predictions of all heads, the choice of one head for each row, and the files.

A row of the table is the encoder under test, or a control; it has a grid of heads of its own.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.data.clips import Batch
from vjepa.errors import require
from vjepa.evaluation.predictions import ChosenHead
from vjepa.evaluation.probe_tasks import ClassTask
from vjepa.evaluation.report import Score, score_table
from vjepa.evaluation.score_files import write_heads

Row = Literal["encoder", "random", "frame"]
ROW_NAMES: dict[Row, str] = {
    "encoder": "our encoder",
    "random": "random encoder",
    "frame": "our encoder, one frame",
}
SPLITS = ("val", "test")
"""In the order of the test's loaders: heads are chosen on the first and reported on the second."""


class ProbeScores(nn.Module):
    """What every head of every row predicts, over all processes.

    Args:
        task: What the probes predict.
        rows: Rows of the table.
        heads: (learning rate, weight decay) of each head; every row has as many.
        on_test: Choose heads on the test clips, as the papers do, and say so in the table.
    """

    def __init__(
        self, task: ClassTask, rows: tuple[Row, ...], heads: list[tuple[float, float]], on_test: bool
    ) -> None:
        super().__init__()
        require(
            "encoder" in rows, f"model.rows={list(rows)} leaves out the encoder under test; add `encoder`"
        )
        self.splits = SPLITS
        self.task = task
        self.rows = rows
        self.heads = heads
        self.on_test = on_test
        # Modules, so that their states move to the device of the predictions.
        names = [f"{split}_{row}" for split in SPLITS for row in rows]
        self.predictions = nn.ModuleDict({name: task.predictions(len(heads), task.classes) for name in names})

    def begin(self, *splits: str) -> None:
        """Forget the predictions for these splits."""
        for split in splits:
            for row in self.rows:
                self.predictions[f"{split}_{row}"].begin()

    def update(
        self, split: str, logits: dict[Row, Float[Tensor, "p bv k"]], batch: Batch, views: int
    ) -> None:
        """Keep the predictions for a batch, averaged over the views of a clip, which are neighbours in it."""
        for row in self.rows:
            # Probabilities are averaged, not logits: a view with large logits must not outvote the others.
            # In float32, because many tie in low precision.
            predictions = self.task.predict(logits[row].float())
            means = rearrange(predictions, "p (b v) k -> p b v k", v=views).mean(dim=2)
            # The views of a clip share its label and its row.
            self.predictions[f"{split}_{row}"].update(means, batch.label[::views], batch.index[::views])

    def validation(self) -> dict[str, float]:
        """The best head's score of every row, by its name in TensorBoard. Raises DataError without clips."""
        scores = {}
        for row in self.rows:
            predictions = self.predictions[f"val_{row}"].compute()
            self.task.check_evidence(predictions, "val")
            scores[f"val/{self.task.measure.replace(' ', '_')}_{row}"] = max(self.task.scores(predictions))
        return scores

    def gather(self) -> dict[str, dict[str, np.ndarray]]:
        """The predictions for every split and row. All processes have to call this: all give their share."""
        return {name: predictions.compute() for name, predictions in self.predictions.items()}

    def choose(self, predictions: dict[str, dict[str, np.ndarray]]) -> dict[Row, ChosenHead]:
        """The head that stands for each row. Raises DataError without clips to choose or report it on."""
        # Every row of the table was shown the same clips, so one is enough to check them.
        for split in SPLITS:
            self.task.check_evidence(predictions[f"{split}_encoder"], split)

        chosen = {}
        for row in self.rows:
            val, test = (self.task.scores(predictions[f"{split}_{row}"]) for split in SPLITS)
            chosen[row] = ChosenHead(row, val, test, self.on_test)
        return chosen

    def report(
        self,
        chosen: dict[Row, ChosenHead],
        results: dict[str, dict[str, np.ndarray]],
        out: Path,
    ) -> None:
        """Write the files of the run's folder, and print the table."""
        predictions = results["test_encoder"]
        scores = self.table_rows(chosen, predictions)
        (out / "scores.json").write_text(json.dumps([score.__dict__ for score in scores], indent=1))
        write_heads(out / "heads.csv", list(chosen.values()), self.heads)
        # Rows stand in the recipe's order, which need not begin with the encoder.
        score = scores[list(chosen).index("encoder")]
        self.task.write_files(out, predictions, chosen["encoder"].head, score)

        clips = f"{scores[0].clips} test clips of {self.task.classes} {self.task.noun}"
        print(score_table(scores, f"{self.task.measure} on {clips}"))
        print(f"every head, target and prediction: {out}")

    def table_rows(self, chosen: dict[Row, ChosenHead], predictions: dict[str, np.ndarray]) -> list[Score]:
        """The score of each chosen head on the test clips, and the score of chance."""
        clips = len(predictions["row"])
        measure = self.task.measure
        # A single head was not chosen at all.
        label = ", best head on test" if self.on_test and len(self.heads) > 1 else ""
        scores = [
            Score(ROW_NAMES[row] + label, choice.test[choice.head], clips, measure)
            for row, choice in chosen.items()
        ]
        return [*scores, Score("chance", self.task.chance(predictions), clips, measure)]
