"""Check."""

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vjepa.data.decode import DecodeError, open_video
from vjepa.data.manifest import Manifest, Row, read_manifest
from vjepa.data.manifest_files import (
    _places,
)
from vjepa.errors import require

# python -m vjepa check-manifest


def check(manifest: Manifest, frames: int, workers: int, timeout: float) -> dict:
    """Decode `frames` frames of every row and report what was found, in the types of JSON.

    A file that takes more than `timeout` seconds, or crashes the process that decodes it, is a bad row like any other.
    """
    asked = _ask(manifest, frames, workers, timeout)
    answers = dict(tqdm(asked, total=len(manifest), unit="video", disable=None))
    found = [answer for answer in answers.values() if isinstance(answer, dict)]
    bad = sorted((row, answer) for row, answer in answers.items() if isinstance(answer, str))
    places = _places(manifest.source, len(manifest))
    labels = manifest.labels[manifest.labels >= 0]
    return {
        "source": str(manifest.source),
        "rows": len(manifest),
        "ok": len(found),
        "labelled": len(labels),
        "labels": len(np.unique(labels)),
        "label": _spread(labels.tolist()),
        **{key: _spread([answer[key] for answer in found]) for key in ("fps", "seconds", "width", "height")},
        "codecs": dict(Counter(answer["codec"] for answer in found).most_common()),
        "bad": [
            {"place": places[row], "path": str(manifest.row(row).path), "reason": why} for row, why in bad
        ],
    }


def _ask(manifest: Manifest, frames: int, workers: int, timeout: float) -> Iterator[tuple[int, dict | str]]:
    """(row, what was found or why not) for every row, as the answers come in."""
    rows, idle, busy = iter(range(len(manifest))), [], {}
    try:
        while True:
            while len(busy) < workers and (row := next(rows, None)) is not None:
                worker = idle.pop() if idle else _Worker(frames)
                worker.pipe.send(manifest.row(row))
                busy[worker] = (row, time.monotonic() + timeout)
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy], timeout=1)
            for worker, (row, deadline) in list(busy.items()):
                if worker.pipe in ready:
                    answer = worker.answer()
                elif time.monotonic() > deadline:
                    worker.stop()
                    answer = f"no answer within {timeout:g} s"
                else:
                    continue
                del busy[worker]
                if not worker.pipe.closed:
                    idle.append(worker)
                yield row, answer
    finally:
        for worker in (*idle, *busy):
            worker.stop()


class _Worker:
    """A process of its own for decoding: a file that hangs or crashes it takes nothing else along."""

    def __init__(self, frames: int):
        self.pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(theirs, frames), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here

    def answer(self) -> dict | str:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(1)
            self.stop()
            return f"decoding it ended the process (exit code {self._process.exitcode})"

    def stop(self) -> None:
        self._process.kill()
        self.pipe.close()


def _serve(pipe: Connection, frames: int) -> None:
    with suppress(EOFError):
        while True:
            row = pipe.recv()
            try:
                pipe.send(_probe(row, frames))
            except DecodeError as error:
                pipe.send(error.reason)


def _probe(row: Row, frames: int) -> dict:
    """Decode `frames` frames from the first to the last of the row's segment and tell what video it is."""
    with open_video(row.path) as video:
        start, end = row.start or 0.0, video.end if row.end is None else row.end
        if start >= end or end > video.end:
            raise DecodeError(
                row.path,
                f"the segment {start:g} to {end:g} s reaches past the video's end at {video.end:g} s",
            )
        video.frames(np.linspace(start, np.nextafter(end, 0) if np.isfinite(end) else start, frames))
        about = {"fps": video.fps, "codec": video.codec, "seconds": end - start}
        return about | {"width": video.width, "height": video.height}


def _spread(values: Sequence[float | int]) -> dict[str, float | int] | None:
    """Smallest, middle and largest of the finite ones."""
    finite = [value for value in values if np.isfinite(value)]
    return {"min": min(finite), "median": float(np.median(finite)), "max": max(finite)} if finite else None


def _text(report: dict) -> str:
    codecs = ", ".join(f"{codec} {count}" for codec, count in report["codecs"].items())
    lines = [f"{report['source']}: {report['rows']} rows, {report['ok']} ok, {len(report['bad'])} bad"]
    lines += [
        f"  labels   {report['labels']} different, on {report['labelled']} rows",
        f"  codecs   {codecs or 'none'}",
    ]
    for key in ("label", "fps", "seconds", "width", "height"):
        if spread := report[key]:
            lines += [f"  {key:8} {spread['min']:g} to {spread['max']:g}, median {spread['median']:g}"]
    return "\n".join(lines + [f"{bad['place']}: {bad['path']}: {bad['reason']}" for bad in report["bad"]])


def check_manifest(
    manifest: Path, *, frames: int = 4, workers: int = 2, timeout: float = 60.0, json_file: Path | None = None
) -> None:
    """Decode a few frames of every row of a manifest and report what the videos are like, and every bad row.

    Args:
        manifest: A folder of videos, .txt, .csv, .tsv or .parquet.
        frames: Frames to decode, spread from first to last.
        workers: Processes that decode at the same time.
        timeout: Seconds that a row may take before it counts as bad.
        json_file: Write the whole report to this file too.

    Raises UserError if the manifest cannot be read, or if any row is bad.
    """
    require(min(frames, workers, timeout) > 0, "--frames, --workers and --timeout must be more than 0")
    report = check(read_manifest(manifest), frames, workers, timeout)
    print(_text(report))
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    require(not report["bad"], f"{len(report['bad'])} of {report['rows']} rows are bad")
