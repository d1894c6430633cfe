"""Pictures of a run in TensorBoard: what the encoder was shown of a clip, and its tokens as colours."""

import lightning as L
import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import Batch
from vjepa.data.transforms import denormalise, normalise
from vjepa.masks import Grid, View, sample_masks


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
        if not trainer.loggers or not trainer.is_global_zero or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        clip = normalise(batch.clip[: min(self.clips, stage.masks.group)])
        grid, tokens = stage.encoder.grid(clip), outputs["target"][: len(clip)]
        writer = trainer.logger.experiment
        for kind, view in zip(stage.masks.kinds, self.views(stage, grid, len(batch.clip), batch_idx), strict=True):
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
    light = light.scatter(1, view.drop[: len(clip)], 0.35).scatter(1, view.keep[: len(clip)], 1.0).to(clip.device)
    return (denormalise(clip).float() * spread(light[..., None], grid, clip.shape[2:])).byte()


def token_colours(tokens: Float[Tensor, "b n d"], grid: Grid, frame: tuple[int, int]) -> UInt8[Tensor, "b t c h w"]:
    """The first three principal components of all shown tokens as red, green and blue, one picture per time step."""
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    flat = flat - flat.mean(dim=0)
    components = torch.linalg.svd(flat, full_matrices=False).Vh[:3]
    colours = flat @ components.T
    colours = (colours / (2.5 * colours.std(dim=0)) + 0.5).clamp(0, 1).unflatten(0, tokens.shape[:2])
    return (spread(colours, grid, (grid[0], *frame)) * 255).byte()


def spread(values: Float[Tensor, "b n c"], grid: Grid, size: tuple[int, int, int]) -> Float[Tensor, "b t c h w"]:
    """One value per token, as pixels of its tubelet."""
    T, H, W = grid
    t, h, w = size[0] // T, size[1] // H, size[2] // W
    return repeat(values, "b (T H W) c -> b (T t) c (H h) (W w)", T=T, H=H, W=W, t=t, h=h, w=w)


def filmstrip(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[Tensor, "c height width"]:
    """Clips as rows, frames as columns, with a thin gap."""
    times = max(1, 128 // clips.shape[-1])  # small frames are shown larger
    padded = torch.nn.functional.pad(repeat(clips, "b t c h w -> b t c (h i) (w j)", i=times, j=times), (0, 2, 0, 2), value=255)
    return rearrange(padded, "b t c h w -> c (b h) (t w)")
