"""Images of pretraining in TensorBoard: the masks of a clip, and its target tokens as colours."""

import lightning as L
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import Batch
from vjepa.data.transforms import denormalise, normalise
from vjepa.features.token_colours import tile_clips, token_colours, tokens_to_pixels
from vjepa.models.grid import Grid
from vjepa.objectives.masks import BlockConfig, View
from vjepa.training.mask_groups import batch_in_step, sample_groups
from vjepa.training.monitors import completes_step
from vjepa.training.pretraining_monitors import Outputs

KEPT = 1.0  # brightness of a tubelet
DROPPED = 0.35
LEFT_OUT = 0.08  # neither kept nor dropped: what the cut of all clips to equal lengths left out


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
        if not (due and completes_step(trainer, batch_idx) and trainer.loggers and trainer.is_global_zero):
            return
        # Within the first group, of which `views` returns the masks.
        clip = normalise(batch.clip[: min(self.clips, stage.masks.group)])
        views = self.views(trainer, stage, outputs["grid"], len(batch.clip), batch_idx)
        images = {mask_name(kind): masked_clip(clip, view, outputs["grid"]) for kind, view in views}
        images["tokens/principal_components_as_colour"] = coloured_clip(
            clip, outputs["targets"][: len(clip)], outputs["grid"]
        )
        for name, clips in images.items():
            trainer.logger.experiment.add_image(name, tile_clips(clips), trainer.global_step)

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


def coloured_clip(
    clip: Float[Tensor, "b c t h w"], tokens: Float[Tensor, "b n d"], grid: Grid
) -> UInt8[Tensor, "_ t c h w"]:
    """All clips, one frame for each time step of the grid, then their tokens as colours."""
    colours = token_colours(tokens, grid, clip.shape[-2:])
    frames = denormalise(clip)[:, :: clip.shape[2] // grid[0]]
    return rearrange([frames, colours], "r b t c h w -> (b r) t c h w")
