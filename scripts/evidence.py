"""Does pretraining help? Scores of several runs' encoders and of random ones, on clips that decided nothing.

    make evidence     or   python -m scripts.evidence --runs '[runs/evidence-seed0,...]' --score
    data/evidence/test.csv

A run's folder holds the stages `pretrain`, `cooldown` and `constant`, which spends the compute of the
cooldown on more pretraining. Read-outs are fitted on labelled training clips. The learning rate of the
attentive probes is chosen on validation clips, for each encoder separately. The scores come from test clips
of seeds that nothing else uses. The script writes evidence.json, evidence.md, evidence.png (the scores as
bars) and evidence_curves.png (read-outs on validation clips while pretraining).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jsonargparse import auto_cli

from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.data.clips import ClipConfig
from vjepa.drawing.palette import CHANCE as CHANCE_COLOUR
from vjepa.drawing.palette import CONTROL, OURS, PALETTE
from vjepa.drawing.style import new_figure, save_figure, style
from vjepa.evaluation.attentive import probe_accuracy, train_probe
from vjepa.evaluation.labelled_clips import LabelledClips, read_labelled_clips
from vjepa.evaluation.readouts import ReadOutConfig, encode, read_out_tokens
from vjepa.evaluation.tables import markdown_table, mean_and_spread
from vjepa.models.encoder import Encoder
from vjepa.training.sweep import over_seeds, read_curves
from vjepa.weights.load import load_encoder

COLOURS = {
    "random": CONTROL,
    "pretrain": PALETTE["sky"],
    "cooldown": OURS,
    "constant": PALETTE["purple"],
}
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
CURVES = {
    "label_linear": "linear, mean over the frame",
    "label_few": "linear, mean over the frame, 10 labels a class",
    "label_linear_4x4": "linear, means over 4x4 cells",
    "label_few_4x4": "linear, means over 4x4 cells, 10 labels a class",
}
"""The first four read-outs with names that stand alone, without the line above."""
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates of attentive probes, of which the best is chosen."""
CHANCE = 0.125
"""Accuracy of guessing among the demo world's eight classes of motion."""
Scores = dict[str, dict[str, list[float]]]
"""Encoder -> read-out -> one value for each run."""
Summaries = dict[str, dict[str, tuple[float, float]]]
"""Encoder -> read-out -> mean and standard deviation over runs."""


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


def summarise(scores: Scores) -> Summaries:
    """Mean and standard deviation over runs."""
    return {name: {key: mean_and_spread(values[key]) for key in READ_OUTS} for name, values in scores.items()}


def evidence_table(scores: Scores, clips: int) -> str:
    """Markdown, mean and standard deviation over runs."""
    summaries = summarise(scores)
    rows = []
    for key, title in READ_OUTS.items():
        cells = (values[key] for values in summaries.values())
        rows.append([title, *(f"{mean:.3f} ± {spread:.3f}" for mean, spread in cells)])
    table = markdown_table(["read-out", *(ENCODERS[name] for name in summaries)], rows)
    seeds = len(scores["random"]["label_linear"])
    return f"{table}\n\n{clips} test clips, 8 classes (chance {CHANCE}), {seeds} seeds"


def draw_evidence(summaries: Summaries, path: Path) -> None:
    """The table as bars: one group for each read-out, one bar of a group for each encoder."""
    height = 0.8 / len(summaries)
    with style():
        figure = new_figure(height=5.6)
        axes = figure.subplots()
        for i, (name, values) in enumerate(summaries.items()):
            means, spreads = zip(*(values[key] for key in READ_OUTS), strict=True)
            # The group is centred on its tick.
            offset = (i - (len(summaries) - 1) / 2) * height
            places = [group + offset for group in range(len(READ_OUTS))]
            look = {"color": COLOURS[name], "error_kw": {"elinewidth": 1.2, "capsize": 2}}
            axes.barh(places, means, height, xerr=spreads, label=ENCODERS[name], **look)
            for place, mean, spread in zip(places, means, spreads, strict=True):
                axes.text(mean + spread + 0.012, place, f"{mean:.2f}", va="center", fontsize=9)
        axes.axvline(CHANCE, color=CHANCE_COLOUR, linestyle=":", label=f"chance, {CHANCE}")
        axes.set_yticks(range(len(READ_OUTS)), [title.replace(", ", ",\n") for title in READ_OUTS.values()])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="accuracy on test clips; lines: ± one standard deviation over seeds")
        handles, labels = axes.get_legend_handles_labels()
        # matplotlib names lines before bars; chance comes last.
        figure.legend(
            [*handles[1:], handles[0]], [*labels[1:], labels[0]], loc="outside upper center", ncols=3
        )
        save_figure(figure, path)


def draw_curves(runs: list[Path], path: Path) -> None:
    """Mean and spread over runs of the read-outs that pretraining logs: all but the attentive one."""
    with style():
        figure = new_figure(height=4.2)
        axes = figure.subplots()
        for key in list(READ_OUTS)[:4]:
            tag = f"readout/{key}"
            steps, mean, spread = over_seeds([read_curves(run / "pretrain", [tag])[tag] for run in runs])
            axes.errorbar(steps, mean, spread, capsize=2, marker="o", markersize=4, label=CURVES[key])
        axes.axhline(CHANCE, color=CHANCE_COLOUR, linestyle=":", label=f"chance, {CHANCE}")
        axes.set(ylabel="accuracy on validation clips", ylim=(0, 1))
        axes.set_xlabel("pretraining step; 0 is the encoder that was never trained")
        figure.legend(loc="outside upper center", ncols=2)
        save_figure(figure, path)


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
    draw_evidence(summarise(scores), out / "evidence.png")
    draw_curves(runs, out / "evidence_curves.png")
    print(f"{table}\nfigure: {out / 'evidence.png'}")


if __name__ == "__main__":
    with mistakes_as_sentences():
        auto_cli(main, as_positional=False)
