"""Windows of a robot's episodes as a decoder shows them: seen frame by frame, and imagined from the first.

pictures = decoded_windows(decoder, predictor, tokens, batch, schema)
held_out = HeldOutPictures(horizons=8)
held_out.add(pictures, {"moving": moving_mask(pictures.real)})
held_out.compute(trainer.strategy)
held_out.write(fps=4.0, out=out)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.data.means import Means
from vjepa.evaluation.decoding_pictures import Example, example, write_pictures
from vjepa.evaluation.decoding_report import write_decoding
from vjepa.evaluation.decoding_scores import Curves, Masks, Pictures, curves, score_names, scores_of
from vjepa.evaluation.rollout_error import reached_states
from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.decoder import Decoder
from vjepa.robots.schema import StateSchema
from vjepa.robots.window_batches import TrajectoryBatch

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy
    from torch.utils.tensorboard import SummaryWriter

ROWS = 4
"""Windows that are kept for pictures: the first ones of batches that are spread evenly over all."""


@torch.no_grad()
def decoded_windows(
    decoder: Decoder,
    predictor: ACPredictor | None,
    tokens: Float[Tensor, "b n d"],
    batch: TrajectoryBatch,
    schema: StateSchema,
) -> Pictures:
    """The pictures of a batch, on the device of its tokens.

    Args:
        decoder: Shows tokens.
        predictor: Imagines the frames after the first, under the true actions; None leaves them out.
        tokens: Those of all frames, in (T H W) order.
        batch: Windows with their images.
        schema: What states and actions mean.
    """
    t = batch.states.shape[1]
    frames = rearrange(tokens, "b (t n) d -> b t n d", t=t)
    imagined = None
    if predictor is not None:
        states = reached_states(batch.actions, batch.states, schema)
        rolled = predictor.rollout(frames[:, 0], batch.actions, states)
        imagined = decode(decoder, rearrange(rolled, "b (t n) d -> b t n d", t=t - 1))
    return Pictures(batch.clip.float() / 255, decode(decoder, frames), imagined)


def decode(decoder: Decoder, frames: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t c h w"]:
    """The pictures of some frames, one moment after the other, which bounds the memory."""
    return torch.stack([decoder(tokens).clamp(0, 1) for tokens in frames.unbind(1)], dim=1)


class HeldOutPictures:
    """Scores of held-out windows, added up over batches and devices, and some windows to look at.

    curves    the scores, when they were computed last
    windows   how many windows these are of, over all devices
    """

    def __init__(self, horizons: int) -> None:
        """horizons: T, how many actions a window has."""
        self.horizons = horizons
        self.means = Means(score_names(horizons))
        self.counted = Means(("windows",))
        self.examples: list[Example] = []
        self.curves: Curves = {}
        self.windows = 0

    def add(self, pictures: Pictures, masks: Masks) -> None:
        """Score a batch of windows, in the whole picture and inside the masks of regions."""
        self.counted.add({"windows": 1.0}, len(pictures.real))
        for scores, weight in scores_of(pictures, masks):
            self.means.add(scores, weight)

    def keep(self, pictures: Pictures, number: int, batches: int) -> None:
        """Keep the first window of some batches. number: That of this one, of so many `batches`."""
        if number == 0:
            self.examples = []
        if number in {batches * (2 * row + 1) // (2 * ROWS) for row in range(ROWS)}:
            self.examples.append(example(pictures))

    def compute(self, strategy: "Strategy") -> None:
        """Take the means over all devices, and forget what was added. Every process has to call it."""
        self.counted.compute(strategy)
        self.windows = int(self.counted.count)
        self.curves = curves(self.means.compute(strategy), self.horizons)

    def write(self, fps: float, out: Path, writers: Sequence["SummaryWriter"] = (), step: int = 0) -> None:
        """Print the tables, write `decoding.json`, `decoding.png` and `decoding.gif`; show the pictures."""
        write_decoding(self.curves, self.windows, out)
        if self.examples:  # not where the first process lost these batches
            write_pictures(self.examples, fps, out, writers, step)
