"""Anticipation: the coming action from a clip that ends before it begins (V-JEPA 2, sections 6 and D).

    python -m stages.anticipate fit --config conf/anticipate.yaml

The encoder and the pretraining predictor are frozen. The predictor is asked for the tokens of the moment tau after the clip's
end; probes with three queries (verb, noun, their pair) read them. One pass over the data trains the rows of the table:

encoder    the encoder's tokens of the clip
predictor  the predictor's tokens of the moment ahead
both       one beside the other: the paper's
shown      the encoder's tokens of a clip that ends at the moment itself: an upper bound, nothing has to be foreseen

Below them, what needs no clip: always the classes most frequent in training, and chance. Test actions are looked at twice:
the clip ends tau before the recipe's anchor (the action's start, in the paper), and before the other one. Test actions that
training never shows are missed, unless `--model.unseen left_out` (see vjepa.recall); how many they are is printed.
"""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa import ema
from vjepa.callbacks import DataError
from vjepa.checkpoint import Part, Weights, load_encoder, load_predictor
from vjepa.cli import refuse_indivisible, run
from vjepa.data.anticipation import AnticipationData, ForeseenBatch
from vjepa.data.transforms import normalise
from vjepa.errors import refuse_unless
from vjepa.frozen import FrozenStage
from vjepa.locate import locate
from vjepa.models import ProbeConfig
from vjepa.models.anticipation import ActionLogits, AnticipationProbe, look_ahead, placed
from vjepa.optim import OptimConfig, Schedule, adamw
from vjepa.recall import MeanClassRecall, Unseen, focal_loss

ROWS = {
    "encoder": "encoder's tokens",
    "predictor": "predictor's tokens",
    "both": "both",
    "shown": "the last moments shown",
    "majority": "most frequent in training",
}
TRAINED = ("encoder", "predictor", "both", "shown")
KINDS = ("verb", "noun", "action")
SPLITS = ("val", "test", "other")  # `other`: the test actions from the other anchor


