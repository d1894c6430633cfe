"""What a run tells about itself in TensorBoard: optimiser, speed, data health, collapse, read-outs, pictures."""

import signal
import time
from pathlib import Path

import lightning as L
import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vjepa import ema, metrics
from vjepa.data.clips import Batch, ClipConfig, EvaluationClips
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.transforms import denormalise, normalise
from vjepa.errors import UserError
from vjepa.locate import locate
from vjepa.masks import Grid, View, sample_masks
from vjepa.models import Encoder

GRACE = 100  # draws before the share of bad files is judged


class DataError(UserError):
    """Training data that is not fit to train on."""


def due(trainer: L.Trainer, steps: int) -> bool:
    """Whether the state after so many steps is logged: the first, and then every `log_every_n_steps`."""
    return steps == 1 or steps % trainer.log_every_n_steps == 0


def write(trainer: L.Trainer, values: dict[str, float | Tensor], steps: int) -> None:
    """Past Lightning's own bookkeeping, which would leave out the first step."""
    for logger in trainer.loggers:
        logger.log_metrics({name: float(value) for name, value in values.items()}, step=steps)


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this micro-batch was the last of its optimiser step, and that step is logged."""
    whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return whole and due(trainer, trainer.global_step)


class OptimizerMonitor(L.Callback):
    """Learning rate, weight decay, gradient norm."""

    def on_fit_start(self, trainer, stage) -> None:
        steps, lr = int(trainer.estimated_stepping_batches), stage.optim.lr
        if trainer.is_global_zero and steps < lr.warmup + lr.decay:
            print(f"note: optim.lr warms up over {lr.warmup} and decays over {lr.decay} steps, but the run has only {steps}")

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if trainer.scaler is None and not torch.isfinite(norm):  # every step, before it can reach a checkpoint
            raise DataError(
                f"the gradient at step {trainer.global_step + 1} is {norm}; lower optim.lr, set trainer.gradient_clip_val, "
                "or look at train/loss in TensorBoard for where it began"
            )
        if not due(trainer, trainer.global_step + 1):
            return
        matrices = optimizer.param_groups[0]
        values = {"optim/grad_norm": norm, "optim/lr": matrices["lr"], "optim/weight_decay": matrices["weight_decay"]}
        write(trainer, values, trainer.global_step + 1)


class SpeedMonitor(L.Callback):
    """Clips per second over all devices, and the share of time spent waiting for data, since the last logged step."""

    def on_train_start(self, trainer, stage) -> None:
        self.restart(trainer)

    def restart(self, trainer: L.Trainer) -> None:
        self.since, self.clips, self.waited = time.perf_counter(), 0, trainer.train_dataloader.waited

    def on_train_batch_end(self, trainer, stage, outputs, batch: Batch, batch_idx) -> None:
        self.clips += len(batch.clip)
        if not ends_step(trainer, batch_idx):
            return
        elapsed, waited = time.perf_counter() - self.since, trainer.train_dataloader.waited - self.waited
        rate = self.clips * trainer.world_size / elapsed
        write(trainer, {"speed/clips_per_s": rate, "speed/data_wait_share": waited / elapsed}, trainer.global_step)
        self.restart(trainer)

    def on_validation_end(self, trainer, stage) -> None:
        if trainer.training:  # the time of a validation belongs to nobody
            self.restart(trainer)


class DataHealth(L.Callback):
    """Counts files that could not be decoded, names them in `bad_files.txt`, and stops when they are too many."""

    def __init__(self, out: Path) -> None:
        self.file = out / "bad_files.txt"
        self.draws = self.failed = self.excluded = 0
        self.named: set[str] = set()

    def state_dict(self) -> dict[str, int]:
        return {"draws": self.draws, "failed": self.failed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.draws, self.failed = state["draws"], state["failed"]

    def on_train_batch_start(self, trainer, stage, batch: Batch, batch_idx) -> None:
        self.draws += len(batch.clip) + len(batch.bad)
        self.failed += len(batch.bad)
        self.write_down(batch.bad)
        if due(trainer, trainer.global_step + 1):
            write(trainer, {"data/bad_draws": float(self.failed)}, trainer.global_step + 1)
        limit = trainer.datamodule.max_bad_share
        if batch.lost:
            raise DataError(f"several draws in a row could not be decoded, listed in {self.file}, the last: {batch.bad[-1]}")
        if self.failed > limit * max(self.draws, GRACE):
            raise DataError(
                f"{self.failed} of {self.draws} draws could not be decoded, more than data.max_bad_share={limit}; they are "
                f"listed in {self.file}, the last: {batch.bad[-1]}"
            )

    def on_validation_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.excluded += batch.lost
        self.write_down([] if trainer.sanity_checking else batch.bad)

    def on_test_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.on_validation_batch_start(trainer, stage, batch, batch_idx)

    def on_validation_end(self, trainer, stage) -> None:
        if self.excluded and not trainer.sanity_checking:
            print(f"{self.excluded} clips could not be decoded and are left out of the score; see {self.file}")
        self.excluded = 0

    def on_test_end(self, trainer, stage) -> None:
        self.on_validation_end(trainer, stage)

    def write_down(self, bad: list[str]) -> None:
        new = set(bad) - self.named
        if new:
            self.named |= new
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.writelines(reason + "\n" for reason in sorted(new))


class StopOnSignal(L.Callback):
    """Ctrl-C or SIGTERM (a spot machine, a scheduler) ends the run after its current step, with a checkpoint of that step."""

    def __init__(self, out: Path) -> None:
        self.folder, self.asked = out / "checkpoints", False

    def on_train_start(self, trainer, stage) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)

    def ask(self, number: int, frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.asked = True

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not (whole_step and trainer.strategy.reduce_boolean_decision(self.asked, all=False)):
            return
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt", weights_only=False)
        trainer.should_stop = True


class CollapseMonitor(L.Callback):
    """Whether the target's features still tell tokens apart, from the first step on."""

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if not ends_step(trainer, batch_idx):
            return
        target = outputs["target"]
        values = {
            "train/loss": outputs["l1"],
            "collapse/feature_std": metrics.feature_std(target),
            "collapse/effective_rank": metrics.effective_rank(target),
            "collapse/token_cosine": metrics.token_cosine(target),
            "collapse/loss_over_mean": outputs["l1"] / metrics.mean_baseline(target),
            "optim/ema_momentum": stage.momentum.at(trainer.global_step, stage.total_steps),
            "collapse/target_context_l1": outputs["gap"],
            "collapse/target_weights_rms": ema.distance(stage.target, stage.encoder),
        }
        write(trainer, values, trainer.global_step)


