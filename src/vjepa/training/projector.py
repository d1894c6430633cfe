"""TensorBoard's embedding projector: clips as points with thumbnails, near where features are alike."""

from collections.abc import Sequence

import lightning as L
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from vjepa.drawing.event_writers import event_writers

THUMBNAIL = 48
"""Pixels. TensorBoard takes one image of all thumbnails, of at most 8192 pixels."""


def show_in_projector(
    trainer: L.Trainer,
    vectors: Float[Tensor, "b d"],
    clips: UInt8[Tensor, "b t c h w"],
    columns: dict[str, Sequence],
) -> None:
    """Show one vector and the middle frame of every clip.

    columns: Names and labels, one of each for a clip.
    """
    frames = clips[:, clips.shape[1] // 2].float() / 255
    thumbnails = interpolate(frames, (THUMBNAIL, THUMBNAIL), mode="area")
    rows = [[str(value) for value in row] for row in zip(*columns.values(), strict=True)]
    # A single column has no header, and its values are not in lists.
    single = len(columns) == 1
    metadata = [row[0] for row in rows] if single else rows
    for writer in event_writers(trainer):
        writer.add_embedding(
            vectors,
            metadata=metadata,
            metadata_header=None if single else list(columns),
            label_img=thumbnails,
            global_step=trainer.global_step,
            tag="clips",
        )


def clip_vectors(tokens: Float[Tensor, "b T H W d"]) -> Float[Tensor, "b f"]:
    """The tokens of every time step, averaged over the frame and set side by side: motion shows in them."""
    return rearrange(tokens.mean(dim=(2, 3)), "b T d -> b (T d)")
