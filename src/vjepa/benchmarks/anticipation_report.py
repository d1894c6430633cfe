"""The report of anticipation: the recall of all heads, the choice of one head for each row, and the files.

Test actions are scored from two anchors, the recipe's and the other one. The last two rows of each table do
not use the clips: the classes that training shows most often, and chance.
"""

import json
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor, nn

from vjepa.benchmarks.anticipation_clips import AnticipationBatch
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.errors import DataError
from vjepa.evaluation.predictions import ChosenHead
from vjepa.evaluation.recall import MeanClassRecall, Unseen
from vjepa.evaluation.score_files import write_heads
from vjepa.evaluation.tables import text_table
from vjepa.models.anticipation import ActionLogits

TRAINED_ROWS = ("encoder", "predictor", "both", "shown")
ROW_NAMES = {
    "encoder": "encoder's tokens",
    "predictor": "predictor's tokens",
    "both": "both",
    "shown": "the last moments shown",
    "majority": "most frequent in training",
}
KINDS = ("verb", "noun", "action")
SPLITS = ("val", "test", "other")
"""In the order of the test's loaders. `other` holds the test actions, with clips that end before the other
anchor."""
SPLIT_NAMES = {"val": "validation", "test": "test"}


class Results(NamedTuple):
    """What the test measured, over all processes."""

    recall: dict[str, dict[str, dict[str, list[float]]]]
    """By split, row and kind: the recall of every head."""
    clips: dict[str, int]
    """By split: the actions whose clips could be decoded."""
    unseen: dict[str, int]
    """By kind: test actions whose verb, noun or pair training never shows."""


