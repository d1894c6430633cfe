"""What a trained probe says of new videos, and what a predictor did not foresee in them.

    vjepa predict kitchen.mp4                      # predictions.csv: a row for each window
    vjepa predict kitchen.mp4 --surprise           # surprise.csv and surprise.png

Windows have the length that the probe was trained for and follow one another. A shorter video has one window.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vjepa.data.decode import open_video
from vjepa.data.manifest import Row
from vjepa.data.windows import Window, WindowClips, windows_of
from vjepa.drawing.outputs import check_outputs, complete_file
from vjepa.errors import UserError, check_positive, counted, require
from vjepa.features.probe_answers import probe_clip, probe_shares, read_probe_schema
from vjepa.features.surprise import write_surprise
from vjepa.features.video_rows import manifest_of, rows_of
from vjepa.models.device import find_device
from vjepa.weights.box import BOX
from vjepa.weights.card import read_card
from vjepa.weights.files import check_same_encoder
from vjepa.weights.load import load_encoder, load_probe
from vjepa.weights.part_files import is_there

SHOWN = 12
"""Windows that are printed; the file holds all of them."""


@dataclass(frozen=True)
class Answer:
    """What the probe says of one window."""

    path: Path
    start: float
    """Seconds of the video."""
    end: float
    values: dict[str, float]
    """Shares by class name, the greatest first; of a regression, the numbers by their names."""


def predict(
    videos: list[Path],
    *,
    probe: Path = Path(BOX),
    encoder: Path | None = None,
    out: Path | None = None,
    overlap: float = 0.0,
    top: int = 5,
    surprise: bool = False,
    device: str = "auto",
) -> Path:
    """Name the class of each window of videos, by a trained probe, in a CSV file. Returns its path.

    Args:
        videos: Videos, images, folders of them, or manifests.
        probe: A probe stage's export, a Hugging Face classifier, or `demo`, the weights in the package.
        encoder: The encoder that the probe reads. Not given: the one in the probe's file, else the one that
            the file names.
        out: The file; if not given, predictions.csv, and with `surprise` surprise.csv.
        overlap: Share by which windows overlap, from 0 to below 1.
        top: Classes that are written for each window, the likeliest first.
        surprise: Instead, write how much the encoder's predictor errs over time, with a PNG beside the CSV.
        device: cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.
    """
    require(0 <= overlap < 1, f"--overlap {overlap} is a share: 0 to below 1")
    check_positive(top=top)
    rows = rows_of(videos)
    path = out or Path("surprise.csv" if surprise else "predictions.csv")
    read = [*videos, *(row.path for row in rows), probe, *([encoder] if encoder else [])]
    check_outputs([path, path.with_suffix(".png") if surprise else None], read)
    if surprise:
        return write_surprise(rows, encoder or probe, path, device)
    return write_predictions(rows, probe, encoder, path, overlap, top, device)


def write_predictions(
    rows: Sequence[Row],
    probe: Path,
    encoder: Path | None,
    path: Path,
    overlap: float,
    top: int,
    device: str,
) -> Path:
    """Write and print the answers of a probe about videos. The arguments are those of `predict`."""
    schema = read_probe_schema(probe)
    source = encoder or encoder_beside(probe, schema)
    network = load_encoder(source, schema.get("weights", "ema")).to(find_device(device)).eval()
    check_same_encoder(network, schema.get("encoder_digest"), str(probe))
    head = load_probe(probe).to(find_device(device)).eval()

    answers = [
        Answer(row.path, start, end, probe_shares(network, head, schema, clip[None])[0])
        for row, start, end, clip in windows_with_clips(rows, schema, overlap)
    ]
    is_numbers = schema["targets"] == "regression"
    write_answers(path, answers, top, is_numbers)
    print(table_of(answers, top, is_numbers))
    if schema["targets"] == "classes":
        print(f"shares are among the probe's {len(schema['names'])} classes, whatever the video shows")
    print(f"{path}: {counted(len(answers), 'window')}; weights: {read_card(probe).name}")
    return path


def encoder_beside(probe: Path, schema: dict) -> Path:
    """The encoder that a probe reads: in its own file, or where its file says. Raises UserError for none."""
    if "ema" in read_card(probe).parts:
        return probe
    named = schema.get("encoder")
    found = named is not None and is_there(named)
    missing = f"{probe} holds no encoder" + (f", and {named}, which it names, is not here" if named else "")
    require(found, f"{missing}; give --encoder")
    return Path(named)


def windows_with_clips(rows: Sequence[Row], schema: dict, overlap: float) -> Iterator[tuple]:
    """Row, start and end in seconds, and clip of every window, with a progress bar.

    Files that cannot be decoded are named on stderr. Raises UserError if none can.
    """
    clip = probe_clip(schema)
    manifest = manifest_of(rows)
    windows, bad = windows_of(manifest, clip, overlap)
    clips = WindowClips(manifest, windows, clip)
    for i in tqdm(range(len(windows)), unit="window", desc="predict"):
        sample = clips[i]
        bad += sample.bad
        if sample.clip is not None:
            row = rows[windows[i].row]
            yield row, *seconds_of(row, windows[i], clip.frames / clip.fps), sample.clip
    bad = list(dict.fromkeys(bad))
    # Every file of every window failed: there is nothing to write.
    if len({window.row for window in windows}) == 0 or len(bad) == len(rows):
        raise UserError(bad[0])
    for reason in bad:
        print(reason, file=sys.stderr)


def seconds_of(row: Row, window: Window, length: float) -> tuple[float, float]:
    """When a window begins and ends, in seconds of its video; an image has no time."""
    with open_video(row.path) as video:
        begin, end = video.segment(row.start, row.end)
    start = begin if window.start is None else window.start
    return start, min(start + length, end) if np.isfinite(end) else start


def write_answers(path: Path, answers: Sequence[Answer], top: int, is_numbers: bool) -> None:
    """Write the CSV: a row for each window, with the likeliest classes and their shares, or all numbers."""
    names = list(answers[0].values)
    top = min(top, len(names))
    pairs = [column for i in range(1, top + 1) for column in (f"class_{i}", f"share_{i}")]
    with complete_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "start", "end", *(sorted(names) if is_numbers else pairs)])
        for answer in answers:
            values = [f"{answer.values[name]:.6g}" for name in sorted(names)]
            best = [cell for name, share in first(answer, top) for cell in (name, f"{share:.4f}")]
            seconds = [f"{answer.start:.3f}", f"{answer.end:.3f}"]
            lines.writerow([answer.path, *seconds, *(values if is_numbers else best)])


def first(answer: Answer, top: int) -> list[tuple[str, float]]:
    """The likeliest classes; of several labels, too."""
    return sorted(answer.values.items(), key=lambda pair: -pair[1])[:top]


def table_of(answers: Sequence[Answer], top: int, is_numbers: bool) -> str:
    """The first windows as text."""
    lines = []
    for answer in answers[:SHOWN]:
        shown = list(answer.values.items()) if is_numbers else first(answer, min(top, 3))
        shares = "  ".join(
            f"{name} {value:.3g}" if is_numbers else f"{name} {value:.0%}" for name, value in shown
        )
        lines.append(f"{answer.path.name}  {answer.start:7.1f} to {answer.end:.1f} s  {shares}")
    more = len(answers) - SHOWN
    return "\n".join(lines + ([f"... and {counted(more, 'window')} more"] if more > 0 else []))
