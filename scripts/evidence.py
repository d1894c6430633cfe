"""Does pretraining help? Encoders of several runs beside random ones, read in several ways on clips no decision has seen.

    make evidence     or   python -m scripts.evidence --runs '[runs/evidence-seed0,...]' --score data/evidence/test.csv

A run's folder holds `pretrain`, `cooldown` and `constant` (the same compute as the cooldown, spent on more pretraining). Every
read-out is fitted on labelled training clips; the rate of the attentive probes is chosen on validation clips, for each encoder
by itself; the scores come from clips of seeds that nothing else uses. Writes evidence.json, evidence.md and evidence.png.
"""

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jsonargparse import auto_cli

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.evaluation.attentive import probe_accuracy, trained_probe
from vjepa.evaluation.readouts import LabelledClips, ReadOutConfig, encode, labelled_clips, read_tokens
from vjepa.models.encoder import Encoder
from vjepa.training.sweep import over_seeds, read_curves
from vjepa.weights.load import load_encoder

ENCODERS = {
    "random": "never trained",
    "pretrain": "pretrained",
    "cooldown": "pretrained, then cooldown",
    "constant": "pretrained longer instead",
}
READ_OUTS = {
    "label_linear": "linear, mean over the frame",
    "label_few": "the same, 10 labels a class",
    "label_linear_4x4": "linear, means over 4x4 cells",
    "label_few_4x4": "the same, 10 labels a class",
    "label_attentive": "attentive probe",
}
RATES = (1e-3, 3e-3, 1e-2)
Scores = dict[str, dict[str, list[float]]]  # encoder -> read-out -> one value a run


@dataclass(frozen=True)
class Clips:
    """Labelled clips for fitting, for choosing, and for the result."""

    fit: LabelledClips
    choose: LabelledClips
    score: LabelledClips


def encoders(run: Path, seed: int) -> dict[str, Encoder]:
    """Of one run, and a random one of the same architecture. Raises CheckpointError if a stage is not finished."""
    found = {name: load_encoder(run / name / "model.safetensors") for name in ENCODERS if name != "random"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {"random": Encoder(found["pretrain"].config), **found}


def scores(encoder: Encoder, clips: Clips, config: ReadOutConfig) -> dict[str, float]:
    """Every read-out of one encoder on the clips that nothing else has seen."""
    fit, choose, score = (
        encode(encoder.eval(), some.clips) for some in (clips.fit, clips.choose, clips.score)
    )
    found = read_tokens(fit, clips.fit, score, clips.score, replace(config, attentive_steps=0))
    x, y, z = (rearrange(tokens, "b T H W d -> b (T H W) d") for tokens in (fit, choose, score))
    names = clips.fit.names("label")
    label, chosen, wanted = (some.classes("label", names) for some in (clips.fit, clips.choose, clips.score))
    probes = [trained_probe(x, label, config.attentive_steps, rate) for rate in RATES]
    best = max(probes, key=lambda probe: probe_accuracy(probe, y, chosen))
    return found | {"label_attentive": probe_accuracy(best, z, wanted)}


def table(found: Scores, clips: int) -> str:
    """Markdown, mean and standard deviation over runs."""
    rows = [name for name in ENCODERS if name in found]
    lines = [
        "| read-out | " + " | ".join(ENCODERS[name] for name in rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    for key, title in READ_OUTS.items():
        cells = [f"{statistics.fmean(v):.3f} ± {statistics.stdev(v) if len(v) > 1 else 0:.3f}"
                 for v in (found[name][key] for name in rows)]  # fmt: skip
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return (
        "\n".join(lines)
        + f"\n\n{clips} test clips, 8 classes (chance 0.125), {len(next(iter(found['random'].values())))} seeds"
    )


def draw(found: Scores, runs: list[Path], out: Path) -> None:
    """Left: read-outs on validation clips over pretraining. Right: the table as bars."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("the figure needs matplotlib; pip install 'vjepa[plot]'") from error
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key in list(READ_OUTS)[:4]:
        tag = f"readout/{key}"
        steps, mean, spread = over_seeds([read_curves(run / "pretrain", [tag])[tag] for run in runs])
        left.errorbar(
            steps, mean, spread, capsize=2, marker="o", markersize=3, label=key.removeprefix("label_")
        )
    left.axhline(0.125, color="grey", linestyle=":", label="chance")
    left.set(title="validation clips, while training", ylabel="accuracy", ylim=(0, 1))
    left.set_xlabel("pretraining step (0: random encoder)")
    left.legend(fontsize="small")
    width = 0.8 / len(found)
    for i, name in enumerate(found):
        values = [found[name][key] for key in READ_OUTS]
        places = [j + (i - (len(found) - 1) / 2) * width for j in range(len(values))]
        spread = [statistics.stdev(v) if len(v) > 1 else 0 for v in values]
        right.bar(
            places, [statistics.fmean(v) for v in values], width, yerr=spread, capsize=2, label=ENCODERS[name]
        )
    right.axhline(0.125, color="grey", linestyle=":")
    right.set_xticks(
        range(len(READ_OUTS)), [key.removeprefix("label_").replace("_", "\n") for key in READ_OUTS]
    )
    right.set(title="test clips of seeds never used before", ylim=(0, 1.2))
    right.legend(fontsize="small", ncols=2, loc="upper left")
    figure.savefig(out / "evidence.png", dpi=110)


def main(
    runs: list[Path],
    score: str,
    fit: str = "data/demo/train.csv",
    choose: str = "data/demo/val.csv",
    out: Path = Path("runs/evidence"),
    clip: ClipConfig = ClipConfig(frames=10, fps=5.0, size=64),
    limit: int = 800,
    attentive_steps: int = 600,
) -> None:
    """Score the encoders of some runs, write the table and the figure.

    Args:
        runs: Folders with pretrain, cooldown and constant; the place in the list is the seed of the random encoder.
        score: Manifest of the clips that decide.
        fit: Manifest that read-outs are fitted on.
        choose: Manifest on which the attentive probes' rate is chosen.
        out: Folder for the results.
        clip: What one clip is.
        limit: Most clips of the first two that are used.
        attentive_steps: Steps of an attentive probe.
    """
    clips = Clips(
        *(labelled_clips(path, clip, most) for path, most in ((fit, limit), (choose, limit), (score, 10**6)))
    )
    found: Scores = {}
    for seed, run in enumerate(runs):
        for name, encoder in encoders(run, seed).items():
            print(f"{run.name}: {ENCODERS[name]}", flush=True)
            for key, value in scores(encoder, clips, ReadOutConfig(attentive_steps=attentive_steps)).items():
                found.setdefault(name, {}).setdefault(key, []).append(value)
    out.mkdir(parents=True, exist_ok=True)
    (out / "evidence.json").write_text(json.dumps(found, indent=1))
    (out / "evidence.md").write_text(table(found, len(clips.score.clips)) + "\n")
    draw(found, runs, out)
    print(table(found, len(clips.score.clips)) + f"\nfigure: {out / 'evidence.png'}")


if __name__ == "__main__":
    try:
        auto_cli(main, as_positional=False)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