class AnticipationScores(nn.Module):
    """What every head of every row recalls, over all processes.

    Args:
        data: The actions of all splits, and their classes.
        heads: (learning rate, weight decay) of each head; every trained row has one grid of them.
        top: Predictions per clip that recall allows.
        unseen: The rule for classes that training never shows.
        on_test: Choose heads on the test clips, as the papers do, and say so in the table.
    """

    def __init__(
        self,
        data: AnticipationData,
        heads: list[tuple[float, float]],
        top: int,
        unseen: Unseen,
        on_test: bool,
    ) -> None:
        super().__init__()
        self.splits = SPLITS
        self.data = data
        self.heads = heads
        self.top = top
        self.unseen = unseen
        self.on_test = on_test
        # Modules, so that the counts move to the device together with the stage.
        self.recall = nn.ModuleDict()
        for split in SPLITS:
            # `test` and `other` hold the same actions, so the same classes.
            classes = data.classes_in("val" if split == "val" else "test")
            for row in ROW_NAMES:
                # The most frequent classes are one prediction, whatever the grid.
                count = len(heads) if row in TRAINED_ROWS else 1
                for kind, known, shown in zip(KINDS, data.training_classes.sizes, classes, strict=True):
                    metric = MeanClassRecall(known, shown, top, unseen, count)
                    self.recall[f"{split}_{row}_{kind}"] = metric

    def begin(self, *splits: str) -> None:
        """Forget the predictions for these splits."""
        for name, metric in self.recall.items():
            if name.startswith(splits):
                metric.reset()

    def update(self, split: str, logits: dict[str, ActionLogits], batch: AnticipationBatch) -> None:
        """Count what each trained row recalls of a batch, and what the most frequent classes recall."""
        # Scored like a probe, so that ties and unseen classes count alike.
        logits = logits | {"majority": self.majority(batch.labels)}
        for row, row_logits in logits.items():
            for kind, kind_logits, label in zip(KINDS, row_logits, batch.labels.T, strict=True):
                self.recall[f"{split}_{row}_{kind}"].update(kind_logits, label)

    def majority(self, labels: Int[Tensor, "b 3"]) -> ActionLogits:
        """The same prediction for every clip: how often training shows each class."""
        frequencies = (count.to(labels.device) for count in self.data.class_counts)
        return ActionLogits(*(count.expand(1, len(labels), -1) for count in frequencies))

    def validation(self) -> dict[str, float]:
        """The best head's recall of each trained row and kind, by its name in TensorBoard."""
        recall = self.compute("val")
        # The maximum over heads is optimistic. It only shows progress: the test chooses a head.
        return {f"val/recall_{row}_{kind}": max(recall[row][kind]) for row in TRAINED_ROWS for kind in KINDS}

    def compute(self, split: str) -> dict[str, dict[str, list[float]]]:
        """The recall of every head by row and kind, over all processes."""
        recall: dict[str, dict[str, list[float]]] = {}
        for row in ROW_NAMES:
            # torchmetrics makes a scalar of a single head's recall.
            metrics = {kind: self.recall[f"{split}_{row}_{kind}"] for kind in KINDS}
            recall[row] = {kind: metric.compute().view(-1).tolist() for kind, metric in metrics.items()}
        return recall

    def gather(self) -> Results:
        """All processes have to call this, because all give their share."""
        clips = {split: self.count(split, "action", first=0) for split in SPLITS}
        sizes = dict(zip(KINDS, self.data.training_classes.sizes, strict=True))
        unseen = {kind: self.count("test", kind, first=size) for kind, size in sizes.items()}
        return Results({split: self.compute(split) for split in SPLITS}, clips, unseen)

    def count(self, split: str, kind: str, first: int) -> int:
        """Clips of classes from `first` on. Classes that training never shows come after all others."""
        # All rows see the same clips, so any row's metric holds the count.
        metric = self.recall[f"{split}_both_{kind}"]
        # `compute` gives recalls alone; the counts below it have to be added up over processes too.
        with metric.sync_context():
            return int(metric.seen[first:].sum())

    def choose(self, results: Results) -> dict[str, ChosenHead]:
        """Each row's head with the highest recall of actions. Raises DataError for a split without clips."""
        for split, name in SPLIT_NAMES.items():
            if results.clips[split] == 0:
                what = f"no {name} clip could be decoded, so there is no score"
                raise DataError(f"{what}; bad_files.txt in the run's folder says why")

        chosen = {}
        for row in ROW_NAMES:
            # Verb and noun follow the head that is best at actions: one head is exported, not three.
            val, test = (tuple(results.recall[split][row]["action"]) for split in SPLIT_NAMES)
            chosen[row] = ChosenHead(row, val, test, self.on_test)
        return chosen

    def report(self, chosen: dict[str, ChosenHead], results: Results, out: Path) -> None:
        """Write the files of the run's folder, and print the table."""
        ahead = self.data.ahead
        anchors = {"test": ahead.anchor, "other": "end" if ahead.anchor == "start" else "start"}
        rows = [row for split in anchors for row in self.table_rows(chosen, results, split, anchors[split])]
        (out / "scores.json").write_text(json.dumps(rows, indent=1))
        write_heads(out / "heads.csv", [chosen[row] for row in TRAINED_ROWS], self.heads)
        print(recall_table(rows, ahead.evaluation_tau))

    def table_rows(
        self, chosen: dict[str, ChosenHead], results: Results, split: str, anchor: str
    ) -> list[dict]:
        """The recall of each chosen head on the test actions, and the recall of chance."""
        # A single head is not chosen, so its number needs no label.
        label = ", best head on test" if self.on_test and len(self.heads) > 1 else ""
        about = {
            "clips": results.clips["test"],
            "measure": f"mean-class recall@{self.top}",
            "unseen": self.unseen,
            "unseen_clips": results.unseen,
        }
        rows = []
        for row, choice in chosen.items():
            name = ROW_NAMES[row] + (label if row in TRAINED_ROWS else "")
            recall = {kind: results.recall[split][row][kind][choice.head] for kind in KINDS}
            rows.append({"name": name, "anchor": anchor} | recall | about)
        chance = {kind: self.recall[f"test_both_{kind}"].chance for kind in KINDS}
        return [*rows, {"name": "chance", "anchor": anchor} | chance | about]


def recall_table(rows: list[dict], tau: float) -> str:
    """Mean-class recall of every row, by anchor. tau: seconds between the clip's end and the anchor."""
    first = rows[0]
    columns = (f"<{max(28, *(len(row['name']) for row in rows))}", ">8", ">8", ">8")
    tables = []
    for anchor in dict.fromkeys(row["anchor"] for row in rows):
        what = f"{first['measure']} on {first['clips']} test actions"
        caption = f"{what}, the clip ends {tau:g} s before the action's {anchor}"
        cells = [("", *KINDS)]
        for row in rows:
            if row["anchor"] == anchor:
                cells.append((row["name"], *(f"{row[kind]:.3f}" for kind in KINDS)))
        tables.append(text_table(caption, cells, columns))

    verb, noun, pair = (first["unseen_clips"][kind] for kind in KINDS)
    fate = {"missed": "counted as missed", "left_out": "left out of the average"}[first["unseen"]]
    never = f"training never shows the verb of {verb} of them, the noun of {noun}, the pair of {pair}: {fate}"
    return "\n".join([*tables, f"  {never}"])
