"""Attentive probing of the frozen encoder, beside honest controls (V-JEPA 2, sections 2.3 and C.1).

    python -m stages.probe fit --config conf/probe.yaml

One pass over the data trains the same probe on each row of the table:

encoder   the frozen encoder under test
random    an encoder of the same architecture that was never trained: what the probe and the patches do alone
frame     the encoder under test, shown only the clip's middle frame: what a still picture gives away
"""

import copy
import json
from pathlib import Path

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAccuracy

from vjepa import ema
from vjepa.callbacks import DataError
from vjepa.checkpoint import Part, Weights, load_encoder, probe_part
from vjepa.cli import refuse_indivisible, run
from vjepa.data.clips import Batch
from vjepa.data.modules import LabelledClipData
from vjepa.data.transforms import normalise
from vjepa.errors import refuse_unless
from vjepa.locate import locate
from vjepa.models import AttentiveProbe, Encoder, ProbeConfig
from vjepa.optim import OptimConfig, Schedule, adamw, set_step
from vjepa.report import Score, table

Clip = Float[Tensor, "b c t h w"]
ROWS = {"encoder": "our encoder", "random": "random encoder", "frame": "our encoder, one frame"}


class Probe(L.LightningModule):
    def __init__(
        self,
        encoder: str,
        classes: int,
        probe: ProbeConfig = ProbeConfig(),  # noqa: B008  frozen, as all configs are
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),  # noqa: B008
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory.
            classes: Number of classes; labels are 0..classes-1.
            probe: The network on top of the tokens.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            seed: Decides the random encoder and the probes' initial weights.
        """
        super().__init__()
        refuse_unless(classes > 1, f"model.classes={classes}: there is nothing to tell apart; give 2 or more")
        self.source, self.classes, self.config, self.weights = encoder, classes, probe, weights
        self.optim, self.seed = optim, seed
        metrics = {f"{split}_{row}": MulticlassAccuracy(classes, average="micro") for split in ("val", "test") for row in ROWS}
        self.accuracy = nn.ModuleDict(metrics)
        self.tested = SumMetric()

    def configure_model(self) -> None:
        if hasattr(self, "probes"):
            return
        self.encoder = ema.frozen(load_encoder(locate(self.source), self.weights))
        refuse_indivisible(self.encoder, self.trainer.datamodule.clip)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.random = ema.frozen(Encoder(self.encoder.config))
            first = AttentiveProbe(self.config, self.encoder.config.width, self.classes)
        self.probes = nn.ModuleDict({row: copy.deepcopy(first) for row in ROWS})  # every row starts from the same probe

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.check_labels(self.classes)

    @torch.no_grad()
    def tokens(self, row: str, clip: Clip) -> Float[Tensor, "b n d"]:
        if row == "random":
            return self.random(clip)
        middle = clip.shape[2] // 2
        return self.encoder(clip[:, :, middle : middle + 1] if row == "frame" else clip)

    def logits(self, clip: Clip) -> dict[str, Float[Tensor, "b classes"]]:
        return {row: probe(self.tokens(row, clip)) for row, probe in self.probes.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The rows' losses add up; they share no parameter, so (without gradient clipping) each trains as if alone."""
        logits = self.logits(normalise(batch.clip))
        losses = {f"train/loss_{row}": cross_entropy(guess, batch.label) for row, guess in logits.items()}
        self.log_dict(losses)
        return torch.stack(list(losses.values())).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.score("test", batch)
        self.tested.update(len(batch.clip))

    def score(self, split: str, batch: Batch) -> None:
        if len(batch.clip) == 0:
            return
        for row, guess in self.logits(normalise(batch.clip)).items():
            metric = self.accuracy[f"{split}_{row}"]
            metric(guess, batch.label)
            self.log(f"{split}/accuracy_{row}", metric, batch_size=len(batch.clip), on_step=False, on_epoch=True)

    def on_test_end(self) -> None:
        metrics = self.trainer.callback_metrics
        if self.tested.compute() == 0:
            raise DataError("no test clip could be decoded, so there is no score; `vjepa.data.manifest check` says why")
        clips = int(self.tested.compute())
        scores = [Score(name, float(metrics[f"test/accuracy_{row}"]), clips) for row, name in ROWS.items()]
        scores.append(Score("chance", 1 / self.classes, clips))
        if self.trainer.is_global_zero:
            out = Path(self.trainer.default_root_dir)
            (out / "scores.json").write_text(json.dumps([score.__dict__ for score in scores], indent=1))
            print(table(scores, f"accuracy on {clips} test clips of {self.classes} classes"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.probes)

    def on_fit_start(self) -> None:
        self.total_steps = int(self.trainer.estimated_stepping_batches)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        set_step(optimizer.optimizer, self.optim, self.global_step + 1, self.total_steps)
        optimizer.step(closure=optimizer_closure)

    def train(self, mode: bool = True) -> "Probe":
        """Training mode for the probes; the encoders stay in evaluation mode."""
        super().train(mode)
        for name in ("encoder", "random"):
            if hasattr(self, name):
                getattr(self, name).eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("encoder.")}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["state_dict"] |= {k: v for k, v in self.state_dict().items() if k.startswith("encoder.")}

    def parts(self) -> dict[str, Part]:
        return {"probe": probe_part(self.probes["encoder"])}


if __name__ == "__main__":
    run(Probe, LabelledClipData)
