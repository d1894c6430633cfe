"""Which videos there are: a folder, a list of `path label` lines, a CSV, a TSV or a Parquet file become one Arrow table.

    manifest = read_manifest("train.csv")
    manifest.row(7)       # Row(path=..., label=3, start=None, end=None)

The format, column by column, is in `data_manifests/README.md`. Whether the videos can be decoded is another question:

    python -m vjepa.data.manifest check train.csv
"""

import argparse
import csv
import io
import json
import multiprocessing
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Int64
from tqdm import tqdm

from vjepa.data.decode import DecodeError, open_video

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".gif")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
NUMBERS = {"label": pa.int64(), "start": pa.float64(), "end": pa.float64(), "duration": pa.float64()}
COLUMNS = ("path", *NUMBERS)
SURELY_PATH = ("filename", "file", "file_name", "filepath", "file_path", "video", "video_path", "paths", "name")


class ManifestError(ValueError):
    """A manifest that cannot be read. One sentence: which file and line, what is wrong, what to do."""


@dataclass(frozen=True)
class Row:
    """One video, or the segment of it from `start` to `end` (seconds; None: from the beginning, to the end)."""

    path: Path
    label: int | None
    start: float | None
    end: float | None


class Manifest:
    """Rows in one Arrow table, which processes forked from this one share without copying.

    source  the folder or file it was read from
    table   columns path, label (-1: none), start, end (null: none) and whatever else the file has
    """

    def __init__(self, source: Path, table: pa.Table):
        self.source, self.table = source, table
        self._folder = source if source.is_dir() else source.parent
        self._columns = [table[name].combine_chunks() for name in ("path", "label", "start", "end")]

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, i: int) -> Row:
        """Row `i`, its path made whole."""
        path, label, start, end = (column[i].as_py() for column in self._columns)
        return Row(self._folder / path, None if label == -1 else label, start, end)

    @property
    def labels(self) -> Int64[np.ndarray, "rows"]:
        """The label of each row, -1 where there is none."""
        return self._columns[1].to_numpy()


def read_manifest(path: str | Path) -> Manifest:
    """Read a folder, .txt, .csv, .tsv or .parquet. Raises ManifestError on anything that is not as it should be."""
    source = Path(path)
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    try:
        table = _read(source)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not table.num_rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each video")
    return Manifest(source, _checked(source, table))


def _read(source: Path) -> pa.Table:
    ending = source.suffix.lower()
    if source.is_dir():
        return _read_folder(source)
    if ending == ".parquet":
        return _read_parquet(source)
    if ending in (".csv", ".tsv", ".txt"):
        return _read_text(source, ending)
    raise ManifestError(f"{source}: a manifest is a folder or ends in .csv, .tsv, .txt or .parquet, not in {ending!r}")


def _read_folder(source: Path) -> pa.Table:
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [name for name in files if name.lower().endswith(VIDEOS) and not name.startswith(".")]
        found += [os.path.relpath(os.path.join(folder, name), source) for name in names]
    if not found:
        raise ManifestError(f"{source}: no videos in this folder or below; looked for {' '.join(VIDEOS)}")
    try:
        return pa.table({"path": pa.array(sorted(found), pa.large_string())})
    except UnicodeEncodeError as error:
        raise ManifestError(f"{source}: the name {error.object!r} is not UTF-8; rename it") from error


def _read_parquet(source: Path) -> pa.Table:
    table = pa.parquet.read_table(source)
    _check_header(source, table.column_names)
    kind = table.schema.field("path").type
    if not any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)):
        raise ManifestError(f"{source}: column path holds {kind}; expected text")
    return table.set_column(table.column_names.index("path"), "path", table["path"].cast(pa.large_string()))


def _read_text(source: Path, ending: str) -> pa.Table:
    data = source.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        first = data.decode().lstrip("\r\n").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{source}, line {line}: not UTF-8; save the file in that encoding") from error
    if not data.strip():
        raise ManifestError(f"{source}: the file is empty; expected one line for each video")
    # The lists of the public V-JEPA code end in .csv, but have no header and a space between path and label.
    if ending == ".txt" or (ending == ".csv" and re.search(r"[^,\s]\s+-?\d+$", first)):
        return _read_list(source, data)
    return _read_columns(source, data, first, "\t" if ending == ".tsv" else ",")


def _read_list(source: Path, data: bytes) -> pa.Table:
    table = _parse(data, pa.csv.ParseOptions(delimiter="\x01", quote_char=False), ["line"])
    lines = pc.utf8_trim_whitespace(table["line"])
    parts = pc.extract_regex(lines, r"^(?P<path>.*\S)\s+(?P<label>-?\d+)$")
    alone = pc.is_null(parts)
    endings = "|".join(re.escape(ending) for ending in VIDEOS + PICTURES)
    odd = pc.and_(alone, pc.invert(pc.match_substring_regex(lines, f"(?:{endings})$", ignore_case=True)))
    _refuse(source, odd, lines, "expected a path, a space and a whole number, or the path of a video alone; got {!r}")
    path = pc.if_else(alone, lines, pc.struct_field(parts, "path"))
    return pa.table({"path": path, "label": pc.struct_field(parts, "label")})


def _read_columns(source: Path, data: bytes, first: str, delimiter: str) -> pa.Table:
    names = next(csv.reader([first], delimiter=delimiter))
    _check_header(source, names)
    try:
        return _parse(data, pa.csv.ParseOptions(delimiter=delimiter), names)
    except pa.ArrowInvalid as error:
        rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
        ragged = next((row for row in rows if row and len(row) != len(names)), None)
        if ragged is None:
            raise
        words = f"{len(ragged)} values, but the header names {len(names)} columns; quote values that hold the separator"
        raise ManifestError(f"{source}, line {rows.line_num}: {words}") from error


