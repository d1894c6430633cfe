"""Images of pretraining in TensorBoard: clips with their masks as films, and target tokens as colours."""

import lightning as L
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from vjepa.data.clips import Batch
from vjepa.data.transforms import denormalise, normalise
from vjepa.drawing.event_writers import add_film, event_writers
from vjepa.drawing.film import gif_bytes
from vjepa.features.token_colours import tile_clips, token_colours, tokens_to_pixels
from vjepa.models.grid import Grid
from vjepa.objectives.masks import BlockConfig, View
from vjepa.training.mask_groups import batch_in_step, sample_groups
from vjepa.training.monitors import completes_step
from vjepa.training.pretraining_outputs import Outputs

KEPT = 1.0  # brightness of a tubelet
DROPPED = 0.35
LEFT_OUT = 0.08  # neither kept nor dropped: what the cut of all clips to equal lengths left out
SMALLEST = 128
"""Pixels: frames with fewer in a row are enlarged."""


class ImageMonitor(L.Callback):
    """Shows the masks of some clips, and the first principal components of their target tokens as colours."""

    def __init__(self, every: int = 200, clips: int = 4) -> None:
        """
        Args:
            every: Steps between two images.
            clips: Rows of an image.
        """
        self.every = every
        self.clips = clips

    def on_train_batch_end(self, trainer, stage, outputs: Outputs, batch: Batch, batch_idx) -> None:
        due = trainer.global_step % self.every == 0 or trainer.global_step == 1
        writers = event_writers(trainer)
        if not (due and completes_step(trainer, batch_idx) and writers):
            return
        # Within the first group, of which `views` returns the masks.
        clip = normalise(batch.clip[: min(self.clips, stage.masks.group)])
        grid = outputs["grid"]
        views = self.views(trainer, stage, grid, len(batch.clip), batch_idx)
        films = {mask_name(kind): film_of(masked_clip(clip, view, grid)) for kind, view in views}
        colours = tile_clips(coloured_clip(clip, outputs["targets"][: len(clip)], grid))
        for writer in writers:
            writer.add_image("tokens/principal_components_as_colour", colours, trainer.global_step)
            for name, film in films.items():
                add_film(writer, name, gif_bytes(film, fps=trainer.datamodule.clip.fps), trainer.global_step)

    def views(
        self, trainer: L.Trainer, stage: L.LightningModule, grid: Grid, clips: int, batch_idx: int
    ) -> list[tuple[BlockConfig, View]]:
        """Mask kinds and the masks of this batch's first group of clips, as the step drew them."""
        step = max(trainer.global_step - 1, 0)  # Lightning counted the step before it called this monitor
        batch = batch_in_step(trainer, batch_idx)
        groups = sample_groups(stage.masks, grid, clips, seed=stage.seed, step=step, batch=batch)
        return list(zip(stage.masks.kinds, groups[0].views, strict=True))


def mask_name(kind: BlockConfig) -> str:
    """The name of the masks of a kind in TensorBoard."""
    time = "" if kind.duration == 1 else f"_for_{kind.duration:.0%}_of_the_time"
    return f"masks/{kind.blocks}_blocks_of_{kind.scale:.0%}{time}_bright_kept_dim_predicted"


def masked_clip(clip: Float[Tensor, "b c t h w"], view: View, grid: Grid) -> UInt8[Tensor, "b t c h w"]:
    """The clip with dropped tubelets dimmed, and those in neither part of the view nearly black."""
    T, H, W = grid
    light = torch.full((len(clip), T * H * W), LEFT_OUT)
    light = light.scatter(1, view.drop[: len(clip)], DROPPED)
    light = light.scatter(1, view.keep[: len(clip)], KEPT).to(clip.device)
    return (denormalise(clip).float() * tokens_to_pixels(light[..., None], grid, clip.shape[2:])).byte()


def film_of(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[np.ndarray, "t height width c"]:
    """The clips beside each other, as the frames of one film."""
    return rearrange(enlarged(clips), "b t c h w -> t h (b w) c").cpu().numpy()


def coloured_clip(
    clip: Float[Tensor, "b c t h w"], tokens: Float[Tensor, "b n d"], grid: Grid
) -> UInt8[Tensor, "rows T c height width"]:
    """All clips, one frame for each time step of the grid, then their tokens as colours."""
    frames = enlarged(denormalise(clip)[:, :: clip.shape[2] // grid[0]])
    # One pixel for each token, then as large as the frames.
    colours = enlarged(token_colours(tokens, grid, grid[1:]), frames.shape[-2:])
    return rearrange([frames, colours], "r b t c h w -> (b r) t c h w")


def enlarged(
    clips: UInt8[Tensor, "b t c h w"], size: tuple[int, int] | None = None
) -> UInt8[Tensor, "b t c height width"]:
    """The clips in the given height and width, smoothly interpolated; without one, `SMALLEST` or wider."""
    height, width = clips.shape[-2:]
    times = max(1.0, SMALLEST / width)
    size = size or (round(height * times), round(width * times))
    frames = rearrange(clips, "b t c h w -> (b t) c h w").float()
    larger = interpolate(frames, size, mode="bicubic", align_corners=False).round().clamp(0, 255).byte()
    return rearrange(larger, "(b t) c h w -> b t c h w", b=len(clips))
