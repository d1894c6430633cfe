"""What an encoder sees in your video, as one page that works without a network.

    vjepa look kitchen.mp4
    vjepa look mine.mp4 other.mp4 --encoder vitl.pt --out look.html --gif look.gif

The page plays the video beside its tokens as colours. It shows which patches are similar to the one that you
click, which moments are similar, and where the prediction is wrong.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row
from vjepa.drawing.outputs import check_outputs
from vjepa.errors import check_positive, require
from vjepa.features.clip_features import clip_of
from vjepa.features.look_film import write_films
from vjepa.features.look_page import write_page
from vjepa.features.look_predictions import load_forecaster
from vjepa.features.look_video import look_at
from vjepa.features.look_windows import Timing, VideoPlan, film_frames_per_frame, plan_video
from vjepa.features.video_rows import rows_of
from vjepa.models.device import find_device
from vjepa.models.encoder import Encoder
from vjepa.weights.box import BOX
from vjepa.weights.card import read_card
from vjepa.weights.load import load_encoder

SIZE = 288
"""Side, pixels, of a square with as many pixels as a picture. Smaller pictures have too few tokens."""
MOST_VIDEOS = 8
"""Videos that fit side by side."""
MOST_TOKENS = 250_000
"""Tokens on a page: about 9 MB of it."""
MOST_STEPS = 300
"""Time steps on a page."""


def look(
    videos: list[Path],
    *,
    encoder: Path = Path(BOX),
    out: Path = Path("look.html"),
    size: int = SIZE,
    frames: int | None = None,
    fps: float | None = None,
    gif: Path | None = None,
    mp4: Path | None = None,
    device: str = "auto",
) -> Path:
    """Show what an encoder sees in videos, as one HTML page that works without a network.

    Several videos stand side by side and share their colours. Returns the page's path.

    Args:
        videos: Videos, images, folders of them, or manifests.
        encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`, the weights
            in the package. If it holds a predictor, the page shows where its prediction is wrong.
        out: The page.
        size: Pictures have as many pixels as a square of this side, as the encoder sees them.
        frames: Frames of a window. Not given: as the encoder was trained.
        fps: Frames per second of video time. Not given: as the encoder was trained.
        gif: Also write an animated GIF of at most 12 seconds: video, colours, foreground.
        mp4: Also write the same as a film.
        device: cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.
    """
    check_positive(size=size, frames=frames, fps=fps)
    rows = rows_of(videos)
    several = f"{len(rows)} videos are too many to stand side by side; give at most {MOST_VIDEOS}"
    require(len(rows) <= MOST_VIDEOS, several)
    check_outputs((out, gif, mp4), [*videos, *(row.path for row in rows), encoder])

    card = read_card(encoder)
    network = load_encoder(encoder).to(find_device(device)).eval()
    clip = replace(clip_of(encoder, frames, fps), size=size)
    network.grid_of_size(clip.frames, network.config.patch, network.config.patch)

    timing, plans = plan_videos(rows, clip, network)
    forecaster = load_forecaster(encoder, card, network)
    windows = sum(len(plan.pieces) for plan in plans)
    with tqdm(total=windows, unit="window", desc="look") as progress:
        seen = look_at(plans, timing, network, forecaster, progress.update)
    write_page(out, seen, card)
    write_films(seen, gif, mp4)
    for path in filter(None, (out, gif, mp4)):
        print(f"{path}: open it in a browser" if path == out else path)
    print(f"weights: {card.name}")
    return out


def plan_videos(rows: Sequence[Row], clip: ClipConfig, encoder: Encoder) -> tuple[Timing, list[VideoPlan]]:
    """Which windows of the videos are shown, so that page and memory stay bounded. Raises DecodeError."""
    timing = Timing(clip, encoder.config.tubelet, 1)
    tokens = MOST_TOKENS // len(rows)
    steps = MOST_STEPS // len(rows)
    plans = [plan_video(row, timing, encoder.config.patch, tokens, steps) for row in rows]
    shown = sum(plan.steps for plan in plans) * encoder.config.tubelet
    return replace(timing, per_frame=film_frames_per_frame(clip.fps, shown)), plans
