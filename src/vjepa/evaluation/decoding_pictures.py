"""Pictures of what a predictor imagines: a sheet of held-out windows, and a film of one of them.

sheet   rows are windows; columns the first frame, and the true, decoded and imagined frames some actions on
film    a window's frames one after the other: real | decoded | imagined
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.drawing.captions import beside, enlarged, picture_table
from vjepa.drawing.event_writers import add_film
from vjepa.drawing.film import write_gif, write_png
from vjepa.evaluation.decoding_scores import Pictures
from vjepa.models.decoder import as_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

AHEAD = (1, 4, 8)
"""The horizons that a sheet shows, as far as windows reach."""
SIDE = 96
"""Height and width of a picture of a sheet, pixels; of larger frames, their own."""
SHOWN = 8
"""Frames of a validation in TensorBoard."""
FILM_SIDE = 192
"""As `SIDE`, in a film."""

Shown = UInt8[np.ndarray, "t h w 3"]


class Example(NamedTuple):
    """One window, as bytes. All have its frames 0 to T."""

    real: UInt8[np.ndarray, "t h w 3"]
    decoded: UInt8[np.ndarray, "t h w 3"]
    imagined: UInt8[np.ndarray, "t h w 3"] | None
    """Its frame 0 is the decoded one. None without a predictor."""

    @property
    def motion(self) -> float:
        """Mean change of its pixels from the first frame to the last."""
        return float(np.abs(self.real[-1].astype(int) - self.real[0]).mean())


def example(pictures: Pictures, number: int = 0) -> Example:
    """A window of a batch."""
    real, decoded = (as_frames(part[number]) for part in (pictures.real, pictures.decoded))
    if pictures.imagined is None:
        return Example(real, decoded, None)
    return Example(real, decoded, np.concatenate([decoded[:1], as_frames(pictures.imagined[number])]))


def as_frames(pictures: Float[Tensor, "t c h w"]) -> Shown:
    return rearrange(as_bytes(pictures.cpu()), "t c h w -> t h w c").numpy()


def show_decoded(
    writers: Sequence["SummaryWriter"],
    frames: Float[Tensor, "b c h w"],
    decoded: Float[Tensor, "b c h w"],
    step: int,
) -> None:
    """Show a row of true frames in TensorBoard, and below it what is decoded of their tokens."""
    rows = [as_bytes(frames[:SHOWN]), as_bytes(decoded[:SHOWN])]
    image = rearrange(rows, "r b c h w -> c (r h) (b w)")
    for writer in writers:
        writer.add_image("val/true_above_decoded", image, step)


def write_pictures(
    examples: Sequence[Example], fps: float, out: Path, writers: Sequence["SummaryWriter"], step: int
) -> None:
    """Write `decoding.png` of all examples and `decoding.gif` of the one that moves most; show both."""
    image = sheet(examples)
    write_png(out / "decoding.png", image)
    frames = film(max(examples, key=lambda one: one.motion))
    # A second of standing still, before it begins again.
    held = np.concatenate([frames, frames[-1:].repeat(round(fps), axis=0)])
    write_gif(out / "decoding.gif", held, fps, colours=256, dither=True)
    for writer in writers:
        writer.add_image("test/decoded_and_imagined", image, step, dataformats="HWC")
        add_film(writer, "test/film", (out / "decoding.gif").read_bytes(), step)


def sheet(examples: Sequence[Example]) -> UInt8[np.ndarray, "h w 3"]:
    """One image of all examples. The decoded first frame is what persistence predicts, at every horizon."""
    last = len(examples[0].real) - 1
    steps = sorted({min(k, last) for k in AHEAD})
    rows = [[picture for _, picture in cells(one, steps)] for one in examples]
    return picture_table(rows, columns=[name for name, _ in cells(examples[0], steps)])


def cells(one: Example, steps: Sequence[int]) -> list[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
    """The pictures of a row of the sheet with their names."""
    places = [("real now", one.real, 0), ("persistence", one.decoded, 0)]
    for k in steps:
        places += [(f"real +{k}", one.real, k), (f"decoded +{k}", one.decoded, k)]
        places += [] if one.imagined is None else [(f"imagined +{k}", one.imagined, k)]
    return [(name, larger(frames[k : k + 1], SIDE)[0]) for name, frames, k in places]


def film(one: Example) -> UInt8[np.ndarray, "t height width 3"]:
    """The frames of a window, side by side with their headers."""
    columns = {"real": one.real, "decoded": one.decoded}
    columns |= {} if one.imagined is None else {"imagined": one.imagined}
    return beside([larger(frames, FILM_SIDE) for frames in columns.values()], list(columns))


def larger(frames: Shown, side: int) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """The frames at least so many pixels wide."""
    h, w = frames.shape[1:3]
    return frames if w >= side else enlarged(frames, round(h * side / w), side)
