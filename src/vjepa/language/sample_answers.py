"""A few held-out questions in TensorBoard: what was shown, what was asked, what is right and what was said."""

import lightning as L
import torch
from einops import rearrange

from vjepa.data.decode import DecodeError
from vjepa.language.conversations import Conversation
from vjepa.language.media import frames_of


class SampleAnswers(L.Callback):
    """After every validation: a table of questions with gold and generated answers, and the clips as filmstrips."""

    def __init__(self, rows: int = 4, limit: int = 24) -> None:
        """
        Args:
            rows: Questions, evenly spread over the validation file.
            limit: Most tokens of an answer.
        """
        self.rows, self.limit = rows, limit

    def on_validation_end(self, trainer, stage) -> None:
        data = trainer.datamodule
        if (
            trainer.sanity_checking
            or not trainer.is_global_zero
            or not trainer.loggers
            or data.val_captions is None
        ):
            return
        shown = [
            found for row in self.chosen(data.val_captions) if (found := self.frames(row, stage.talker.clip))
        ]
        if not shown:
            return
        rows, clips = [row for row, _ in shown], [clip for _, mine in shown for clip in mine]
        said = stage.talker.answers(rows, clips, self.limit)
        writer, step = trainer.logger.experiment, trainer.global_step
        writer.add_text("samples/answers", answer_table(rows, said), step)
        for number, (_, mine) in enumerate(shown):
            if mine:
                writer.add_image(f"samples/clip_{number}", rearrange(mine[0], "t c h w -> c h (t w)"), step)

    def chosen(self, captions) -> list[Conversation]:
        count = min(self.rows, len(captions))
        return [captions.row(i * len(captions) // count) for i in range(count)]

    def frames(self, row: Conversation, config) -> tuple[Conversation, list[torch.Tensor]] | None:
        try:
            return row, [frames_of(media, config) for media in row.media]
        except DecodeError:
            return None  # the loader has reported it


def answer_table(rows: list[Conversation], said: list[str]) -> str:
    """Markdown, one line a question; numbered as the filmstrips are."""
    lines = ["| clip | question | gold | answer | |", "|---|---|---|---|---|"]
    for number, (row, answer) in enumerate(zip(rows, said, strict=True)):
        mark = "right" if answer == row.answer else ""
        cells = (str(number), row.question, row.answer, answer, mark)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
