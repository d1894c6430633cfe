"""Anticipation: the coming action from a clip that ends before it begins (V-JEPA 2, sections 6 and D).

    python -m stages.anticipate fit --config conf/anticipate.yaml

The encoder and the pretraining predictor are frozen. The predictor is asked for the tokens of the moment tau after the clip's
end; probes with three queries (verb, noun, their pair) read them. One pass over the data trains the rows of the table:

encoder    the encoder's tokens of the clip
predictor  the predictor's tokens of the moment ahead
both       one beside the other: the paper's
shown      the encoder's tokens of a clip that ends at the moment itself: an upper bound, nothing has to be foreseen

Each row is a grid of probes, every learning rate with every weight decay; the one with the highest recall of actions on the
validation clips is reported, and `heads.csv` holds that recall of all.

Below them, what needs no clip: always the classes most frequent in training, and chance. Test actions are looked at twice:
the clip ends tau before the recipe's anchor (the action's start, in the paper), and before the other one. Test actions that
training never shows are missed, unless `--model.unseen left_out` (see vjepa.evaluation.recall); how many they are is printed.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.benchmarks.anticipation_clips import AnticipationBatch
from vjepa.benchmarks.anticipation_module import AnticipationData
from vjepa.data.transforms import normalise
from vjepa.errors import DataError, require
from vjepa.evaluation.predictions import ChosenHead
from vjepa.evaluation.recall import MeanClassRecall, Unseen, focal_loss
from vjepa.evaluation.score_files import write_heads
from vjepa.models.anticipation import (
    ActionLogits,
    AnticipationGrid,
    AnticipationProbe,
    add_position_embedding,
    look_ahead,
)
from vjepa.models.frozen import freeze
from vjepa.models.probe import ProbeConfig
from vjepa.models.probe_grid import check_not_negative
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.grid_optim import GridAdamW, GridConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.stage_cli import check_divisible, run
from vjepa.weights.export import Part
from vjepa.weights.load import Weights, load_encoder, load_predictor

ROWS = {
    "encoder": "encoder's tokens",
    "predictor": "predictor's tokens",
    "both": "both",
    "shown": "the last moments shown",
    "majority": "most frequent in training",
}
TRAINED = ("encoder", "predictor", "both", "shown")
KINDS = ("verb", "noun", "action")
SPLITS = (
    "val",
    "test",
    "other",
)  # in the order of the test's loaders; `other`: the test actions from the other anchor


class Anticipate(FrozenStage):
    FROZEN = ("encoder", "predictor")

    def __init__(
        self,
        encoder: str,
        probe: ProbeConfig = ProbeConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        top: int = 5,
        positions: bool = False,
        seed: int = 0,
        unseen: Unseen = "missed",
        grid: GridConfig = GridConfig(),
        selection: Literal["val", "best_on_test"] = "val",
        activation_checkpointing: bool = False,
    ) -> None:
        """
        Args:
            encoder: A pretraining's or cooldown's model.safetensors, an upstream `.pt`, or a Hugging Face directory; it has to
                hold the predictor too.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            top: Predictions per clip that recall allows.
            positions: Tell the probes when and where each token is, counted from the moment that is asked for. Not in the
                paper, whose deep encoders write it into their tokens; without it, probes of the demo's encoder cannot tell
                what came first.
            seed: Decides the probes' initial weights.
            unseen: Classes of the test actions that training never shows are missed, as in the challenge, or left out of the
                average and of the answers, as in the released code.
            grid: Learning rates and weight decays; one head for each pair.
            selection: Split on which a row's head is chosen; `best_on_test` as in the papers, and labelled so.
            activation_checkpointing: Compute heads again for their gradients instead of keeping what all of them computed.
        """
        super().__init__()
        require(top > 0, f"model.top={top} leaves no answer; use 1 or more")
        require(probe.depth > 0, "probe.depth=0: anticipation needs queries; use 1 or more blocks")
        check_not_negative(grid.lr, grid.weight_decay)
        self.source, self.config, self.weights = encoder, probe, weights
        self.heads, self.on_test, self.activation_checkpointing = (
            grid.heads(optim),
            selection == "best_on_test",
            activation_checkpointing,
        )
        self.head = 0  # the chosen one of `both`, once it is tested
        self.optim, self.top, self.positions, self.seed, self.unseen = optim, top, positions, seed, unseen

    def configure_model(self) -> None:
        if hasattr(self, "probes"):
            return
        source, data = self.source, self.trainer.datamodule
        self.encoder = freeze(load_encoder(source, self.weights))
        self.predictor = freeze(load_predictor(source))
        self.grid = check_divisible(self.encoder, data.clip)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            first = AnticipationProbe(self.config, self.encoder.config.width, data.known.sizes)
        self.probes = nn.ModuleDict(
            {row: AnticipationGrid(first, len(self.heads), self.activation_checkpointing) for row in TRAINED}
        )
        for_split = {"val": "val", "test": "test", "other": "test"}
        self.recall = nn.ModuleDict({f"{split}_{row}_{kind}": metric for split in SPLITS for row in ROWS
                                     for kind, metric in self.metrics(for_split[split], row).items()})  # fmt: skip

    def metrics(self, split: str, row: str) -> dict[str, MeanClassRecall]:
        data, heads = self.trainer.datamodule, len(self.heads) if row in TRAINED else 1
        columns = zip(KINDS, data.known.sizes, data.shown(split), strict=True)
        return {
            kind: MeanClassRecall(size, shown, self.top, self.unseen, heads) for kind, size, shown in columns
        }

    @torch.no_grad()
    def tokens(self, batch: AnticipationBatch) -> dict[str, Float[Tensor, "b n d"]]:
        seen, shown = self.encoder(normalise(batch.clip)), self.encoder(normalise(batch.shown))
        per_second = self.trainer.datamodule.clip.fps / self.encoder.config.tubelet
        steps = (batch.tau * per_second + 1e-6).long()  # between the clip's end and the moment
        seen, ahead = look_ahead(self.predictor, seen, self.grid, steps, self.positions)
        if self.positions:
            shown = add_position_embedding(shown, self.grid, torch.full_like(steps, -self.grid[0]))
        return {"encoder": seen, "predictor": ahead, "both": torch.cat([seen, ahead], dim=1), "shown": shown}

    def training_step(self, batch: AnticipationBatch, batch_idx: int) -> Tensor:
        """Focal losses of the three queries added up; rows and heads share no parameter, so each trains as if alone."""
        losses = []
        for row, tokens in self.tokens(batch).items():
            logits = zip(*self.probes[row](tokens), strict=True)
            each = torch.stack([self.loss(ActionLogits(*head), batch.labels) for head in logits])
            self.log(f"train/loss_{row}", each.detach().min())
            losses.append(each.sum())
        return torch.stack(losses).sum()

    def loss(self, logits: ActionLogits, labels: Int[Tensor, "b 3"]) -> Float[Tensor, ""]:
        each = [focal_loss(guess.float(), label) for guess, label in zip(logits, labels.T, strict=True)]
        return torch.stack(each).sum()

    def validation_step(self, batch: AnticipationBatch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: AnticipationBatch, batch_idx: int, dataloader_idx: int) -> None:
        self.score(SPLITS[dataloader_idx], batch)

    def score(self, split: str, batch: AnticipationBatch) -> None:
        if len(batch.clip) == 0:
            return
        answers = {row: self.probes[row](tokens) for row, tokens in self.tokens(batch).items()}
        answers["majority"] = self.majority(len(batch.clip))
        for row, logits in answers.items():
            for kind, guess, label in zip(KINDS, logits, batch.labels.T, strict=True):
                self.recall[f"{split}_{row}_{kind}"].update(guess, label)

    def majority(self, clips: int) -> ActionLogits:
        """The same for every clip: how often training shows each class."""
        return ActionLogits(
            *(count.expand(1, clips, -1).to(self.device) for count in self.trainer.datamodule.frequencies)
        )

    def on_validation_epoch_end(self) -> None:
        found = self.computed("val")
        values = {f"val/recall_{row}_{kind}": max(found[row][kind]) for row in TRAINED for kind in KINDS}
        self.log_dict(values, rank_zero_only=True)

    def on_test_epoch_start(self) -> None:
        for metric in self.recall.values():
            metric.reset()

    def computed(self, split: str) -> dict[str, dict[str, list[float]]]:
        """Recall of every head by row and kind over all processes; forgotten then."""
        found = {
            row: {kind: self.recall[f"{split}_{row}_{kind}"].compute().view(-1).tolist() for kind in KINDS}
            for row in ROWS
        }  # fmt: skip  torchmetrics makes one head's a scalar
        for row in ROWS:
            for kind in KINDS:
                self.recall[f"{split}_{row}_{kind}"].reset()
        return found

    def on_test_epoch_end(self) -> None:
        (judged, *_), (clips, *unseen) = self.counts("val"), self.counts("test")
        for count, name in ((judged, "validation"), (clips, "test")):
            if count == 0:
                what = f"no {name} clip could be decoded, so there is no score"
                raise DataError(f"{what}; bad_files.txt in the run's folder says why")
        told = {"clips": clips, "measure": f"mean-class recall@{self.top}"}
        told |= {"unseen": self.unseen, "unseen_clips": dict(zip(KINDS, unseen, strict=True))}
        chance = {kind: self.recall[f"test_both_{kind}"].chance for kind in KINDS}
        found = {split: self.computed(split) for split in SPLITS}
        chosen = {row: ChosenHead(row, *(tuple(found[split][row]["action"]) for split in ("val", "test")), self.on_test)
                  for row in ROWS}  # fmt: skip
        self.head = chosen["both"].head
        if self.trainer.is_global_zero:
            self.report(chosen, found, chance, told)

    def counts(self, split: str) -> list[int]:
        """Over all processes: clips, and those whose verb, noun and pair training never shows."""
        metrics = [self.recall[f"{split}_both_{kind}"] for kind in KINDS]
        mine = [metrics[0].seen.sum(), *(metric.seen[metric.known :].sum() for metric in metrics)]
        return self.trainer.strategy.reduce(torch.stack(mine), reduce_op="sum").tolist()

    def report(
        self, chosen: dict[str, ChosenHead], found: dict, chance: dict[str, float], told: dict
    ) -> None:
        """The files of the run's folder, and the table."""
        out, ahead = Path(self.trainer.default_root_dir), self.trainer.datamodule.ahead
        label = ", best head on test" if self.on_test and len(self.heads) > 1 else ""
        rows = []
        for anchor, split in (
            (ahead.anchor, "test"),
            ("end" if ahead.anchor == "start" else "start", "other"),
        ):
            for row, choice in chosen.items():
                values = {kind: found[split][row][kind][choice.head] for kind in KINDS}
                rows.append(
                    {"name": ROWS[row] + (label if row in TRAINED else ""), "anchor": anchor} | values | told
                )
            rows.append({"name": "chance", "anchor": anchor} | chance | told)
        (out / "scores.json").write_text(json.dumps(rows, indent=1))
        write_heads(out / "heads.csv", [chosen[row] for row in TRAINED], self.heads)
        print(table(rows, ahead.evaluation_tau))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return GridAdamW(self.optim, self.heads, self.probes)

    def parts(self) -> dict[str, Part]:
        config = {"config": asdict(self.config), "width": self.encoder.config.width, "schema": self.schema()}
        return {"anticipation": Part(self.probes["both"].member(self.head), config)}

    def schema(self) -> dict:
        """What the exported probe reads, and what its answers mean."""
        data = self.trainer.datamodule
        clip = {key: getattr(data.clip, key) for key in ("frames", "fps", "size", "short")}
        reads = {"encoder": self.source, "weights": self.weights, "clip": clip, "ahead": asdict(data.ahead)}
        return reads | {"positions": self.positions, "top": self.top} | asdict(data.known)


def table(rows: list[dict], tau: float) -> str:
    """Mean-class recall of every row, by anchor."""
    lines, first, wide = [], rows[0], max(28, *(len(row["name"]) for row in rows))
    for anchor in dict.fromkeys(row["anchor"] for row in rows):
        what = f"{first['measure']} on {first['clips']} test actions"
        lines.append(f"{what}, the clip ends {tau:g} s before the action's {anchor}")
        lines.append(f"  {'':<{wide}}{'verb':>8}{'noun':>8}{'action':>8}")
        for row in (row for row in rows if row["anchor"] == anchor):
            lines.append(f"  {row['name']:<{wide}}" + "".join(f"{row[kind]:8.3f}" for kind in KINDS))
    verb, noun, pair = (first["unseen_clips"][kind] for kind in KINDS)
    fate = {"missed": "counted as missed", "left_out": "left out of the average"}[first["unseen"]]
    lines.append(
        f"  training never shows the verb of {verb} of them, the noun of {noun}, the pair of {pair}: {fate}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    run(Anticipate, AnticipationData)
