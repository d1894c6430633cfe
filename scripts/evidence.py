"""Does pretraining help? Scores of several runs' encoders and of random ones, on clips that decided nothing.

    make evidence     or   python -m scripts.evidence --runs '[runs/evidence-seed0,...]' --score
    data/evidence/test.csv

A run's folder holds the stages `pretrain`, `cooldown` and `constant`, which spends the compute of the
cooldown on more pretraining. Read-outs are fitted on labelled training clips. The learning rate of the
attentive probes is chosen on validation clips, for each encoder separately. The scores come from test clips
of seeds that nothing else uses. The script writes evidence.json, evidence.md and evidence.png.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jsonargparse import auto_cli

from vjepa.__main__ import exit_with
from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.evaluation.attentive import probe_accuracy, train_probe
from vjepa.evaluation.labelled_clips import LabelledClips, read_labelled_clips
from vjepa.evaluation.readouts import ReadOutConfig, encode, read_out_tokens
from vjepa.evaluation.tables import markdown_table, mean_and_spread
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
"""Learning rates of attentive probes, of which the best is chosen."""
CHANCE = 0.125
"""Accuracy of guessing among the demo world's eight classes of motion."""
Scores = dict[str, dict[str, list[float]]]
"""Encoder -> read-out -> one value for each run."""


@dataclass(frozen=True)
class Clips:
    """Labelled clips for fitting, for choosing, and for the result."""

    fit: LabelledClips
    choose: LabelledClips
    score: LabelledClips


def encoders(run: Path, seed: int) -> dict[str, Encoder]:
    """The encoders of a run, and a random one of their architecture.

    Raises CheckpointError if a stage is missing.
    """
    trained = {name: load_encoder(run / name / "model.safetensors") for name in ENCODERS if name != "random"}
    # The random encoder depends on its seed alone, not on what was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {"random": Encoder(trained["pretrain"].config), **trained}


def read_outs(encoder: Encoder, clips: Clips, config: ReadOutConfig) -> dict[str, float]:
    """Every read-out of one encoder on the test clips."""
    encoder = encoder.eval()
    fit = encode(encoder, clips.fit.clips)
    choose = encode(encoder, clips.choose.clips)
    score = encode(encoder, clips.score.clips)
    # Without an attentive read-out, which follows below with a learning rate of its own.
    scores = read_out_tokens(fit, clips.fit, score, clips.score, replace(config, attentive_steps=0))

    # Read-outs during training have one rate for all; here each encoder gets the rate that suits it.
    names = clips.fit.names("label")
    fit_labels = clips.fit.classes("label", names)
    choose_labels = clips.choose.classes("label", names)
    score_labels = clips.score.classes("label", names)
    fit, choose, score = (rearrange(tokens, "b T H W d -> b (T H W) d") for tokens in (fit, choose, score))
    probes = [train_probe(fit, fit_labels, config.attentive_steps, rate) for rate in RATES]
    best = max(probes, key=lambda probe: probe_accuracy(probe, choose, choose_labels))
    return scores | {"label_attentive": probe_accuracy(best, score, score_labels)}


def evidence_table(scores: Scores, clips: int) -> str:
    """Markdown, mean and standard deviation over runs."""
    names = [name for name in ENCODERS if name in scores]
    rows = []
    for key, title in READ_OUTS.items():
        summaries = [mean_and_spread(scores[name][key]) for name in names]
        rows.append([title, *(f"{mean:.3f} ± {spread:.3f}" for mean, spread in summaries)])
    table = markdown_table(["read-out", *(ENCODERS[name] for name in names)], rows)
    seeds = len(scores["random"]["label_linear"])
    return f"{table}\n\n{clips} test clips, 8 classes (chance {CHANCE}), {seeds} seeds"


def draw_evidence(scores: Scores, runs: list[Path], out: Path) -> None:
    """Two panels: read-outs on validation clips while pretraining, and the table as bars."""
    # matplotlib is an extra, and the table does not need it.
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("the figure needs matplotlib; pip install 'vjepa[plot]'") from error
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curves(left, runs)
    draw_bars(right, scores)
    figure.savefig(out / "evidence.png", dpi=110)


def draw_curves(axes, runs: list[Path]) -> None:
    """Mean and spread over runs of the read-outs that pretraining logs: all but the attentive one."""
    for key in list(READ_OUTS)[:4]:
        tag = f"readout/{key}"
        steps, mean, spread = over_seeds([read_curves(run / "pretrain", [tag])[tag] for run in runs])
        label = key.removeprefix("label_")
        axes.errorbar(steps, mean, spread, capsize=2, marker="o", markersize=3, label=label)
    axes.axhline(CHANCE, color="grey", linestyle=":", label="chance")
    axes.set(title="validation clips, while training", ylabel="accuracy", ylim=(0, 1))
    axes.set_xlabel("pretraining step (0: random encoder)")
    axes.legend(fontsize="small")


def draw_bars(axes, scores: Scores) -> None:
    """One group of bars for each read-out, one bar of a group for each encoder."""
    width = 0.8 / len(scores)
    for i, name in enumerate(scores):
        summaries = [mean_and_spread(scores[name][key]) for key in READ_OUTS]
        means, spreads = zip(*summaries, strict=True)
        # The group is centred on its tick.
        offset = (i - (len(scores) - 1) / 2) * width
        places = [group + offset for group in range(len(READ_OUTS))]
        axes.bar(places, means, width, yerr=spreads, capsize=2, label=ENCODERS[name])
    axes.axhline(CHANCE, color="grey", linestyle=":")
    labels = [key.removeprefix("label_").replace("_", "\n") for key in READ_OUTS]
    axes.set_xticks(range(len(READ_OUTS)), labels)
    # Above 1 there is room for the legend.
    axes.set(title="test clips of seeds never used before", ylim=(0, 1.2))
    axes.legend(fontsize="small", ncols=2, loc="upper left")


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
        runs: Folders with pretrain, cooldown and constant; the place in the list seeds the random encoder.
        score: Manifest of the test clips; all of them are used.
        fit: Manifest that read-outs are fitted on.
        choose: Manifest on which the attentive probes' learning rate is chosen.
        out: Folder for the results.
        clip: What one clip is.
        limit: Most clips of `fit` and of `choose` that are used.
        attentive_steps: Steps of an attentive probe.
    """
    clips = Clips(
        fit=read_labelled_clips(fit, clip, limit),
        choose=read_labelled_clips(choose, clip, limit),
        score=read_labelled_clips(score, clip, 10**6),  # all of them
    )
    config = ReadOutConfig(attentive_steps=attentive_steps)
    scores: Scores = {name: {} for name in ENCODERS}
    for seed, run in enumerate(runs):
        for name, encoder in encoders(run, seed).items():
            print(f"{run.name}: {ENCODERS[name]}", flush=True)
            for key, value in read_outs(encoder, clips, config).items():
                scores[name].setdefault(key, []).append(value)

    table = evidence_table(scores, len(clips.score.clips))
    out.mkdir(parents=True, exist_ok=True)
    # Numbers first: a figure that fails loses nothing.
    (out / "evidence.json").write_text(json.dumps(scores, indent=1))
    (out / "evidence.md").write_text(table + "\n")
    draw_evidence(scores, runs, out)
    print(f"{table}\nfigure: {out / 'evidence.png'}")


if __name__ == "__main__":
    try:
        auto_cli(main, as_positional=False)
    except UserError as error:
        exit_with(str(error))
