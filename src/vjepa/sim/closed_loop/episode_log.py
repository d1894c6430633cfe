"""Outcomes of episodes on disk, written one by one: an interrupted evaluation continues where it stopped.

The first line of the file says what the outcomes depend on: the setting and the content of the
weights' files. Every further line holds a job and its outcome, null if the seed's world does not allow the
task. A file of another setting or of other weights is overwritten. Changed code is not noticed, so remove the
file after a change.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Generic

from vjepa.errors import damage_as_error
from vjepa.sim.closed_loop.episodes import Job, Outcome, Played
from vjepa.sim.closed_loop.setting import Setting
from vjepa.weights.files import check_exists, digest


class EpisodeLog(Generic[Played]):
    """Outcomes by job: those that the file held, and those that are appended.

    Args:
        path: The file.
        setting: What the outcomes depend on, beside their jobs.
        kind: A NamedTuple of what JSON can hold, whose first field is the job: the outcome of an episode.
    """

    def __init__(self, path: Path, setting: Setting, kind: type[Played] = Outcome) -> None:
        self.path = path
        self.outcome_of: dict[Job, Played | None] = {}

        header = json.dumps(identity(setting), default=str)
        with damage_as_error(path, advice="remove it, and its episodes are played again"):
            lines = path.read_text().split("\n") if path.is_file() else []
            if lines[:1] == [header]:
                # What follows the last line break is empty, or a line that an interruption cut off.
                self.outcome_of = dict(parse_line(line, kind) for line in lines[1:-1])

        # Write the file again, without a line that was cut off: `append` would continue that line.
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [header, *(format_line(*played) for played in self.outcome_of.items())]
        path.write_text("".join(line + "\n" for line in kept))

    def append(self, played: Iterable[tuple[Job, Played | None]]) -> None:
        """Write outcomes one by one, as they are played."""
        with self.path.open("a") as file:
            for job, outcome in played:
                self.outcome_of[job] = outcome
                file.write(format_line(job, outcome) + "\n")
                file.flush()  # or an interruption would lose what is still in the buffer

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Those of the jobs that have not been played."""
        return [job for job in jobs if job not in self.outcome_of]

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[Played]:
        """Outcomes in the order of the jobs, without the jobs whose worlds do not allow their task."""
        return (outcome for job in jobs if (outcome := self.outcome_of[job]) is not None)


def identity(setting: Setting) -> dict:
    """All that decides an outcome: the setting, and a digest of each of the weights' files."""
    # Content, not paths: the same file name may hold other weights after another training.
    files = {name: file for name, file in asdict(setting.weights).items() if file}
    return asdict(setting) | {"weights": {name: digest(check_exists(file)) for name, file in files.items()}}


def format_line(job: Job, outcome: Played | None) -> str:
    # The outcome begins with its job, which is written once.
    return json.dumps([job, outcome and outcome[1:]])


def parse_line(line: str, kind: type[Played]) -> tuple[Job, Played | None]:
    fields, rest = json.loads(line)
    job = Job(*fields)
    return job, rest and kind(job, *rest)
