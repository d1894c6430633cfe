"""Pictures of a run in TensorBoard: what the encoder was shown of a clip, and its tokens as colours."""

import lightning as L
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import Batch
from vjepa.data.transforms import denormalise, normalise
from vjepa.features.token_colours import filmstrip, spread, token_colours
from vjepa.models.grid import Grid
from vjepa.objectives.masks import View, sample_masks


class Pictures(L.Callback):
    """Now and then: what the encoder was shown of a clip, and its tokens as colours."""

    def __init__(self, every: int = 200, clips: int = 4) -> None:
        """
        Args:
            every: Steps between two pictures.
            clips: Rows of a picture.
        """
        self.every, self.clips = every, clips

    def on_train_batch_end(self, trainer, stage, outputs, batch: Batch, batch_idx) -> None:
        if trainer.global_step % self.every and trainer.global_step != 1:
            return
        if (
            not trainer.loggers
            or not trainer.is_global_zero
            or (batch_idx + 1) % trainer.accumulate_grad_batches
        ):
            return
        clip = normalise(batch.clip[: min(self.clips, stage.masks.group)])
        grid, tokens = stage.encoder.grid(clip), outputs["target"][: len(clip)]
        writer = trainer.logger.experiment
        for kind, view in zip(
            stage.masks.kinds, self.views(stage, grid, len(batch.clip), batch_idx), strict=True
        ):
            when = "" if kind.duration == 1 else f"_for_{kind.duration:.0%}_of_the_time"
            name = f"masks/{kind.blocks}_blocks_of_{kind.scale:.0%}{when}_bright_kept_dim_predicted"
            writer.add_image(name, filmstrip(masked_clip(clip, view, grid)), trainer.global_step)
        colours = token_colours(tokens, grid, clip.shape[-2:])
        frames = denormalise(clip)[:, :: clip.shape[2] // grid[0]]
        both = rearrange([frames, colours], "r b t c h w -> (b r) t c h w")
        writer.add_image("tokens/principal_components_as_colour", filmstrip(both), trainer.global_step)

    def views(self, stage: L.LightningModule, grid: Grid, batch: int, batch_idx: int) -> list[View]:
        """The masks of this batch's first clips, as the step drew them."""
        size, step = min(stage.masks.group, batch), max(stage.global_step - 1, 0)
        first = stage.micro_batch(batch_idx) * (batch // size)
        return sample_masks(stage.masks, grid, size, seed=stage.seed, step=step, rank=first)


def masked_clip(clip: Float[Tensor, "b c t h w"], view: View, grid: Grid) -> UInt8[Tensor, "b t c h w"]:
    """The clip with dropped tubelets dimmed, and those that the cut to equal lengths left out of both nearly black."""
    light = torch.full((len(clip), grid[0] * grid[1] * grid[2]), 0.08)
    light = (
        light.scatter(1, view.drop[: len(clip)], 0.35).scatter(1, view.keep[: len(clip)], 1.0).to(clip.device)
    )
    return (denormalise(clip).float() * spread(light[..., None], grid, clip.shape[2:])).byte()
