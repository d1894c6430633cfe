"""What of a dataset is not used, and why.

    left_out = LeftOut()
    left_out.bad.append("data/mine, episode 3: ...")

A bad episode does not refuse its dataset; a share of them does, as with videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vjepa.errors import announce

SHOWN = 3
"""Reasons that a message shows."""


@dataclass
class LeftOut:
    """Sentences, each of which names the file or the folder, and the episode."""

    bad: list[str] = field(default_factory=list)
    """Episodes whose numbers are impossible or contradict each other."""
    missing: list[str] = field(default_factory=list)
    """Episodes of which a file is not there or cannot be read, as after a partial download."""
    notes: list[str] = field(default_factory=list)
    """What is left out beside episodes: cameras, rows that belong to no episode, tables."""

    @property
    def episodes(self) -> list[str]:
        """One sentence for each episode."""
        return self.missing + self.bad

    def announce(self, folder: Path, used: int) -> None:
        """Say it once in a run, in a line for each note and one for all episodes."""
        for note in self.notes:
            announce(note)
        if self.episodes:
            share = f"{len(self.episodes)} of {used + len(self.episodes)}"
            absent = f" ({len(self.missing)} of them for want of a file)" if self.missing else ""
            announce(f"{folder}: {share} episodes left out{absent}, {first_reasons(self.episodes)}")


def first_reasons(reasons: Sequence[str]) -> str:
    """The first few reasons, as the end of a sentence."""
    return f"the first: {'; '.join(reasons[:SHOWN])}"