class ReadOut(L.Callback):
    """A linear read-out of the target encoder while it trains: what the loss cannot tell.

    Every `every` steps, from step 0 (a random encoder) on, clips of two labelled manifests are encoded, tokens averaged over
    cells of the frame but not over time, and a ridge regression to the classes is fitted on one manifest and scored on the
    other. The cells matter: what moves says by its place where it moves."""

    def __init__(
        self,
        train: str,
        val: str,
        clip: ClipConfig,
        every: int = 100,
        limit: int = 400,
        cells: int = 4,
        ridge: float = 1.0,
    ) -> None:
        """
        Args:
            train: Labelled manifest to fit the read-out on.
            val: Labelled manifest to score it on.
            clip: What one clip is.
            every: Steps between two read-outs.
            limit: Most clips of either manifest that are used, evenly spread.
            cells: Rows and columns of cells over which tokens are averaged; 1 averages the whole frame.
            ridge: Penalty, in units of the standardised features' mean square.
        """
        self.train, self.val, self.clip = train, val, clip
        self.every, self.limit, self.cells, self.ridge = every, limit, cells, ridge

    def on_fit_start(self, trainer, stage) -> None:
        self.fitted = labelled_clips(read_manifest(locate(self.train)), self.clip, self.limit)
        self.scored = labelled_clips(read_manifest(locate(self.val)), self.clip, self.limit)

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        first_micro_batch = batch_idx % trainer.accumulate_grad_batches == 0
        if first_micro_batch and trainer.global_step % self.every == 0:
            self.read(trainer, stage)

    def on_train_end(self, trainer, stage) -> None:
        self.read(trainer, stage)

    def read(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        fit, score = (pooled_features(stage.target, clips, self.cells) for clips, _ in (self.fitted, self.scored))
        accuracy = ridge_accuracy(fit, self.fitted[1], score, self.scored[1], self.ridge)
        write(trainer, {"readout/linear_accuracy": accuracy}, trainer.global_step)


Labelled = tuple[UInt8[Tensor, "b t c h w"], Int[Tensor, " b"]]


def labelled_clips(manifest: Manifest, config: ClipConfig, limit: int) -> Labelled:
    """Decodable clips of a manifest, evenly spread over it, and their labels."""
    dataset = EvaluationClips(manifest, config)
    rows = np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).round().astype(int)
    samples = [sample for sample in (dataset[int(i)] for i in rows) if sample.clip is not None]
    return torch.stack([sample.clip for sample in samples]), torch.tensor([sample.label for sample in samples])


@torch.no_grad()
def pooled_features(encoder: Encoder, clips: UInt8[Tensor, "b t c h w"], cells: int) -> Float[Tensor, "b f"]:
    """Tokens averaged within each of cells x cells parts of the frame, concatenated over parts and time, on the CPU."""
    device, pooled = next(encoder.parameters()).device, []
    for some in clips.split(32):
        clip = normalise(some.to(device))
        T, H, W = encoder.grid(clip)
        grids = rearrange(encoder(clip).float(), "b (T H W) d -> (b T) d H W", T=T, H=H, W=W)
        means = adaptive_avg_pool2d(grids, min(cells, H, W))
        pooled.append(rearrange(means, "(b T) d H W -> b (T H W d)", T=T).cpu())
    return torch.cat(pooled)


