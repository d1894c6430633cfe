"""Pictures and text in TensorBoard. Other loggers hold numbers alone, so they are passed over.

for writer in event_writers(trainer):
    add_film(writer, "masks/moving", gif_bytes(frames, fps=4), trainer.global_step)
"""

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from lightning import Trainer
    from torch.utils.tensorboard import SummaryWriter


def event_writers(trainer: "Trainer") -> list["SummaryWriter"]:
    """The writers of a Trainer's TensorBoard loggers: in its first process, and if it has such loggers."""
    from lightning.pytorch.loggers import TensorBoardLogger

    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def add_film(writer: "SummaryWriter", tag: str, gif: bytes, step: int) -> None:
    """Show an animated GIF among the images."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    # SummaryWriter.add_video would do the same, but it needs moviepy to encode the GIF.
    width, height = Image.open(BytesIO(gif)).size
    image = Summary.Image(encoded_image_string=gif, width=width, height=height, colorspace=3)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
