"""Which episodes hold numbers that a robot can have measured.

    episodes = sound_episodes(episodes, columns)

Every reader ends with this. The other episodes are left out, each with the first of its rows that is wrong.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor

from vjepa.robots.episodes import Columns, Episodes, check_any_left
from vjepa.robots.schema import FULL_TURN

Finding = tuple[Bool[np.ndarray, " rows"], Callable[[int, int], str]]
"""Which rows are wrong, and what to say of one: its episode, and its place among all rows."""

RATE_ROUNDING = 0.002
"""Relative error of a rate that is allowed: many files say 30 for 29.97."""


def sound_episodes(episodes: Episodes, columns: Columns) -> Episodes:
    """The episodes all of whose rows are sound; `left_out.bad` gets a sentence for each of the others.

    Numbers must be finite, angles in radians, and time stamps must rise by 1 / fps from 0 in every episode.
    Raises TrajectoryError if no episode is left.
    """
    reasons: dict[int, str] = {}
    for wrong, say in _findings(episodes, "+".join(columns.state)):
        for episode, row in _first_rows(episodes, wrong).items():
            reasons.setdefault(episode, say(episode, row))
    if not reasons:
        return episodes

    sentences = [reasons[episode] for episode in sorted(reasons)]
    good = ~np.isin(np.arange(len(episodes)), list(reasons))
    check_any_left(episodes.folder, good, sentences)
    episodes.left_out.bad += sentences
    return episodes.keep(good)


def _first_rows(episodes: Episodes, wrong: Bool[np.ndarray, " rows"]) -> dict[int, int]:
    """The first wrong row of each episode that has one."""
    rows = np.flatnonzero(wrong)
    # The last episode that begins at or before a row.
    owners = np.searchsorted(episodes.first, rows, side="right") - 1
    found, places = np.unique(owners, return_index=True)
    return dict(zip(found.tolist(), rows[places].tolist(), strict=True))


def _findings(episodes: Episodes, state: str) -> Iterator[Finding]:
    yield _not_finite(episodes, "state", episodes.states)
    if episodes.actions is not None:
        yield _not_finite(episodes, "action", episodes.actions)
    for camera, poses in episodes.extrinsics.items():
        yield _not_finite(episodes, f"pose of {camera}", poses)
    yield _wrong_angles(episodes, state)
    yield _wrong_times(episodes)


def _not_finite(episodes: Episodes, what: str, values: Float32[Tensor, "rows d"]) -> Finding:
    def say(episode: int, row: int) -> str:
        return f"{_place(episodes, episode, row)}: the {what} is missing, NaN or infinite"

    return ~values.isfinite().all(-1).numpy(), say


def _wrong_angles(episodes: Episodes, state: str) -> Finding:
    schema = episodes.schema
    angles = [dim for dim, unit in enumerate(schema.units) if unit == "rad"]
    # Some datasets count angles from 0 to 2 pi, others from -pi to pi; the rest is for rounding.
    far = episodes.states[:, angles].abs() > FULL_TURN + 1e-3

    def say(episode: int, row: int) -> str:
        dim = angles[int(far[row].int().argmax())]
        shown = f"{schema.names[dim]} of column {state} is {episodes.states[row, dim]:.1f}"
        place = _place(episodes, episode, row)
        return f"{place}: {shown}, which is not an angle in radians; convert it from degrees"

    return far.any(-1).numpy(), say


def _wrong_times(episodes: Episodes) -> Finding:
    # In rows, so that an even step is 1.
    times = episodes.times * episodes.fps
    frames = np.arange(len(times)) - np.repeat(episodes.first, episodes.length)
    steps = np.diff(times, prepend=0.0)
    # The first row of an episode must be at 0, whatever the row before it, which is another episode's.
    steps[episodes.first] = times[episodes.first] + 1
    # Small steps add up, until a time stamp selects another row's image.
    on_time = np.abs(times - frames) < 0.5 + RATE_ROUNDING * frames
    # Negated, so that NaN is wrong too.
    wrong = ~((steps > 0.5) & (steps < 1.5) & on_time)

    def say(episode: int, row: int) -> str:
        frame = int(frames[row])
        seconds = episodes.times[row]
        if frame == 0:
            return (
                f"{episodes.row_files[episode]}, episode {episodes.numbers[episode]} begins at "
                f"{seconds:.3f} s, not at 0: column timestamp must count from the episode's first row"
            )
        return (
            f"{_place(episodes, episode, row)}: column timestamp is {seconds:.3f} s, expected "
            f"{frame / episodes.fps:.3f} s ({frame}/{episodes.fps:g}); a row is missing or repeated, or the "
            f"clock drifts or is not in seconds"
        )

    return wrong, say


def _place(episodes: Episodes, episode: int, row: int) -> str:
    frame = row - int(episodes.first[episode])
    return f"{episodes.row_files[episode]}, episode {episodes.numbers[episode]}, frame {frame}"