def ridge_accuracy(
    fit: Float[Tensor, "b f"], fit_label: Int[Tensor, " b"], score: Float[Tensor, "c f"], label: Int[Tensor, " c"], ridge: float
) -> float:
    """Share of `score` whose class a ridge regression fitted on `fit` finds; solved among clips, which are few."""
    mean, std = fit.mean(dim=0), fit.std(dim=0).clamp_min(1e-6)
    x, y = ((features - mean) / std for features in (fit, score))
    classes = int(max(fit_label.max(), label.max())) + 1
    kernel = x @ x.T
    kernel.diagonal().add_(ridge * kernel.diagonal().mean())
    weights = torch.linalg.solve(kernel, torch.nn.functional.one_hot(fit_label, classes).float() - 1 / classes)
    return float(((y @ x.T @ weights).argmax(dim=1) == label).float().mean())


class Pictures(L.Callback):
    """Now and then: what the encoder was shown of a clip, and its tokens as colours."""

    def __init__(self, every: int = 200, clips: int = 4) -> None:
        """
        Args:
            every: Steps between two pictures.
            clips: Rows of a picture.
        """
        self.every, self.clips = every, clips

    def on_train_batch_end(self, trainer, stage, outputs, batch: Batch, batch_idx) -> None:
        if trainer.global_step % self.every and trainer.global_step != 1:
            return
        if not trainer.loggers or not trainer.is_global_zero or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        clip = normalise(batch.clip[: min(self.clips, stage.masks.group)])
        grid, tokens = stage.encoder.grid(clip), outputs["target"][: len(clip)]
        writer = trainer.logger.experiment
        for kind, view in zip(stage.masks.kinds, self.views(stage, grid, len(batch.clip), batch_idx), strict=True):
            name = f"masks/{kind.blocks}_blocks_of_{kind.scale:.0%}_bright_kept_dim_predicted"
            writer.add_image(name, filmstrip(masked_clip(clip, view, grid)), trainer.global_step)
        colours = token_colours(tokens, grid, clip.shape[-2:])
        frames = denormalise(clip)[:, :: clip.shape[2] // grid[0]]
        both = rearrange([frames, colours], "r b t c h w -> (b r) t c h w")
        writer.add_image("tokens/principal_components_as_colour", filmstrip(both), trainer.global_step)

    def views(self, stage: L.LightningModule, grid: Grid, batch: int, batch_idx: int) -> list[View]:
        """The masks of this batch's first clips, as the step drew them."""
        size, step = min(stage.masks.group, batch), max(stage.global_step - 1, 0)
        first = stage.micro_batch(batch_idx) * (batch // size)
        return sample_masks(stage.masks, grid, size, seed=stage.seed, step=step, rank=first)


def masked_clip(clip: Float[Tensor, "b c t h w"], view: View, grid: Grid) -> UInt8[Tensor, "b t c h w"]:
    """The clip with dropped tubelets dimmed, and those that the cut to equal lengths left out of both nearly black."""
    light = torch.full((len(clip), grid[0] * grid[1] * grid[2]), 0.08)
    light = light.scatter(1, view.drop[: len(clip)], 0.35).scatter(1, view.keep[: len(clip)], 1.0).to(clip.device)
    return (denormalise(clip).float() * spread(light[..., None], grid, clip.shape[2:])).byte()


def token_colours(tokens: Float[Tensor, "b n d"], grid: Grid, frame: tuple[int, int]) -> UInt8[Tensor, "b t c h w"]:
    """The first three principal components of all shown tokens as red, green and blue, one picture per time step."""
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    flat = flat - flat.mean(dim=0)
    components = torch.linalg.svd(flat, full_matrices=False).Vh[:3]
    colours = flat @ components.T
    colours = (colours / (2.5 * colours.std(dim=0)) + 0.5).clamp(0, 1).unflatten(0, tokens.shape[:2])
    return (spread(colours, grid, (grid[0], *frame)) * 255).byte()


def spread(values: Float[Tensor, "b n c"], grid: Grid, size: tuple[int, int, int]) -> Float[Tensor, "b t c h w"]:
    """One value per token, as pixels of its tubelet."""
    T, H, W = grid
    t, h, w = size[0] // T, size[1] // H, size[2] // W
    return repeat(values, "b (T H W) c -> b (T t) c (H h) (W w)", T=T, H=H, W=W, t=t, h=h, w=w)


def filmstrip(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[Tensor, "c h w"]:
    """Clips as rows, frames as columns, with a thin gap."""
    times = max(1, 128 // clips.shape[-1])  # small frames are shown larger
    padded = torch.nn.functional.pad(repeat(clips, "b t c h w -> b t c (h i) (w j)", i=times, j=times), (0, 2, 0, 2), value=255)
    return rearrange(padded, "b t c h w -> c (b h) (t w)")


