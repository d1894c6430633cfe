"""Reads the rows of a LeRobotDataset v3.0: states, actions and times, one row per frame."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vjepa.robots.left_out import LeftOut
from vjepa.robots.readers.lerobot_episodes import EpisodeTable
from vjepa.robots.readers.parquet_numbers import is_whole, read_numbers

KEYS = ("episode_index", "frame_index", "timestamp")
"""Columns that say which row of which episode a row is."""


class SortedRows(NamedTuple):
    """The rows of all episodes of a table, sorted by episode and frame."""

    table: EpisodeTable
    """The episodes, all of whose rows are there."""
    first: Int64[np.ndarray, " e"]
    """The row with which each episode begins."""
    times: Float64[np.ndarray, " rows"]
    """Column timestamp: seconds since the episode's first row."""
    values: dict[str, Float32[Tensor, "rows d"]]
    """Columns by name."""


def read_episode_rows(table: EpisodeTable, columns: Sequence[str], left_out: LeftOut) -> SortedRows:
    """The rows of the episodes that have as many as they should, each once. Raises TrajectoryError."""
    table, rows = _read_files(table, columns, left_out)
    owner = _owners(table, rows["episode_index"], left_out)
    # Which file holds an episode says nothing about its number, so the rows are sorted.
    order = np.lexsort((rows["frame_index"], owner))
    order = order[np.count_nonzero(owner < 0) :]
    owner = owner[order]

    complaints = _complaints(table, owner, rows["frame_index"][order])
    wrong = np.isin(np.arange(len(table)), list(complaints))
    files = table.files()
    kept = table.without(wrong, lambda e: f"{table.place(files[e], e)}: {complaints[e]}", left_out.bad)
    order = order[~wrong[owner]]
    values = {name: torch.from_numpy(rows[name].reshape(len(rows[name]), -1)[order]) for name in columns}
    return SortedRows(kept, np.cumsum(kept.length) - kept.length, rows["timestamp"][order], values)


def _read_files(
    table: EpisodeTable, columns: Sequence[str], left_out: LeftOut
) -> tuple[EpisodeTable, dict[str, np.ndarray]]:
    """All rows of the files that can be read, and the episodes that are said to be in these."""
    files = table.files()
    widths = {name: table.info.width(name) for name in columns}
    parts, faults = read_numbers(dict.fromkeys(files), widths | dict.fromkeys(KEYS, 1))
    unreadable = np.array([file in faults for file in files])
    table = table.without(unreadable, lambda e: f"{faults[files[e]]} ({table.episode(e)})", left_out.missing)

    values = {name: np.concatenate([part[name].astype(np.float32) for part in parts]) for name in columns}
    # Times in double precision: sums with the place in a long video file need more digits than float32 has.
    keys = {name: np.concatenate([part[name][:, 0] for part in parts]) for name in KEYS}
    return table, values | keys


def _owners(
    table: EpisodeTable, episode: Float64[np.ndarray, " rows"], left_out: LeftOut
) -> Int64[np.ndarray, " rows"]:
    """For each row its episode's place in the table, or -1. Episodes not known there are left out."""
    places = np.searchsorted(table.numbers, episode).clip(max=len(table) - 1)
    owner = np.where(table.numbers[places] == episode, places, -1)

    # The others are of episodes that are left out already, or of none.
    folder = table.info.folder
    others = episode[owner < 0]
    strange = np.count_nonzero(~is_whole(others))
    if strange:
        left_out.notes.append(
            f"{folder}: {strange} rows are left out: their episode_index is no whole number"
        )
    unknown = np.setdiff1d(others[is_whole(others)], table.known)
    left_out.bad += [f"{folder}, episode {number:.12g}: not in meta/episodes" for number in unknown.tolist()]
    return owner


def _complaints(
    table: EpisodeTable, owner: Int64[np.ndarray, " rows"], frame: Float64[np.ndarray, " rows"]
) -> dict[int, str]:
    """What is wrong with the number of rows of an episode, or with their own numbers. Rows are sorted."""
    count = np.bincount(owner, minlength=len(table))
    first = np.cumsum(count) - count
    expected = np.arange(len(owner)) - first[owner]
    wrong = np.flatnonzero(frame != expected)
    episodes, places = np.unique(owner[wrong], return_index=True)
    complaints = {
        int(episode): f"frame_index is {frame[row]:.12g} where {expected[row]} is expected; "
        f"rows are missing or repeated"
        for episode, row in zip(episodes, wrong[places], strict=True)
    }
    # A wrong number of rows says more than the first gap in their numbers.
    length = table.length
    for episode in np.flatnonzero(count != length).tolist():
        complaints[episode] = f"{count[episode]} rows, but meta/episodes says {length[episode]}"
    return complaints
