"""See what tokens hold, and what a predictor imagines: a decoder from a frame's tokens to its picture.

    python -m stages.decode fit --config conf/decode.yaml

The decoder learns on the tokens of a frozen encoder, and no other network learns from it (V-JEPA 2, section
B.3). Held-out windows then say how much decoding loses, and with `--model.ac` how long imagined frames stay
like the true ones, beside a first frame that stays as it is (`vjepa.evaluation.decoding_scores`).
"""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.data.means import Means
from vjepa.drawing.event_writers import event_writers
from vjepa.errors import DataError, require
from vjepa.evaluation.decoded_windows import HeldOutPictures, decoded_windows
from vjepa.evaluation.decoding_pictures import show_decoded
from vjepa.evaluation.decoding_scores import frame_scores, moving_mask, psnr
from vjepa.models.decoder import Decoder, DecoderConfig
from vjepa.planning.imagining import load_imagining
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.training.trajectory_settings import acting_facts
from vjepa.weights.export import Part, decoder_part
from vjepa.weights.load import Weights

if TYPE_CHECKING:  # MuJoCo is in the `sim` extra
    from vjepa.sim.recording.episode_masks import RecordedMasks


class Decode(FrozenStage):
    FROZEN = ("encoder", "predictor")

    def __init__(
        self,
        encoder: str,
        ac: str | None = None,
        decoder: DecoderConfig = DecoderConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(2e-3)),
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            ac: Export of the AC stage on that encoder, or `demo`: the test then shows what it imagines.
            decoder: The network that is trained.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            seed: Decides the decoder's initial weights.
        """
        super().__init__(encoder, weights, optim, seed)
        self.ac = ac
        self.config = decoder
        self.val_means = Means(("mse", "ssim", "error"))

    def load_frozen(self) -> None:
        super().load_frozen()
        data = self.trainer.datamodule
        known = (self.encoder, data.schema, data.window.fps)
        self.predictor = None if self.ac is None else load_imagining(self.ac, *known)

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        """Mean |difference| of colours."""
        tokens, frames = self.examples(batch, "train")
        loss = l1_loss(self.decoder(tokens), frames)
        self.step_means.add({"train/loss": loss}, len(batch.actions))
        return loss

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        if len(batch.actions):  # some window of the batch could be decoded
            tokens, frames = self.examples(batch, "val")
            decoded = self.decoder(tokens)
            self.val_means.add(frame_scores(decoded, frames, {})["picture"][0], len(batch.actions))
            if batch_idx == 0:
                t = batch.states.shape[1]  # the first frame of every window
                show_decoded(event_writers(self.trainer), frames[::t], decoded[::t], self.global_step)

    def on_validation_epoch_end(self) -> None:
        if means := self.val_means.compute(self.trainer.strategy):
            logged = {"loss": means["error"], "psnr": psnr(means["mse"]), "ssim": means["ssim"]}
            self.log_dict({f"val/{name}": value for name, value in logged.items()}, sync_dist=True)

    def test_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        if len(batch.actions):
            data = self.trainer.datamodule
            tokens = self.tokens(batch, "test")
            pictures = decoded_windows(self.decoder, self.predictor, tokens, batch, data.schema)
            masks = {"moving": moving_mask(pictures.real)}
            if self.simulated is not None:
                masks["hand"] = self.simulated.of_batch(batch)
            self.held_out.add(pictures, masks)
            self.held_out.keep(pictures, batch_idx, int(self.trainer.num_test_batches[0]))

    @cached_property
    def simulated(self) -> "RecordedMasks | None":
        """Masks of hand and moved objects, of recordings of the demo world, which can be simulated again."""
        if find_spec("mujoco") is None:
            return None
        from vjepa.sim.recording.episode_masks import read_episode_masks

        return read_episode_masks(self.trainer.datamodule)

    def on_test_end(self) -> None:
        self.held_out.compute(self.trainer.strategy)
        if not self.held_out.windows:
            raise DataError("no test window could be decoded, so there are no scores; bad_files.txt says why")
        if self.trainer.is_global_zero:
            places = (Path(self.trainer.default_root_dir), event_writers(self.trainer), self.global_step)
            self.held_out.write(self.trainer.datamodule.window.fps, *places)

    def examples(
        self, batch: TrajectoryBatch, split: str
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b c h w"]]:
        """Tokens of single frames, and these frames, values from 0 to 1."""
        tokens = rearrange(self.tokens(batch, split), "b (t n) d -> (b t) n d", t=batch.states.shape[1])
        return tokens, rearrange(batch.clip, "b t c h w -> (b t) c h w").float() / 255

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.decoder)

    def build(self) -> None:
        data = self.trainer.datamodule
        require(data.window.pixels, "data.window.pixels=false, but a decoder learns images; give true")
        self.decoder = Decoder(self.config, self.encoder.config)
        self.tokens = FrameTokens(self.encoder, data, LatentsConfig())
        rows, columns = self.tokens.grid  # refuses frames that the patches do not divide
        if self.predictor is not None:
            self.predictor.check_frames(rows * columns, 1)
        self.held_out = HeldOutPictures(data.window.evaluated_frames - 1)

    def parts(self) -> dict[str, Part]:
        return {"decoder": decoder_part(self.decoder, self.encoder.config, acting_facts(self))}


if __name__ == "__main__":
    run(Decode, TrajectoryData)
