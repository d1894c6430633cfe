"""The command `data check`: decode a few frames of every row, and report what the videos are like.

    vjepa data check train.csv --json report.json

Each row is decoded in a process of a pool, because FFmpeg can hang or crash on a damaged file. Such a file is
one bad row, and all other rows are still checked.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError, as_completed
from json import dumps
from pathlib import Path

import numpy as np
from pebble import ProcessExpired, ProcessFuture, ProcessPool
from tqdm import tqdm

from vjepa.data.decode import LATE, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.manifest import NO_LABEL, Manifest, Row, read_manifest
from vjepa.data.row_errors import row_locations
from vjepa.drawing.outputs import check_outputs
from vjepa.errors import announce, check_positive, check_workers, counted, require

AT_ONCE = 1000
"""Most rows that wait in the pool at the same time, so that a manifest of millions takes little memory."""
CLASSES = 10
"""Classes that are printed with their numbers."""


def check_manifest(
    manifest: str | Path,
    *,
    frames: int = 4,
    workers: int = 2,
    timeout: float = 60.0,
    json: Path | None = None,
) -> None:
    """Decode a few frames of every row of a manifest and report what the videos are like, and every bad row.

    Args:
        manifest: A folder of videos, a video, .txt, .csv, .tsv or .parquet, or the address of one.
        frames: Frames to decode, spread from first to last.
        workers: Processes that decode at the same time.
        timeout: Seconds that a row may take before it counts as bad.
        json: Write the whole report to this file too.

    Raises UserError if the manifest cannot be read, or if any row is bad.
    """
    check_positive(frames=frames, timeout=timeout)
    check_workers(workers, 1)
    check_outputs([json], [manifest])
    if (Path(manifest) / "meta/info.json").is_file():
        announce(f"{manifest} is a LeRobot dataset: its episodes are checked by `fit ac`, not here")
    report = check(read_manifest(manifest), frames, workers, timeout)
    print(as_text(report))
    if json:
        json.write_text(dumps(report, indent=1) + "\n")
    # Only now, so that a report with bad rows is printed and written too.
    require(not report["bad"], f"{len(report['bad'])} of {report['rows']} rows are bad")


def check(manifest: Manifest, frames: int, workers: int, timeout: float) -> dict:
    """Decode `frames` frames of every row and report what they are like, in the types of JSON.

    A file that takes more than `timeout` seconds, or crashes the process that decodes it, is a bad row.
    """
    results = probe_all(manifest, frames, workers, timeout)
    # Without a terminal there is no progress bar: that is what disable=None means.
    by_row = dict(tqdm(results, total=len(manifest), unit="video", disable=None))
    videos = [result for result in by_row.values() if isinstance(result, dict)]
    # Results come in any order; the report lists bad rows in the order of the manifest.
    reasons = sorted((row, result) for row, result in by_row.items() if isinstance(result, str))

    places = row_locations(manifest.source, [row for row, _ in reasons])
    labels = manifest.labels[manifest.labels != NO_LABEL]
    return {
        "source": manifest.address or str(manifest.source),
        "rows": len(manifest),
        "ok": len(videos),
        "labelled": len(labels),
        "labels": len({*manifest.different_labels} - {NO_LABEL}),
        "classes": manifest.classes,
        "label": spread(labels),
        **{key: spread([video[key] for video in videos]) for key in ("fps", "seconds", "width", "height")},
        "segments_cut": sum(video["cut"] for video in videos),
        "codecs": dict(Counter(video["codec"] for video in videos).most_common()),
        "bad": [
            {"place": place, "path": str(manifest.row(row).path), "reason": reason}
            for place, (row, reason) in zip(places, reasons, strict=True)
        ],
    }


def probe_all(
    manifest: Manifest, frames: int, workers: int, timeout: float
) -> Iterator[tuple[int, dict | str]]:
    """(row, what its video is like or why it is bad) of every row, in the order in which they are ready."""
    # FFmpeg hangs inside C code, which no exception could end. This pool kills a process that is too late;
    # those of the standard library cannot.
    pool = ProcessPool(max_workers=workers)
    try:
        for first in range(0, len(manifest), AT_ONCE):
            rows = range(first, min(first + AT_ONCE, len(manifest)))
            futures = {pool.schedule(probe, (manifest.row(i), frames), timeout=timeout): i for i in rows}
            for future in as_completed(futures):
                yield futures[future], result_of(future, timeout)
    finally:
        # Not `close`, which would decode all waiting rows after Ctrl-C.
        pool.stop()
        pool.join()


def result_of(future: ProcessFuture, timeout: float) -> dict | str:
    """What the video is like, or why the row is bad."""
    try:
        return future.result()
    except DecodeError as error:
        return error.reason  # the report gives the path itself
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except ProcessExpired as error:
        return f"decoding it ended the process (exit code {error.exitcode})"
    except Exception as error:  # noqa: BLE001  whatever a decoder raises: all other rows are still looked at
        return f"decoding it failed: {type(error).__name__}: {error}"


def probe(row: Row, frames: int) -> dict[str, float | int | str]:
    """Decode `frames` frames from the first to the last of the row's segment.

    Returns the video's fps, codec, seconds, width and height, and whether the segment was cut to the video's
    end. Raises DecodeError."""
    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
        # The end itself is outside the video: the last frame is the one just before it. An image has no end.
        last = np.nextafter(end, 0) if np.isfinite(end) else start
        video.frames(np.linspace(start, last, frames))
        return {
            "fps": video.fps,
            "codec": video.codec,
            "seconds": end - start,
            "width": video.width,
            "height": video.height,
            "cut": row.end is not None and row.end > end,
        }


def spread(values: Sequence[float | int] | np.ndarray) -> dict[str, float | int] | None:
    """The least, the median and the greatest of the finite values; None without any."""
    # An image never ends, so its length is infinite.
    finite = np.asarray(values)[np.isfinite(values)]
    if not len(finite):
        return None
    return {"min": finite.min().item(), "median": float(np.median(finite)), "max": finite.max().item()}


def as_text(report: dict) -> str:
    """The report of `check` for people."""
    codecs = ", ".join(f"{codec} {count}" for codec, count in report["codecs"].items())
    lines = [
        f"{report['source']}: {counted(report['rows'], 'row')}, {report['ok']} ok, {len(report['bad'])} bad",
        f"  labels   {report['labels']} different, on {report['labelled']} rows",
        f"  codecs   {codecs or 'none'}",
    ]
    if report["segments_cut"]:
        lines.append(f"  segments cut: {report['segments_cut']}; they end up to {LATE:g} s after their video")
    if report["classes"]:
        shown = ", ".join(f"{number} {name}" for name, number in list(report["classes"].items())[:CLASSES])
        more = len(report["classes"]) - CLASSES
        lines.append(f"  classes  {shown}{f' and {more} more' if more > 0 else ''}")
    for key in ("label", "fps", "seconds", "width", "height"):
        if values := report[key]:
            lines.append(f"  {key:8} {values['min']:g} to {values['max']:g}, median {values['median']:g}")
    lines += [f"{bad['place']}: {bad['path']}: {bad['reason']}" for bad in report["bad"]]
    return "\n".join(lines)
