"""One clock that rises, for a stream whose own clock jumps, wraps or says nothing. No file is read here.

A stamp is the tick at which the file says that a frame is shown, or None where it says nothing.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple


class Stamp(NamedTuple):
    """What a packet says of its frame, in ticks."""

    shown: int | None
    lasts: int
    """0 if it is unknown."""

    decoded: int | None
    is_key: bool


class Span(NamedTuple):
    """From the first frame to the last, in ticks."""

    first: int
    last: int
    last_lasts: int
    """0 if it is unknown."""

    frames: int


def carried_on(stamps: Sequence[int | None], step: Fraction, longest: Fraction | float) -> list[int]:
    """When the frames are shown, in ticks that rise. `stamps` are in the order of display.

    A frame without a stamp is shown one `step` after the frame before it. So is a frame whose stamp jumps:
    back, or forward by more than `longest`. The stamps after a jump keep their distance from it.
    """
    ticks: list[Fraction] = []
    moved = Fraction(0)  # by the jumps so far
    for stamp in stamps:
        if not ticks:
            tick = _first_tick(stamps, step)
        elif stamp is None:
            tick = ticks[-1] + step
        else:
            tick = stamp + moved
            if not 0 < tick - ticks[-1] <= longest:
                tick = ticks[-1] + step
                moved = tick - stamp
        ticks.append(tick)
    return [round(tick) for tick in ticks]


def _first_tick(stamps: Sequence[int | None], step: Fraction) -> Fraction:
    """The first stamp; where the first frames have none, it is counted back from the first that has one."""
    known = next(((number, stamp) for number, stamp in enumerate(stamps) if stamp is not None), (0, 0))
    number, stamp = known
    return stamp - number * step


def steady_span(stamps: Iterable[Stamp], longest: Fraction | float) -> Span | None:
    """From the first frame to the last; None if the clock ever jumps, for then a seek may find another frame
    of the same time. `stamps` are in the order of the file.

    A frame may refer to a later one, which is then stored before it, so stamps need not rise. But times of
    decoding rise, and a key frame is shown after all frames before it in the file.
    """
    span = None
    decoded = None
    for stamp in stamps:
        if stamp.decoded is not None:
            if decoded is not None and stamp.decoded < decoded:
                return None
            decoded = stamp.decoded
        if stamp.shown is None:
            # A second field has no stamp of its own. A key frame without one cannot be found.
            if stamp.is_key:
                return None
            continue

        if span is None:
            span = Span(stamp.shown, stamp.shown, stamp.lasts, 0)
        if abs(stamp.shown - span.last) > longest or (stamp.is_key and stamp.shown < span.last):
            return None
        first = min(span.first, stamp.shown)
        last, lasts = max(span[1:3], (stamp.shown, stamp.lasts))
        span = Span(first, last, lasts, span.frames + 1)
    return span


def falls(stamps: Iterable[int | None]) -> bool:
    """Whether a stamp is below the one before it."""
    known = [stamp for stamp in stamps if stamp is not None]
    return any(later < earlier for earlier, later in pairwise(known))


def likely_rate(claimed: Fraction, frames: int, ticks: int, seconds_per_tick: Fraction) -> Fraction:
    """Frames per second: as claimed, unless it is far off for `frames` of which the last is `ticks` after the
    first."""
    if frames < 2 or ticks <= 0:
        return claimed
    measured = (frames - 1) / (ticks * seconds_per_tick)
    return claimed if measured / 2 < claimed < 2 * measured else measured
