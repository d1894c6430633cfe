"""Outcomes of episodes as they come, `episodes.jsonl`: what was played is not played again after an interruption.

The first line says what the outcomes depend on; every further one is a job and its outcome, null if the seed's world does not
allow the task. A file of another setting, or of other weights, is begun anew; changed code is not noticed, so remove it then.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from vjepa.sim.closed_loop.episodes import Job, Outcome, Setting
from vjepa.weights.files import digest


class EpisodeLog:
    """`found`: outcomes by job, all that the file holds."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self.path, self.found = path, {}
        first = json.dumps(identity(setting), default=str)
        lines = path.read_text().split("\n") if path.is_file() else []
        if lines[:1] == [first]:
            self.found = dict(
                read(line) for line in lines[1:-1]
            )  # the last one was never finished, or is empty
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in (first, *map(written, self.found.items()))))

    def keep(self, played: Iterable[tuple[Job, Outcome | None]]) -> None:
        """Note outcomes one by one."""
        with self.path.open("a") as file:
            for job, outcome in played:
                self.found[job] = outcome
                file.write(written((job, outcome)) + "\n")
                file.flush()

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        return [job for job in jobs if job not in self.found]

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Of those jobs whose worlds allow their task, in their order."""
        return (outcome for job in jobs if (outcome := self.found[job]) is not None)


def identity(setting: Setting) -> dict:
    """All that decides an outcome: the settings, and what the weights' files hold."""
    return asdict(setting) | {
        "weights": {name: digest(Path(file)) for name, file in asdict(setting.weights).items() if file}
    }


def written(played: tuple[Job, Outcome | None]) -> str:
    job, outcome = played
    return json.dumps([job, outcome and outcome[1:]])


def read(line: str) -> tuple[Job, Outcome | None]:
    job, rest = json.loads(line)
    return Job(*job), rest and Outcome(Job(*job), *rest)
