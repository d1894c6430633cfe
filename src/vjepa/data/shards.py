"""The command `data shards`: pack the videos of a manifest into tar files, and list them in an index.

    vjepa data shards train.csv --out shards --size 1000000000

A shard is a tar file of the WebDataset kind: `000000042.mp4` is a video, `000000042.json` says which rows of
the manifest show it, and `000000042.cls` their label. `index.parquet` has the rows of the manifest in their
order, each with its shard and the place in it, and is a manifest itself: it is drawn from at random by ranges
of bytes. The same rows give the same bytes. The index is written last; a packing that was killed goes on with
the first shard that is not complete.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from tqdm import tqdm

from vjepa.data.class_map import class_map_text
from vjepa.data.manifest import NO_LABEL, Manifest, read_manifest
from vjepa.data.manifest_files import MEMBER, with_column
from vjepa.data.media_files import VIDEO_SUFFIXES
from vjepa.data.row_errors import row_locations
from vjepa.data.shard_files import Member, ShardFolder, size_of, write_shard
from vjepa.errors import UserError, check_positive, counted, require

READERS = 32
"""Files that are asked for their size at once."""
INDEX = "index.parquet"
ROWS = 2**16
"""Rows of the index that are written at once."""


class Packing(NamedTuple):
    """Which videos there are, and where they go."""

    codes: np.ndarray
    """For each row of the manifest the number of its video."""
    first_rows: np.ndarray
    """For each video its first row."""
    shards: np.ndarray
    """For each video the number of its shard."""
    states: list[tuple[int, int]]
    """Bytes of each video, and when it changed."""


def pack_shards(manifest: str | Path, *, out: str, size: int = 10**9) -> None:
    """Pack the videos of a manifest into tar shards with an index that is a manifest.

    Args:
        manifest: A folder of videos, .txt, .csv, .tsv or .parquet, or the address of one.
        out: The folder, or address such as s3://bucket/shards, that the shards and their index go to.
        size: Bytes of a shard. A larger video has a shard of its own.

    Raises UserError if a video is missing, or if a row stands there twice.
    """
    check_positive(size=size)
    folder = ShardFolder(out)
    require(not folder.has(INDEX), f"{out} holds shards already; choose another --out, or remove them")
    rows = read_manifest(manifest)
    plan = planned(rows, size)
    count = int(plan.shards[-1]) + 1
    packed = list(tqdm(parts(rows, plan, folder), total=count, unit="shard", disable=None))
    write_index(rows, plan, np.concatenate(packed), folder)
    folder.remove_parts()
    videos = counted(len(plan.first_rows), "video")
    print(f"{out}: {videos} in {counted(count, 'shard')}; train on {folder / INDEX}")


def planned(manifest: Manifest, size: int) -> Packing:
    """The shards of all videos, in the order in which the rows name them. Raises UserError."""
    paths = pc.dictionary_encode(manifest.table["path"]).combine_chunks()
    codes = paths.indices.to_numpy()
    check_rows_differ(manifest, codes)
    _, first_rows = np.unique(codes, return_index=True)
    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(lambda row: size_of(manifest.row(int(row)).path), first_rows))
    bad = [(int(row), state) for row, state in zip(first_rows, found, strict=True) if isinstance(state, str)]
    if bad:
        place = row_locations(manifest.source, [bad[0][0]])[0]
        first = f"the first is {manifest.row(bad[0][0]).path} ({place}): {bad[0][1]}"
        raise UserError(
            f"{manifest.source}: {len(bad)} of {counted(len(found), 'video')} cannot be read; {first}"
        )
    return Packing(codes, first_rows, shard_numbers([state[0] for state in found], size), found)


def check_rows_differ(manifest: Manifest, codes: np.ndarray) -> None:
    """Raise UserError if two rows show the same segment of one video."""
    times = [manifest.table[name].combine_chunks() for name in ("start", "end")]
    rows = pa.table([pa.array(codes), *times, np.arange(len(codes))], names=["code", "start", "end", "row"])
    groups = rows.group_by(["code", "start", "end"]).aggregate([("row", "min"), ("row", "max")])
    twice = groups.filter(pc.not_equal(groups["row_min"], groups["row_max"]))
    if twice.num_rows:
        first = twice.sort_by("row_min").slice(0, 1).to_pylist()[0]
        both = row_locations(manifest.source, [first["row_min"], first["row_max"]])
        path = manifest.row(first["row_min"]).path
        raise UserError(
            f"{manifest.source}: {both[1]} shows the same as {both[0]}, {path}; "
            f"remove one of them ({counted(twice.num_rows, 'segment')} stand there more than once)"
        )


def shard_numbers(sizes: Sequence[int], most: int) -> np.ndarray:
    """For each video the number of its shard: in their order, as many in each as fit."""
    numbers = []
    number = 0
    filled = 0
    for size in sizes:
        if filled and filled + size > most:
            number += 1
            filled = 0
        filled += size
        numbers.append(number)
    return np.array(numbers)


def parts(manifest: Manifest, plan: Packing, folder: ShardFolder) -> Iterator[np.ndarray]:
    """Where the videos of each shard lie, which is packed unless an earlier packing has done so."""
    order = np.argsort(plan.codes, kind="stable")
    rows_end = np.searchsorted(plan.codes[order], np.arange(len(plan.first_rows)), side="right")
    for shard in range(int(plan.shards[-1]) + 1):
        videos = []
        first, end = np.searchsorted(plan.shards, [shard, shard + 1])
        for number in range(first, end):
            begin = rows_end[number - 1] if number else 0
            videos.append(video_of(manifest, plan, number, order[begin : rows_end[number]]))
        key = hashlib.sha256(repr([video.identity for video in videos]).encode()).hexdigest()
        packed = folder.packed(shard, key)
        if packed is None:
            packed = folder.pack(shard, key, lambda target, videos=videos: write_shard(target, videos))
        yield packed


def video_of(manifest: Manifest, plan: Packing, number: int, rows: np.ndarray) -> Member:
    """What a shard holds of one video: `rows` are those that show it."""
    shown = [manifest.row(int(row)) for row in rows]
    path = manifest.table["path"][int(rows[0])].as_py()
    labels = {row.label_number for row in shown} - {NO_LABEL}
    notes = {
        "path": path,
        "rows": [{"label": row.label, "start": row.start, "end": row.end} for row in shown],
    }
    return Member(
        name=f"{number:09d}{suffix_of(path)}",
        media=shown[0].path,
        size=plan.states[number][0],
        changed=plan.states[number][1],
        notes=json.dumps(notes, ensure_ascii=False),
        label=labels.pop() if len(labels) == 1 else None,
    )


def suffix_of(path: str) -> str:
    """The ending of a video's name in a shard, in lower case. The notes have endings of their own."""
    suffix = Path(path).suffix.lower()
    # A longer name than 100 bytes would need a second header.
    is_short = re.fullmatch(r"\.[a-z0-9-]{1,15}", suffix)
    return suffix if is_short and suffix not in (".json", ".cls") else VIDEO_SUFFIXES[0]


