"""A few held-out questions in TensorBoard, with their clips, their right answers and generated answers."""

import lightning as L
from einops import rearrange
from torch import Tensor

from vjepa.data.decode_error import DecodeError
from vjepa.drawing.event_writers import event_writers
from vjepa.language.conversation_files import Captions
from vjepa.language.conversations import Conversation
from vjepa.language.media import FrameConfig, decode_media


class SampleAnswers(L.Callback):
    """After every validation: a table of questions and answers, and the clips as filmstrips."""

    def __init__(self, rows: int = 4, limit: int = 24) -> None:
        """
        Args:
            rows: Questions, evenly spread over the validation file.
            limit: Most tokens of an answer.
        """
        self.rows = rows
        self.limit = limit

    def on_validation_end(self, trainer, stage) -> None:
        captions = trainer.datamodule.val_captions
        # Only the process that writes to TensorBoard decodes and generates.
        writers = event_writers(trainer)
        if trainer.sanity_checking or not writers or captions is None:
            return
        samples = self.samples(captions, stage.video_chat.clip)
        if not samples:
            return

        rows = [row for row, _ in samples]
        clips = [clip for _, row_clips in samples for clip in row_clips]
        answers = stage.video_chat.answers(rows, clips, self.limit)
        for writer in writers:
            writer.add_text("samples/answers", answer_table(rows, answers), trainer.global_step)
            for number, (_, row_clips) in enumerate(samples):
                if row_clips:
                    # The first medium stands for all of them.
                    filmstrip = rearrange(row_clips[0], "t c h w -> c h (t w)")
                    writer.add_image(f"samples/clip_{number}", filmstrip, trainer.global_step)

    def samples(self, captions: Captions, config: FrameConfig) -> list[tuple[Conversation, list[Tensor]]]:
        """Conversations with the frames of their media; those that cannot be decoded are left out."""
        count = min(self.rows, len(captions))
        samples = []
        for i in range(count):
            row = captions.row(i * len(captions) // count)
            try:
                samples.append((row, [decode_media(media, config) for media in row.media]))
            except DecodeError:
                continue  # the loader has reported it
        return samples


def answer_table(rows: list[Conversation], answers: list[str]) -> str:
    """A Markdown table with a row for each question; its first column is the number of the filmstrip."""
    lines = ["| clip | question | gold | answer | |", "|---|---|---|---|---|"]
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        mark = "right" if answer == row.answer else ""
        cells = (str(number), row.question, row.answer, answer, mark)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)
