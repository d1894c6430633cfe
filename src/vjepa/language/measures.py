"""What the vlm stage measures: conversations that do not fit, and predictions of held-out answers."""

from collections.abc import Sequence

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from vjepa.data.module import too_many_bad
from vjepa.errors import DataError
from vjepa.language.batches import CaptionBatch
from vjepa.language.clip_tokens import split_by_row
from vjepa.language.conversations import Conversation
from vjepa.language.video_chat import TrainingBatch, VideoChat


class ConversationCounts:
    """Counts of conversations drawn, of tokens cut, and of conversations lost because they do not fit."""

    def __init__(self, drawn: int = 0, cut: int = 0, lost: int = 0) -> None:
        self.drawn = drawn
        self.cut = cut
        self.lost = lost

    def add(self, drawn: int, inputs: TrainingBatch, max_share: float) -> None:
        """Count a batch of `drawn` rows. Raises DataError if more than `max_share` of all rows are lost."""
        self.drawn += drawn
        self.cut += inputs.cut
        self.lost += inputs.lost
        if too_many_bad(self.lost, self.drawn, max_share):
            raise DataError(
                f"{self.lost} of {self.drawn} conversations cannot be learned, more than "
                f"data.max_bad_share={max_share}; the last because {inputs.why}"
            )

    def values(self, inputs: TrainingBatch) -> dict[str, float | Tensor]:
        """The counts, and the share of padding in a batch, by their names in TensorBoard."""
        return {
            "data/padding_share": 1 - inputs.mask.float().mean(),
            "data/cut_tokens": float(self.cut),
            "data/lost_conversations": float(self.lost),
        }

    def state(self) -> tuple[int, int, int]:
        """What the constructor takes."""
        return self.drawn, self.cut, self.lost


class ValidationMeans:
    """Means over held-out conversations.

    Args:
        kinds: The kinds of questions. They must be the same in every process, whichever rows it has.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        accuracies = [f"accuracy_{kind}" for kind in kinds]
        # All names from the start: processes add up their totals by position.
        names = ("loss", "token_accuracy", "accuracy", "chance", *accuracies, "lost_share", "cut_tokens")
        self.totals = dict.fromkeys(names, 0.0)
        self.counts = dict.fromkeys(names, 0)

    def add(self, name: str, mean: float | Tensor, count: int) -> None:
        self.totals[name] += float(mean) * count
        self.counts[name] += count

    def update(self, video_chat: VideoChat, batch: CaptionBatch) -> None:
        """Measure a batch. Rows that do not fit into the context are counted and left out, as in training."""
        rows = len(batch.rows)
        inputs = video_chat.training_batch(batch.rows, batch.clip)
        kept = rows - inputs.lost
        # A mean of shares, weighted by rows, is the share of all rows.
        self.add("lost_share", inputs.lost / rows, rows)
        if kept:
            answers = video_chat.model(inputs.ids, inputs.mask, inputs.clips, inputs.labels)
            self.add("loss", answers.loss, kept)
            self.add("token_accuracy", answers.accuracy, kept)
            self.add("cut_tokens", inputs.cut / kept, kept)
        self.update_accuracy(video_chat, batch)

    def update_accuracy(self, video_chat: VideoChat, batch: CaptionBatch) -> None:
        """Score questions with options: an answer is right if the right option is the likeliest."""
        rows: list[Conversation] = []
        clips: list[Tensor] = []
        for row, row_clips in zip(batch.rows, split_by_row(batch.rows, batch.clip), strict=True):
            # A row may be lost to training and still fit here, where the answer is left out.
            if row.options and video_chat.fits(row, row_clips):
                rows.append(row)
                clips += row_clips
        if not rows:
            return

        for row, scores in zip(rows, video_chat.option_scores(rows, clips), strict=True):
            right = float(row.options[scores.index(max(scores))] == row.answer)
            self.add("accuracy", right, 1)
            self.add("chance", 1 / len(row.options), 1)
            if row.kind:
                self.add(f"accuracy_{row.kind}", right, 1)

    def compute(self, strategy: Strategy) -> dict[str, float]:
        """Means over the rows of all processes, by their names in TensorBoard."""
        # One tensor, so that processes communicate once.
        sums = torch.tensor([*self.totals.values(), *self.counts.values()], device=strategy.root_device)
        sums = strategy.reduce(sums, reduce_op="sum").tolist()
        totals = sums[: len(self.totals)]
        counts = sums[len(self.totals) :]
        named = zip(self.totals, totals, counts, strict=True)
        # A kind without a single row that fits has no mean.
        return {f"val/{name}": total / count for name, total, count in named if count}