def _parse(data: bytes, options: pa.csv.ParseOptions, names: list[str]) -> pa.Table:
    """All columns as text: a type guessed from the first rows is an error in the middle of the file."""
    read = pa.csv.ReadOptions(column_names=names if names == ["line"] else None)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()))
    return pa.csv.read_csv(pa.BufferReader(data), read, options, types)


def _check_header(source: Path, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ManifestError(f"{source}: two columns have the same name among {names}; rename one")
    meant = {name.strip().lower(): name for name in names if name not in COLUMNS}
    for column in COLUMNS:
        if column in meant and column not in names:
            raise ManifestError(f"{source}: column {meant[column]!r} must be spelled {column!r}")
    if "path" in names:
        return
    if name := next((meant[name] for name in SURELY_PATH if name in meant), None):
        advice = f"rename the column {name!r} to 'path'"
    elif any("/" in name or name.lower().endswith(VIDEOS + PICTURES) for name in names):
        advice = "that looks like data: put a header in front, such as path,label"
    else:
        advice = "the header must name it"
    raise ManifestError(f"{source}: no column 'path', only {names}; {advice}")


def _checked(source: Path, table: pa.Table) -> pa.Table:
    """The table with numbers for text and nulls for columns that are not there."""
    for name, kind in NUMBERS.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, _numbers(source, table[name], name, kind))
        elif name != "duration":
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    table = table.set_column(table.column_names.index("label"), "label", pc.fill_null(table["label"], -1))
    path, label, start, end = (table[name] for name in ("path", "label", "start", "end"))
    _refuse(source, pc.equal(pc.fill_null(pc.utf8_trim_whitespace(path), ""), ""), path, "path is empty")
    _refuse(source, pc.less(label, -1), label, "label is {}; expected 0 or more, or -1 for none")
    for name in ("start", "end"):
        wrong = pc.invert(pc.and_(pc.is_finite(table[name]), pc.greater_equal(table[name], 0)))
        _refuse(source, wrong, table[name], name + " is {}; expected seconds, 0 or more")
    _refuse(source, pc.less_equal(end, pc.fill_null(start, 0.0)), end, "end is {}, which is not after start; both are seconds")
    return table


def _numbers(source: Path, column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    if _fits(column, kind):
        return column.cast(pa.float64()).cast(kind)  # through float: pandas writes 3.0 where other labels are missing
    good, bad = 0, len(column)  # so many from the start are good, so many are not
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _fits(column[good:middle], kind) else (good, middle)
    what = "a whole number" if kind == pa.int64() else "a number"
    _complain(source, good, column, name + " is {!r}; expected " + what + ", or nothing")


def _fits(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(pa.float64()).cast(kind)
    except pa.ArrowException:
        return False
    return True


def _refuse(source: Path, wrong: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray, words: str) -> None:
    """Raise ManifestError for the first row that is wrong, if any."""
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        _complain(source, row, values, words)


def _complain(source: Path, row: int, values: pa.ChunkedArray, words: str) -> NoReturn:
    raise ManifestError(f"{source}, {_places(source, len(values))[row]}: {words.format(values[row].as_py())}")


def _places(source: Path, rows: int) -> list[str]:
    """Where each row stands in its source, in words."""
    if source.is_dir() or source.suffix.lower() == ".parquet":
        return [f"row {row} (counted from 0)" for row in range(rows)]
    lines = [number for number, line in enumerate(source.read_bytes().split(b"\n"), 1) if line.strip()]
    return [f"line {number}" for number in lines[len(lines) - rows :]]  # a header, where there is one, is left over


# python -m vjepa.data.manifest check


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
        "bad": [{"place": places[row], "path": str(manifest.row(row).path), "reason": why} for row, why in bad],
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
            raise DecodeError(row.path, f"the segment {start:g} to {end:g} s reaches past the video's end at {video.end:g} s")
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
    lines += [f"  labels   {report['labels']} different, on {report['labelled']} rows", f"  codecs   {codecs or 'none'}"]
    for key in ("label", "fps", "seconds", "width", "height"):
        if spread := report[key]:
            lines += [f"  {key:8} {spread['min']:g} to {spread['max']:g}, median {spread['median']:g}"]
    return "\n".join(lines + [f"{bad['place']}: {bad['path']}: {bad['reason']}" for bad in report["bad"]])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit status: 0 all rows are good, 1 some are bad, 2 the manifest cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m vjepa.data.manifest", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    does = "decode a few frames of every row, report what the videos are like and every row that is bad"
    one = commands.add_parser("check", help=does, description=does, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    one.add_argument("file", help="folder, .txt, .csv, .tsv or .parquet")
    one.add_argument("--frames", type=int, default=4, help="frames to decode, spread from first to last")
    one.add_argument("--workers", type=int, default=2, help="processes that decode at the same time")
    one.add_argument("--timeout", type=float, default=60.0, help="seconds a row may take before it counts as bad")
    one.add_argument("--json", type=Path, metavar="OUT", help="write the whole report to this file too")
    options = parser.parse_args(arguments)
    if min(options.frames, options.workers, options.timeout) <= 0:
        one.error("--frames, --workers and --timeout must be more than 0")
    try:
        manifest = read_manifest(options.file)
    except ManifestError as error:
        one.exit(2, f"{error}\n")
    report = check(manifest, options.frames, options.workers, options.timeout)
    print(_text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
