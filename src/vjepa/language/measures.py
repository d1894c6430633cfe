"""What the vlm stage measures: conversations that do not fit, and predictions of held-out answers."""

from collections.abc import Sequence

import lightning as L
from torch import Tensor

from vjepa.data.means import Means, sum_over_devices
from vjepa.data.module import too_many_bad
from vjepa.errors import DataError
from vjepa.language.batches import CaptionBatch
from vjepa.language.clip_tokens import split_by_row
from vjepa.language.conversations import Conversation
from vjepa.language.video_chat import TrainingBatch, VideoChat


class ConversationCounts:
    """Counts of conversations drawn, of tokens cut, and of conversations lost because they do not fit.

    They are those of all devices. The counts of an optimiser step are added when the step is complete, so
    that a checkpoint holds whole steps.
    """

    def __init__(self, drawn: int = 0, cut: int = 0, lost: int = 0) -> None:
        self.drawn = drawn
        self.cut = cut
        self.lost = lost
        self.padding_share = 0.0  # of the last step
        self.why = ""  # this device's last lost conversation
        self.begin_step()

    def begin_step(self) -> None:
        # Drawn, cut and lost; places of tokens, how many of them are padding; tokens of answers.
        self.step = [0, 0, 0, 0, 0, 0]

    def add(self, drawn: int, inputs: TrainingBatch, answer_tokens: int) -> None:
        """Count a batch of `drawn` rows of this device."""
        places = inputs.mask.numel()
        batch = (drawn, inputs.cut, inputs.lost, places, places - inputs.mask.sum(), answer_tokens)
        self.step = [total + count for total, count in zip(self.step, batch, strict=True)]
        self.why = f"; the last because {inputs.why}" if inputs.why else self.why

    def end_step(self, trainer: L.Trainer) -> int:
        """Add up the step over its batches and all devices. Returns how many tokens its answers have.

        Every process has to call it. Raises DataError on each of them if too many of all rows are lost.
        """
        drawn, cut, lost, places, padding, answer_tokens = sum_over_devices(trainer.strategy, self.step)
        self.begin_step()
        self.drawn += int(drawn)
        self.cut += int(cut)
        self.lost += int(lost)
        self.padding_share = padding / places
        max_share = trainer.datamodule.max_bad_share
        if too_many_bad(self.lost, self.drawn, max_share):
            raise DataError(
                f"{self.lost} of {self.drawn} conversations cannot be learned, more than "
                f"data.max_bad_share={max_share}{self.why}"
            )
        return int(answer_tokens)

    def values(self) -> dict[str, float]:
        """The counts, and the share of padding in the last step, by their names in TensorBoard."""
        return {
            "data/padding_share": self.padding_share,
            "data/cut_tokens": float(self.cut),
            "data/lost_conversations": float(self.lost),
        }

    def state(self) -> tuple[int, int, int]:
        """What the constructor takes."""
        return self.drawn, self.cut, self.lost


class HeldOutMeans(Means):
    """Means over held-out conversations: answers' tokens, and conversations.

    Args:
        kinds: The kinds of questions. They must be the same in every process, whichever rows it has.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        names = ("loss", "token_accuracy", "accuracy", "chance", "lost_share", "cut_tokens")
        super().__init__(f"val/{name}" for name in (*names, *(f"accuracy_{kind}" for kind in kinds)))

    def update(self, video_chat: VideoChat, batch: CaptionBatch) -> None:
        """Measure a batch. Rows that do not fit into the context are counted and left out, as in training."""
        rows = len(batch.rows)
        inputs = video_chat.training_batch(batch.rows, batch.clip)
        kept = rows - inputs.lost
        # A mean of shares, weighted by rows, is the share of all rows.
        self.add({"val/lost_share": inputs.lost / rows}, rows)
        if kept:
            answers = video_chat.model(inputs.ids, inputs.mask, inputs.clips, inputs.labels)
            self.add({"val/loss": answers.loss, "val/token_accuracy": answers.accuracy}, answers.tokens)
            self.add({"val/cut_tokens": inputs.cut / kept}, kept)
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
            self.add({"val/accuracy": right, "val/chance": 1 / len(row.options)}, 1)
            if row.kind:
                self.add({f"val/accuracy_{row.kind}": right}, 1)
