"""The page of `look`: template, style and script in one HTML file together with everything they show.

The data are JSON in the page. Arrays travel as base64: the film as MP4, thumbnails as one JPEG, colours and
masks as bytes, tokens as vectors of 8-bit numbers (`components.unit_bytes`).
"""

import base64
import json
import math
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from vjepa.drawing.film import write_mp4
from vjepa.drawing.outputs import complete_file
from vjepa.features.components import Components, unit_bytes
from vjepa.features.look_notes import card_rows, notes_of
from vjepa.features.look_video import Look, Shown
from vjepa.features.look_windows import VideoPlan, name_of
from vjepa.weights.card import Card

THUMBNAIL = 72
"""Height of a thumbnail, pixels."""
COLUMNS = 16
"""Thumbnails in a row of the JPEG that holds all of them."""


def write_page(path: Path, look: Look, card: Card) -> None:
    """Write the page. An interrupted call leaves no half of one."""
    with complete_file(path) as unfinished:
        unfinished.write_text(page_of(look, card), encoding="utf-8")


def page_of(look: Look, card: Card) -> str:
    """The page as one text."""
    folder = files("vjepa.features")
    page = (folder / "look.html").read_text(encoding="utf-8")
    title = ", ".join(name_of(video.plan.row) for video in look.videos)
    # Within a script element "</script" would end the JSON too early, and "<!--<script" never.
    data = json.dumps(page_data(look, card)).replace("<", "\\u003c")
    parts = {
        "title": escape(title),
        "style": (folder / "look.css").read_text(encoding="utf-8"),
        "script": (folder / "look.js").read_text(encoding="utf-8"),
        "data": data,
    }
    for name, text in parts.items():
        page = page.replace(f"<!-- {name} -->", text)
    return page


def page_data(look: Look, card: Card) -> dict:
    """What the script reads."""
    # The few greatest errors, as at a cut, would make all others dark.
    errors = [video.errors[~video.errors.isnan()] for video in look.videos if video.errors is not None]
    most = float(torch.cat(errors).quantile(0.995)) if errors else 0.0
    return {
        "videos": [video_data(look, number, most) for number in range(len(look.videos))],
        "stepSeconds": look.timing.step_seconds,
        "windowSeconds": look.timing.steps * look.timing.step_seconds,
        "vector": len(look.components.axes),
        "mostError": most,
        "card": card_rows(card),
        "notes": notes_of(look, card),
    }


def video_data(look: Look, number: int, most_error: float) -> dict:
    """One video's part of the page's data."""
    video = look.videos[number]
    steps, rows, columns = video.tokens.shape[:3]
    row, column = strongest_patch(look.masks[number], video.motion)
    return {
        "name": name_of(video.plan.row),
        "still": video.plan.still,
        "duration": video.plan.duration,
        "leftOut": video.plan.left_out,
        "size": list(video.plan.size),
        "grid": [steps, rows, columns],
        "starts": video.starts,
        "film": "" if video.plan.still else encoded(mp4_bytes(video, look.timing.film_fps)),
        "thumbnails": encoded(thumbnails(video)),
        "columns": min(steps, COLUMNS),
        "colours": encoded(look.colours[number]),
        "foreground": encoded((look.masks[number] * 255).round().byte()),
        "tokens": encoded(unit_bytes(look.components.project(video.tokens))),
        "moments": encoded(moments(video, look.components)),
        "patch": [row, column],
        **error_data(video, most_error),
    }


def error_data(video: Shown, most: float) -> dict:
    """Where and when the prediction is wrong; null at the moments that the encoder saw."""
    if video.errors is None:
        return {"errors": "", "predicted": [], "unchanged": []}
    pixels = (video.errors.nan_to_num() / max(most, 1e-12) * 255).clamp(0, 255).round().byte()
    predicted = video.errors.mean(dim=(1, 2)).tolist()
    return {
        "errors": encoded(pixels),
        "predicted": list(map(rounded, predicted)),
        "unchanged": list(map(rounded, video.unchanged)),
    }


def rounded(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else round(value, 4)


def strongest_patch(mask: Float[Tensor, "T H W"], motion: Float[Tensor, "T H W"]) -> tuple[int, int]:
    """Row and column of the patch that the page begins with: one of the foreground that moves much."""
    middle = len(mask) // 2
    best = int((mask[middle] * (1 + motion[middle])).argmax())
    return divmod(best, mask.shape[2])


def moments(video: Shown, components: Components) -> Tensor:
    """One vector for each step, the mean of its tokens, as the page compares moments."""
    return unit_bytes(components.project(video.tokens.float().mean(dim=(1, 2))))


def mp4_bytes(video: Shown, fps: float) -> bytes:
    """The film as an MP4."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_mp4(path, rearrange(video.film, "t c h w -> t h w c").numpy(), fps, crf=23)
        return path.read_bytes()


def thumbnails(video: Shown) -> bytes:
    """The first frame of every step, small, in rows of `COLUMNS`, as one JPEG."""
    steps = len(video.tokens)
    columns = min(steps, COLUMNS)
    height, width = thumbnail_size(video.plan)
    frames = v2.functional.resize(video.film[:: len(video.film) // steps], [height, width], antialias=True)
    missing = -steps % columns
    frames = torch.cat([frames, frames.new_zeros(missing, *frames.shape[1:])])
    sheet = rearrange(frames, "(r q) c h w -> (r h) (q w) c", q=columns)
    return jpeg_bytes(sheet.numpy())


def thumbnail_size(plan: VideoPlan) -> tuple[int, int]:
    """Height and width of the thumbnails of a video. Of an image, which has no film, they are not small."""
    height, width = plan.size
    return plan.size if plan.still else (THUMBNAIL, max(round(THUMBNAIL * width / height), 1))


def jpeg_bytes(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def encoded(values: bytes | Tensor) -> str:
    """Bytes, or a tensor of bytes, as base64."""
    raw = values if isinstance(values, bytes) else values.contiguous().numpy().tobytes()
    return base64.b64encode(raw).decode()