class Anticipate(FrozenStage):
    FROZEN = ("encoder", "predictor")

    def __init__(
        self,
        encoder: str,
        probe: ProbeConfig = ProbeConfig(),  # noqa: B008  frozen, as all configs are
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),  # noqa: B008
        top: int = 5,
        positions: bool = False,
        seed: int = 0,
        unseen: Unseen = "missed",
    ) -> None:
        """
        Args:
            encoder: A pretraining's or cooldown's model.safetensors, an upstream `.pt`, or a Hugging Face directory; it has to
                hold the predictor too.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            top: Answers per clip that recall allows.
            positions: Tell the probes when and where each token is, counted from the moment that is asked for. Not in the
                paper, whose deep encoders write it into their tokens; without it, probes of the demo's encoder cannot tell
                what came first.
            seed: Decides the probes' initial weights.
            unseen: Classes of the test actions that training never shows are missed, as in the challenge, or left out of the
                average and of the answers, as in the released code.
        """
        super().__init__()
        refuse_unless(top > 0, f"model.top={top} leaves no answer; use 1 or more")
        refuse_unless(probe.depth > 0, "probe.depth=0: anticipation needs queries; use 1 or more blocks")
        self.source, self.config, self.weights = encoder, probe, weights
        self.optim, self.top, self.positions, self.seed, self.unseen = optim, top, positions, seed, unseen

    def configure_model(self) -> None:
        if hasattr(self, "probes"):
            return
        source, data = locate(self.source), self.trainer.datamodule
        self.encoder = ema.frozen(load_encoder(source, self.weights))
        self.predictor = ema.frozen(load_predictor(source))
        self.grid = refuse_indivisible(self.encoder, data.clip)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            first = AnticipationProbe(self.config, self.encoder.config.width, data.known.sizes)
        self.probes = nn.ModuleDict({row: copy.deepcopy(first) for row in TRAINED})
        for_split = {"val": "val", "test": "test", "other": "test"}
        self.recall = nn.ModuleDict({f"{split}_{row}_{kind}": metric for split in SPLITS for row in ROWS
                                     for kind, metric in self.metrics(for_split[split]).items()})  # fmt: skip

    def metrics(self, split: str) -> dict[str, MeanClassRecall]:
        data = self.trainer.datamodule
        columns = zip(KINDS, data.known.sizes, data.shown(split), strict=True)
        return {kind: MeanClassRecall(size, shown, self.top, self.unseen) for kind, size, shown in columns}

    @torch.no_grad()
    def tokens(self, batch: ForeseenBatch) -> dict[str, Float[Tensor, "b n d"]]:
        seen, shown = self.encoder(normalise(batch.clip)), self.encoder(normalise(batch.shown))
        per_second = self.trainer.datamodule.clip.fps / self.encoder.config.tubelet
        steps = (batch.tau * per_second + 1e-6).long()  # between the clip's end and the moment
        seen, ahead = look_ahead(self.predictor, seen, self.grid, steps, self.positions)
        if self.positions:
            shown = placed(shown, self.grid, torch.full_like(steps, -self.grid[0]))
        return {"encoder": seen, "predictor": ahead, "both": torch.cat([seen, ahead], dim=1), "shown": shown}

    def training_step(self, batch: ForeseenBatch, batch_idx: int) -> Tensor:
        """Focal losses of the three queries added up; the rows share no parameter, so each trains as if alone."""
        losses = {}
        for row, tokens in self.tokens(batch).items():
            logits = self.probes[row](tokens)
            each = [focal_loss(guess.float(), label) for guess, label in zip(logits, batch.labels.T, strict=True)]
            losses[f"train/loss_{row}"] = torch.stack(each).sum()
        self.log_dict(losses)
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: ForeseenBatch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: ForeseenBatch, batch_idx: int, dataloader_idx: int) -> None:
        self.score(("test", "other")[dataloader_idx], batch)

    def score(self, split: str, batch: ForeseenBatch) -> None:
        if len(batch.clip) == 0:
            return
        answers = {row: self.probes[row](tokens) for row, tokens in self.tokens(batch).items()}
        answers["majority"] = self.majority(len(batch.clip))
        for row, logits in answers.items():
            for kind, guess, label in zip(KINDS, logits, batch.labels.T, strict=True):
                self.recall[f"{split}_{row}_{kind}"].update(guess, label)

    def majority(self, clips: int) -> ActionLogits:
        """The same for every clip: how often training shows each class."""
        return ActionLogits(*(count.expand(clips, -1).to(self.device) for count in self.trainer.datamodule.frequencies))

    def on_validation_epoch_end(self) -> None:
        found = self.computed("val")
        values = {f"val/recall_{row}_{kind}": found[row][kind] for row in TRAINED for kind in KINDS}
        self.log_dict(values, rank_zero_only=True)

    def computed(self, split: str) -> dict[str, dict[str, float]]:
        """Recall by row and kind over all processes; forgotten then."""
        found = {row: {kind: float(self.recall[f"{split}_{row}_{kind}"].compute()) for kind in KINDS} for row in ROWS}
        for row in ROWS:
            for kind in KINDS:
                self.recall[f"{split}_{row}_{kind}"].reset()
        return found

    def on_test_epoch_end(self) -> None:
        data = self.trainer.datamodule
        kinds = {kind: self.recall[f"test_both_{kind}"] for kind in KINDS}
        clips, *unseen = self.counts(kinds)
        if clips == 0:
            raise DataError("no test clip could be decoded, so there is no score; bad_files.txt in the run's folder says why")
        anchors = (data.ahead.anchor, "end" if data.ahead.anchor == "start" else "start")
        told = {"clips": clips, "measure": f"mean-class recall@{self.top}"}
        told |= {"unseen": self.unseen, "unseen_clips": dict(zip(KINDS, unseen, strict=True))}
        chance = {kind: metric.chance for kind, metric in kinds.items()}
        rows = [
            {"name": name, "anchor": anchor} | values | told
            for anchor, split in zip(anchors, ("test", "other"), strict=True)
            for name, values in [*self.named(split), ("chance", chance)]
        ]
        if self.trainer.is_global_zero:
            (Path(self.trainer.default_root_dir) / "scores.json").write_text(json.dumps(rows, indent=1))
            print(table(rows, data.ahead.evaluation_tau))

    def counts(self, kinds: dict[str, MeanClassRecall]) -> list[int]:
        """Over all processes: clips, and those whose verb, noun and pair training never shows."""
        mine = [kinds["verb"].seen.sum(), *(metric.seen[metric.known :].sum() for metric in kinds.values())]
        return self.trainer.strategy.reduce(torch.stack(mine), reduce_op="sum").tolist()

    def named(self, split: str) -> list[tuple[str, dict[str, float]]]:
        return [(ROWS[row], values) for row, values in self.computed(split).items()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.probes)

    def parts(self) -> dict[str, Part]:
        config = {"config": asdict(self.config), "width": self.encoder.config.width, "schema": self.schema()}
        return {"anticipation": Part(self.probes["both"], config)}

    def schema(self) -> dict:
        """What the exported probe reads, and what its answers mean."""
        data = self.trainer.datamodule
        clip = {key: getattr(data.clip, key) for key in ("frames", "fps", "size", "short")}
        reads = {"encoder": self.source, "weights": self.weights, "clip": clip, "ahead": asdict(data.ahead)}
        return reads | {"positions": self.positions, "top": self.top} | asdict(data.known)


def table(rows: list[dict], tau: float) -> str:
    """Mean-class recall of every row, by anchor."""
    lines, first = [], rows[0]
    for anchor in dict.fromkeys(row["anchor"] for row in rows):
        what = f"{first['measure']} on {first['clips']} test actions"
        lines.append(f"{what}, the clip ends {tau:g} s before the action's {anchor}")
        lines.append(f"  {'':<28}{'verb':>8}{'noun':>8}{'action':>8}")
        for row in (row for row in rows if row["anchor"] == anchor):
            lines.append(f"  {row['name']:<28}" + "".join(f"{row[kind]:8.3f}" for kind in KINDS))
    verb, noun, pair = (first["unseen_clips"][kind] for kind in KINDS)
    fate = {"missed": "counted as missed", "left_out": "left out of the average"}[first["unseen"]]
    lines.append(f"  training never shows the verb of {verb} of them, the noun of {noun}, the pair of {pair}: {fate}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(Anticipate, AnticipationData)
