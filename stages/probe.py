"""Attentive probing of the frozen encoder, beside honest controls (V-JEPA 2, sections 2.3 and C.1).

    python -m stages.probe fit --config conf/probe.yaml

One pass over the data trains a grid of probes, every learning rate with every weight decay, on each row of the table:

encoder   the frozen encoder under test
random    an encoder of the same architecture that was never trained: what the probe and the patches do alone
frame     the encoder under test, shown only the clip's middle frame: what a still picture gives away

Each row's head is chosen on the validation clips and reported on the test clips. In the run's folder: `scores.json` the
table, `heads.csv` the whole grid, and of the encoder's chosen head `classes.csv`, `confusion.png` and `predictions.csv`.

Instead of one class, a clip may have several labels, or numbers:

    ... --model.targets multilabel --model.classes 5                          column `labels`, such as 0|3; binary cross-entropy
    ... --model.targets regression --model.classes 2 --data.numbers '[x,y]'   these columns, standardised; squared error

The head is then chosen by mean average precision, or by the explained share of variance (R2), averaged over labels or numbers;
`targets.csv` holds each, in place of `classes.csv` and `confusion.png`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from vjepa.data.clips import Batch
from vjepa.data.labelled_module import LabelledClipData
from vjepa.data.targets import Targets, check_disjoint, check_labelled, check_measurable, spans
from vjepa.data.transforms import normalise
from vjepa.errors import DataError, require
from vjepa.evaluation.predictions import ChosenHead, Predictions, ValuePredictions, accuracies, qualities
from vjepa.evaluation.report import Score, table
from vjepa.evaluation.score_files import (
    class_names,
    confusion_of,
    draw_confusion,
    write_classes,
    write_heads,
    write_predictions,
    write_targets,
    write_values,
)
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.probe_grid import ProbeGrid, check_not_negative
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.grid_optim import GridAdamW, GridConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.stage_cli import check_divisible, run
from vjepa.weights.export import Part, probe_part
from vjepa.weights.load import Weights, load_encoder

Clip = Float[Tensor, "b c t h w"]
Row = Literal["encoder", "random", "frame"]
ROWS: dict[Row, str] = {
    "encoder": "our encoder",
    "random": "random encoder",
    "frame": "our encoder, one frame",
}
SPLITS = ("val", "test")
MEASURES: dict[Targets, str] = {
    "classes": "accuracy",
    "multilabel": "mean average precision",
    "regression": "R2",
}


class Probe(FrozenStage):
    FROZEN = ("encoder", "random")

    def __init__(
        self,
        encoder: str,
        classes: int,
        probe: ProbeConfig = ProbeConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        grid: GridConfig = GridConfig(),
        selection: Literal["val", "best_on_test"] = "val",
        layers: tuple[int, ...] = (),
        rows: tuple[Row, ...] = ("encoder", "random", "frame"),
        seed: int = 0,
        targets: Targets = "classes",
        activation_checkpointing: bool = False,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory.
            classes: Number of classes; labels are 0..classes-1. For regression, of numbers.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules, which the grid scales.
            grid: Learning rates and weight decays; one head for each pair.
            selection: Split on which a row's head is chosen; `best_on_test` as in the papers, and labelled so.
            layers: Blocks whose tokens are read side by side, counted from 0; the last one's if empty.
            rows: Which rows of the table are trained.
            seed: Decides the random encoder and the probes' initial weights.
            targets: One class a clip, several labels, or numbers.
            activation_checkpointing: Compute one head after the other, and again for its gradient, instead of keeping what
                all of them computed: a few times the encoder's tokens in memory, a third more arithmetic for the probes.
        """
        super().__init__()
        least = 2 if targets == "classes" else 1
        require(
            classes >= least, f"model.classes={classes}: there is nothing to tell apart; give {least} or more"
        )
        require(
            "encoder" in rows, f"model.rows={list(rows)} leaves out the encoder under test; add `encoder`"
        )
        check_not_negative(grid.lr, grid.weight_decay)
        self.source, self.classes, self.config, self.weights = encoder, classes, probe, weights
        self.activation_checkpointing = activation_checkpointing
        self.optim, self.selection, self.layers, self.rows, self.seed = optim, selection, layers, rows, seed
        self.heads = grid.heads(optim)
        self.targets, held = targets, Predictions if targets == "classes" else ValuePredictions
        self.answers = nn.ModuleDict(
            {f"{split}_{row}": held(len(self.heads), classes) for split in SPLITS for row in rows}
        )
        self.head = 0  # the encoder's chosen one, once it is tested

    def configure_model(self) -> None:
        if hasattr(self, "probes"):
            return
        self.encoder = freeze(load_encoder(self.source, self.weights))
        clip, tubelet = self.trainer.datamodule.clip, self.encoder.config.tubelet
        check_divisible(
            self.encoder, replace(clip, frames=tubelet) if clip.frames == 1 else clip
        )  # it repeats a picture
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.random = freeze(Encoder(self.encoder.config))
            first = AttentiveProbe(self.config, self.encoder.config.width, self.classes)
        # Every head of every row starts from the same probe.
        self.probes = nn.ModuleDict(
            {row: ProbeGrid(first, len(self.heads), self.activation_checkpointing) for row in self.rows}
        )

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule
        if self.targets == "classes":
            for manifest in (*data.train_manifests, data.val_manifest, data.test_manifest):
                check_labelled(manifest)
            data.check_labels(self.classes)
            self.names = class_names(data.test_manifest, self.classes)
        elif not hasattr(self, "wanted"):
            self.read_targets()
        require(
            not self.chooses or Path(data.val).resolve() != Path(data.test).resolve(),
            f"data.val and data.test are both {data.test}, so a head chosen on one of {len(self.heads)} is chosen on the test "
            "split; hold out a part of the training clips as data.val, or say so with --model.selection best_on_test",
        )

    @property
    def chooses(self) -> bool:
        """Whether validation clips decide between heads, so that they can be no test clips."""
        return len(self.heads) > 1 and self.selection == "val"

    def read_targets(self) -> None:
        """`wanted` holds the targets of every row of every split; numbers less `mean`, in units of `unit`."""
        data, numeric = self.trainer.datamodule, self.targets == "regression"
        named = (
            f"data.numbers={list(data.numbers)} names {len(data.numbers)} columns to tell; make them equal"
        )
        require(
            not numeric or len(data.numbers) == self.classes, f"model.classes={self.classes}, but {named}"
        )
        wanted, seen = data.read_targets(self.targets, self.classes)
        self.names = data.numbers if numeric else tuple(f"label{i}" for i in range(self.classes))
        for split, manifest in (("val", data.val_manifest), ("test", data.test_manifest)):
            rows = wanted[torch.tensor(manifest.labels)]
            check_measurable(self.targets, rows, self.names, f"data.{split} ({manifest.source})")
        mean, unit = torch.zeros(self.classes), torch.ones(self.classes)
        if numeric:
            mean, unit = wanted[:seen].mean(dim=0), wanted[:seen].std(dim=0)
        for name, value in (("mean", mean), ("unit", unit), ("wanted", (wanted - mean) / unit)):
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def tokens(self, row: str, clip: Clip) -> Float[Tensor, "b n d"]:
        middle = clip.shape[2] // 2
        clip = clip[:, :, middle : middle + 1] if row == "frame" else clip
        network = self.random if row == "random" else self.encoder
        return (
            rearrange(network.layers(clip, self.layers), "b l n d -> b (l n) d")
            if self.layers
            else network(clip)
        )

    def logits(self, clip: Clip) -> dict[str, Float[Tensor, "p b classes"]]:
        return {row: probe(self.tokens(row, clip)) for row, probe in self.probes.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The heads' losses add up; they share no parameter, so (without gradient clipping) each trains as if alone."""
        losses = []
        for row, logits in self.logits(normalise(batch.clip)).items():
            each = torch.stack([self.loss(guess, batch.label) for guess in logits])
            self.log(f"train/loss_{row}", each.detach().min())
            losses.append(each.sum())
        return torch.stack(losses).sum()

    def loss(self, guess: Float[Tensor, "b classes"], label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        if self.targets == "classes":
            return cross_entropy(guess, label)
        measured = binary_cross_entropy_with_logits if self.targets == "multilabel" else mse_loss
        return measured(guess.float(), self.wanted[label])

    def answer(self, logits: Float[Tensor, "p b classes"]) -> Float[Tensor, "p b classes"]:
        """Probabilities, or numbers."""
        if self.targets == "regression":
            return logits
        return logits.sigmoid() if self.targets == "multilabel" else logits.softmax(dim=-1)

    def on_validation_epoch_start(self) -> None:
        self.forget("val")

    def on_test_epoch_start(self) -> None:
        for split in SPLITS:
            self.forget(split)

    def forget(self, split: str) -> None:
        for row in self.rows:
            self.answers[f"{split}_{row}"].begin()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.score("val", batch, views=1)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int) -> None:
        self.score(SPLITS[dataloader_idx], batch, self.trainer.datamodule.views.count)

    def score(self, split: str, batch: Batch, views: int) -> None:
        """Predictions averaged over the views of a clip; views are encoded a batch at a time."""
        if len(batch.clip) == 0:
            return
        parts = [
            self.logits(normalise(some)) for some in batch.clip.split(self.trainer.datamodule.batch_size)
        ]
        for row in self.rows:
            shares = self.answer(torch.cat([part[row] for part in parts], dim=1).float())
            shares = rearrange(shares, "p (b v) classes -> p b v classes", v=views).mean(dim=2)
            self.answers[f"{split}_{row}"].update(shares, batch.label[::views], batch.index[::views])

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        for row in self.rows:
            found = self.answers[f"val_{row}"].compute()
            self.check_evidence("val", found)
            best = max(self.measured(found))
            self.log(f"val/{MEASURES[self.targets].replace(' ', '_')}_{row}", best, rank_zero_only=True)

    def measured(self, found: dict[str, np.ndarray]) -> tuple[float, ...]:
        """Of every head, what it is chosen by."""
        if self.targets == "classes":
            return accuracies(found)
        return tuple(qualities(self.targets, found["value"], self.told(found)).nanmean(dim=1).tolist())

    def check_evidence(self, split: str, found: dict[str, np.ndarray]) -> None:
        """Neither a choice nor a score comes from clips that could not be decoded, or can no longer tell heads apart."""
        if len(found["row"]) == 0:
            name = {"val": "validation", "test": "test"}[split]
            raise DataError(
                f"no {name} clip could be decoded, so there is no score; `vjepa check-manifest` says why"
            )
        if self.targets != "classes":
            check_measurable(
                self.targets, self.told(found), self.names, f"what could be decoded of data.{split}"
            )

    def told(self, found: dict[str, np.ndarray]) -> Float[Tensor, "b classes"]:
        """What was wanted of the clips that were answered."""
        return self.wanted.cpu()[torch.from_numpy(found["label"])]

    def on_test_epoch_end(self) -> None:
        found = {name: answers.compute() for name, answers in self.answers.items()}  # all processes take part
        for split in SPLITS:
            self.check_evidence(split, found[f"{split}_encoder"])
        on_test = self.selection == "best_on_test"
        chosen = [
            ChosenHead(row, *(self.measured(found[f"{split}_{row}"]) for split in SPLITS), on_test)
            for row in self.rows
        ]
        self.head = chosen[self.rows.index("encoder")].head
        if self.trainer.is_global_zero:
            self.report(chosen, found["test_encoder"], Path(self.trainer.default_root_dir))

    def report(self, chosen: list[ChosenHead], found: dict[str, np.ndarray], out: Path) -> None:
        """The files of the run's folder, and the table."""
        clips, measure = len(found["row"]), MEASURES[self.targets]
        label = ", best head on test" if self.selection == "best_on_test" and len(self.heads) > 1 else ""
        scores = [
            Score(ROWS[choice.row] + label, choice.test[choice.head], clips, measure) for choice in chosen
        ]
        scores.append(Score("chance", self.chance(found), clips, measure))
        (out / "scores.json").write_text(json.dumps([score.__dict__ for score in scores], indent=1))
        write_heads(out / "heads.csv", chosen, self.heads)
        (self.report_classes if self.targets == "classes" else self.report_targets)(found, scores[0], out)
        what = {"classes": f"{self.classes} classes", "multilabel": f"{self.classes} labels"}
        print(
            table(
                scores,
                f"{measure} on {clips} test clips of {what.get(self.targets, f'{self.classes} numbers')}",
            )
        )
        print(f"every head, target and prediction: {out}")

    def chance(self, found: dict[str, np.ndarray]) -> float:
        """What answers that know no clip reach: average precision is then the share of clips with the label."""
        if self.targets != "multilabel":
            return 1 / self.classes if self.targets == "classes" else 0.0
        shares = self.told(found).mean(dim=0)
        return float(shares[shares > 0].mean())

    def report_classes(self, found: dict[str, np.ndarray], score: Score, out: Path) -> None:
        write_predictions(out / "predictions.csv", self.trainer.datamodule.test_manifest, found, self.head)
        confusion = confusion_of(found, self.head, self.classes)
        write_classes(out / "classes.csv", confusion, self.names)
        title = f"{score.name}: {score.value:.3f} on {score.clips} clips"
        draw_confusion(out / "confusion.png", confusion, self.names, title)

    def report_targets(self, found: dict[str, np.ndarray], score: Score, out: Path) -> None:
        """Numbers in the manifest's own units."""
        manifest, value, told = (
            self.trainer.datamodule.test_manifest,
            torch.from_numpy(found["value"]),
            self.told(found),
        )
        quality = qualities(self.targets, found["value"], told)[self.head]
        if never := [name for name, q in zip(self.names, quality, strict=True) if q.isnan()]:
            print(
                f"{len(never)} labels occur in no test clip and are left out of the mean: {', '.join(never)}"
            )
        write_targets(out / "targets.csv", self.names, score.measure, quality)
        mean, unit = self.mean.cpu(), self.unit.cpu()
        answer = value[:, self.head] * unit + mean
        write_values(out / "predictions.csv", manifest, self.names, found["row"], told * unit + mean, answer)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return GridAdamW(self.optim, self.heads, self.probes)

    def parts(self) -> dict[str, Part]:
        probe = self.probes["encoder"].member(self.head)
        if self.targets == "regression":  # so that the exported probe answers in the manifest's units
            with torch.no_grad():
                probe.head.weight.mul_(self.unit.cpu()[:, None])
                probe.head.bias.mul_(self.unit.cpu()).add_(self.mean.cpu())
        part = probe_part(probe)
        return {"probe": Part(part.module, part.description | {"schema": self.schema()})}

    def schema(self) -> dict:
        """What the exported probe reads, and what its answers mean."""
        reads = {"encoder": self.source, "weights": self.weights, "layers": list(self.layers)}
        clip = {key: getattr(self.trainer.datamodule.clip, key) for key in ("frames", "fps", "size", "short")}
        return reads | {"clip": clip, "targets": self.targets, "names": list(self.names)}


class ProbeData(LabelledClipData):
    """Labelled clips in splits that share none of them; validation clips may be test clips where nothing is chosen on them."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        splits = {"train": self.train_manifests, "val": [self.val_manifest], "test": [self.test_manifest]}
        shown = {name: spans(manifests) for name, manifests in splits.items()}
        chosen = [("val", "test")] if self.trainer.lightning_module.chooses else []
        check_disjoint(shown, [("train", "val"), ("train", "test"), *chosen])


if __name__ == "__main__":
    run(Probe, ProbeData)
