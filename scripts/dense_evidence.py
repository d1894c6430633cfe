"""What V-JEPA 2.1 adds at the demo's size: read-outs of a sweep's encoders, on clips that decided nothing.

    vjepa sweep conf/sweeps/dense.yaml
    python -m scripts.dense_evidence --runs runs/dense --score data/evidence/test.csv

A folder `<recipe>-seed<number>` holds one run. Read-outs are those of `scripts.evidence`, the colour of what
the hand holds, the arm's position, and those of single tokens (`vjepa.evaluation.dense_readouts`). They are
fitted on training clips; the rate of the attentive probe is chosen on validation clips. The script writes
dense_evidence.json and dense_evidence.md.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import auto_cli

from scripts.evidence import Clips, Scores, read_outs
from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.data.clips import ClipConfig
from vjepa.errors import check_positive, require
from vjepa.evaluation.dense_readouts import DenseClips, dense_controls, dense_read_out
from vjepa.evaluation.labelled_clips import read_labelled_clips
from vjepa.evaluation.readouts import ReadOutConfig
from vjepa.evaluation.tables import markdown_table, mean_and_spread
from vjepa.models.encoder import Encoder
from vjepa.sim.recording.dense_targets import read_dense_clips
from vjepa.weights.load import load_encoder

RUN = re.compile(r"(.+)-seed(\d+)")
RANDOM = "never trained"
OF_CLIPS = {
    "label_linear": "motion, linear",
    "label_few": "motion, 10 labels a class",
    "label_attentive": "motion, attentive",
    "colour_linear_4x4": "colour of the held object",
    "numbers_r2_4x4": "arm position, R2",
}
OF_TOKENS = {
    "kind_recall": "thing at a token, mean recall",
    "kind_recall_with_place": "the same, place known",
    "hand_r2": "distance to the hand, R2",
    "hand_r2_with_place": "the same, place known",
}
"""Read-outs, in the order of the columns of both tables."""


class Judged(NamedTuple):
    """Clips for whole clips' read-outs, and for those of single tokens."""

    clips: Clips
    fit: DenseClips
    score: DenseClips


def read_judged(fit: str, choose: str, score: str, clip: ClipConfig, limit: int) -> Judged:
    """All clips in memory. limit: Most clips of a manifest that fit a read-out."""
    columns = ("label", "colour", "x", "y", "z")
    labelled = [read_labelled_clips(name, clip, limit, columns) for name in (fit, choose, score)]
    dense = [read_dense_clips(name, clip, limit // 2) for name in (fit, score)]
    return Judged(Clips(*labelled), *dense)


def scores_of(encoder: Encoder, judged: Judged, steps: int) -> dict[str, float]:
    """Every read-out of one encoder. steps: Of an attentive probe."""
    config = ReadOutConfig(("label", "colour"), ("x", "y", "z"), attentive_steps=steps)
    told = read_outs(encoder.eval(), judged.clips, config)
    return told | dense_read_out(encoder, judged.fit, judged.score)


def encoders(runs: list[Path]) -> list[tuple[str, Encoder]]:
    """(recipe, encoder) of all runs, and for each seed a random encoder of the first recipe's architecture.

    Raises UserError if a folder holds no run.
    """
    require(bool(runs), "--runs is empty; name the folders of sweeps")
    folders = [folder for place in runs for folder in folders_of(place)]
    trained = [
        (RUN.fullmatch(folder.name)[1], load_encoder(folder / "model.safetensors")) for folder in folders
    ]
    seeds = sorted({int(RUN.fullmatch(folder.name)[2]) for folder in folders})
    return [(RANDOM, random_encoder(trained[0][1], seed)) for seed in seeds] + trained


def folders_of(place: Path) -> list[Path]:
    """The runs of a sweep. Raises UserError if there is none."""
    folders = [folder for folder in sorted(place.iterdir()) if RUN.fullmatch(folder.name)]
    require(bool(folders), f"{place} holds no folder <recipe>-seed<number>; run the sweep first")
    return folders


def random_encoder(like: Encoder, seed: int) -> Encoder:
    """One of the same architecture, which depends on its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(like.config)


def tables_of(scores: Scores, controls: dict[str, float], clips: int) -> str:
    """Markdown: read-outs of whole clips, then those of single tokens with their controls."""
    alone = [
        [name, *(shown(controls.get(f"{key}_{read_out}")) for read_out in OF_TOKENS)]
        for key, name in (("pixels", "pixels of the token"), ("place", "its place alone"))
    ]
    of_clips = markdown_table(["", *OF_CLIPS.values()], rows_of(scores, OF_CLIPS))
    of_tokens = markdown_table(["", *OF_TOKENS.values()], alone + rows_of(scores, OF_TOKENS))
    counts = ", ".join(f"{name} {len(values['label_linear'])}" for name, values in scores.items())
    return f"{of_clips}\n\n{of_tokens}\n\n{clips} clips; seeds: {counts}"


def rows_of(scores: Scores, read_outs: Iterable[str]) -> list[list[str]]:
    """A row for each recipe: mean and standard deviation over its seeds."""
    return [[name, *(over_seeds(values[key]) for key in read_outs)] for name, values in scores.items()]


def over_seeds(values: list[float]) -> str:
    mean, spread = mean_and_spread(values)
    return f"{mean:.3f} ± {spread:.3f}" if len(values) > 1 else shown(mean)


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def dense_evidence(
    runs: list[Path],
    score: str,
    fit: str = "data/demo/train.csv",
    choose: str = "data/demo/val.csv",
    out: Path = Path("runs/dense"),
    clip: ClipConfig = ClipConfig(frames=10, fps=5.0, size=64),
    limit: int = 800,
    attentive_steps: int = 600,
) -> None:
    """Score the encoders of sweeps and write the tables.

    Args:
        runs: Folders of sweeps.
        score: Manifest of the clips that are scored, beside the `done.json` of its world.
        fit: Manifest that read-outs are fitted on.
        choose: Manifest on which the attentive probes' learning rate is chosen.
        out: Folder for the results.
        clip: What one clip is.
        limit: Most clips of each manifest; half of them for single tokens.
        attentive_steps: Steps of an attentive probe.
    """
    check_positive(limit=limit, attentive_steps=attentive_steps)
    found = encoders(runs)
    judged = read_judged(fit, choose, score, clip, limit)
    controls = dense_controls(
        judged.fit, judged.score, found[0][1].grid_of_size(clip.frames, clip.size, clip.size)
    )
    scores: Scores = {}
    for name, encoder in found:
        print(name, flush=True)
        for key, value in scores_of(encoder, judged, attentive_steps).items():
            scores.setdefault(name, {}).setdefault(key, []).append(value)
    out.mkdir(parents=True, exist_ok=True)
    (out / "dense_evidence.json").write_text(json.dumps({"controls": controls, "scores": scores}, indent=1))
    tables = tables_of(scores, controls, len(judged.clips.score.clips))
    (out / "dense_evidence.md").write_text(tables + "\n")
    print(tables)


if __name__ == "__main__":
    with mistakes_as_sentences():
        auto_cli(dense_evidence, as_positional=False)