def write_index(manifest: Manifest, plan: Packing, packed: np.ndarray, folder: ShardFolder) -> None:
    """Write the rows of the manifest, each with the place of its video in a shard."""
    table = manifest.table.drop_columns([name for name in MEMBER if name in manifest.table.column_names])
    if manifest.classes:
        # Its names are what other lists can be compared with. The numbers go into a file beside it.
        table = with_column(table, "label", table["label_name"]).drop_columns(["label_name"])

    def write(target: Path) -> None:
        writer = None
        for first in range(0, len(plan.codes), ROWS):
            codes = plan.codes[first : first + ROWS]
            rows = with_places(table.slice(first, ROWS), plan.shards[codes], packed[codes])
            writer = writer or pa.parquet.ParquetWriter(target, rows.schema, compression="zstd")
            writer.write_table(rows)
        writer.close()

    if manifest.classes:
        text = class_map_text(manifest.classes)
        folder.write(f"{INDEX}.labels.json", lambda target: target.write_text(text, encoding="utf-8"))
    folder.write(INDEX, write)


def with_places(rows: pa.Table, shards: np.ndarray, packed: np.ndarray) -> pa.Table:
    """Rows with the columns that say where their videos lie."""
    columns = {
        "shard": [f"{shard:06d}.tar" for shard in shards],
        "offset": packed["offset"],
        "size": packed["size"],
        "digest": packed["digest"].astype(str),
    }
    for name, column in columns.items():
        rows = rows.append_column(name, pa.array(column))
    return rows
