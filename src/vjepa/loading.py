"""Any weights as one object that does what they can do.

    model = vjepa.load("demo")               # or runs/demo, an export, Meta's .pt, a Hugging Face directory
    model.features("video.mp4")              # a vector
    model.predict("video.mp4")               # {"move_left": 0.93, ...}, with a probe
    model.plan(image, goal, state).actions   # with an action-conditioned predictor
    model.ask("video.mp4", "What moves?")    # with an aligned language model

What the weights were trained for (clips, images, states) is taken from them. A verb whose weights are missing
says which stage makes them.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.transforms import centre_crop, normalise
from vjepa.errors import UserError, require
from vjepa.features.clip_features import Pool, clip_features, clip_of, read_clip
from vjepa.features.layout import channels_first
from vjepa.features.probe_answers import probe_clip, probe_shares, read_probe_schema
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.predictor import Predictor
from vjepa.models.probe import AttentiveProbe
from vjepa.planning.cem import CEMConfig, Plan, cem
from vjepa.planning.load import load_world_model
from vjepa.planning.world_model import WorldModel
from vjepa.weights.card import Card, read_card
from vjepa.weights.files import CheckpointError, check_same_encoder
from vjepa.weights.load import load_encoder, load_predictor, load_probe
from vjepa.weights.part_files import encoder_of, part_files

if TYPE_CHECKING:
    from vjepa.language.video_chat import VideoChat

MADE_BY = {
    "ema": "pretrain",
    "predictor": "pretrain",
    "probe": "probe",
    "ac_predictor": "ac",
    "projector": "vlm",
}
"""Part of an export -> the stage that makes it."""


def load(source: str | Path, encoder: str | Path | None = None, family: str | None = None) -> "Model":
    """The model in any source of weights; nothing is loaded before it is needed.

    Args:
        source: A stage's export, a run's folder with several of them, Meta's `.pt`, a Hugging Face directory,
            or `demo` for the weights in the package.
        encoder: The encoder's source, for exports that hold none and whose own encoder has moved.
        family: `v-jepa-2`, for a file of Meta's that does not say whether it is V-JEPA 1 or 2.

    Raises CheckpointError if the source does not exist or holds no weights.
    """
    files = part_files(source)
    own = encoder or files.get("ema") or encoder_of(files)
    return Model(str(source), files | ({"ema": str(own)} if own else {}), family)


class Model:
    """Networks that belong together, by the parts of their files. `load` makes it.

    source  what was given to `load`
    files   part -> the file that holds it
    family  what was given to `load`
    """

    def __init__(self, source: str, files: Mapping[str, str], family: str | None = None) -> None:
        self.source = source
        self.family = family
        self.files = dict(files)

    def file(self, part: str, verb: str) -> str:
        """The file that holds a part. Raises CheckpointError that names the stage which makes it."""
        if part not in self.files:
            stage = MADE_BY[part]
            raise CheckpointError(
                f"{self.source} holds no {part}, which `{verb}` needs; the stage {stage} makes it "
                f"(`vjepa fit {stage}`), then load its run's folder or its export"
            )
        return self.files[part]

    @cached_property
    def cards(self) -> list[Card]:
        """The cards of its files."""
        return [read_card(file) for file in dict.fromkeys(self.files.values())]

    @property
    def card(self) -> Card:
        """The encoder's card."""
        return read_card(self.file("ema", "card"))

    @cached_property
    def encoder(self) -> Encoder:
        """The frozen encoder: normalised clips `b c t h w` -> tokens `b n d`."""
        return freeze(load_encoder(self.file("ema", "encode"), family=self.family))

    @cached_property
    def predictor(self) -> Predictor:
        """The frozen predictor of masked tokens."""
        return freeze(load_predictor(self.file("predictor", "predictor"), family=self.family))

    @cached_property
    def probe(self) -> AttentiveProbe:
        """The frozen probe. Raises UserError if it reads another encoder's tokens."""
        file = self.file("probe", "predict")
        check_same_encoder(self.encoder, self.probe_schema.get("encoder_digest"), file)
        return freeze(load_probe(file))

    @cached_property
    def probe_schema(self) -> dict[str, Any]:
        """What the probe reads and what its outputs mean."""
        return read_probe_schema(self.file("probe", "predict"))

    @cached_property
    def world(self) -> WorldModel:
        """The encoder and the action-conditioned predictor as a world model."""
        ac = self.file("ac_predictor", "plan")
        return load_world_model(self.file("ema", "plan"), ac, family=self.family)

    @cached_property
    def video_chat(self) -> "VideoChat":
        """The encoder and the language model that reads its tokens."""
        # Imported here, because it is the only verb that needs the language room.
        from vjepa.language.video_chat import VideoChat

        return VideoChat.load(self.file("projector", "ask"), self.files.get("ema"))

    def encode(self, clip: Any) -> Float[Tensor, "*b n d"]:
        """Tokens of a clip, in (T H W) order; of a batch of clips, one more axis in front.

        clip: uint8 frames `t h w c` or `t c h w`, as an array, a tensor or a list of images; one image is a
            clip of one frame. Frames that are not of the trained size are cropped to their centred square and
            resized, as in training.

        Raises UserError for another layout or type.
        """
        return clip_features(self.encoder, self.fitted(clip, self.size), pool="none")

    def features(
        self,
        video: str | Path,
        pool: Pool = "mean",
        frames: int | None = None,
        fps: float | None = None,
        size: int | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Features of the clip in the middle of a video, or of an image, as `clip_features` pools them.

        frames, fps, size: The clip, where it is to be another than the weights say.
        """
        config = clip_of(self.file("ema", "features"), frames, fps, size)
        return clip_features(self.encoder, read_clip(video, config), pool)

    def predict(self, video: str | Path) -> dict[str, float]:
        """What the probe answers about a video: the share of every class, the largest first.

        For a probe of several labels the share of each; for regression the numbers themselves.
        """
        clip = read_clip(video, probe_clip(self.probe_schema))
        return probe_shares(self.encoder, self.probe, self.probe_schema, clip[None])[0]

    def plan(
        self,
        image: Any,
        goal: Any,
        state: Sequence[float | int] | np.ndarray | Tensor,
        config: CEMConfig = CEMConfig(),
        seed: int = 0,
    ) -> Plan:
        """The actions whose predicted outcome is most like the goal; `plan.actions` is `T a`.

        Args:
            image: What the camera sees, uint8 `h w c` or `c h w`, or a PIL image.
            goal: What it should see, likewise.
            state: The robot's state, numbers as `model.world.schema` names them.
            config: The search.
            seed: Decides the samples.

        Raises UserError for another layout, type or number of numbers.
        """
        schema = self.world.schema
        numbers = as_numbers(state)
        require(
            tuple(numbers.shape) == (schema.state_dims,),
            f"state has the shape {tuple(numbers.shape)}; give the {schema.state_dims} numbers "
            f"{', '.join(schema.names)}",
        )
        images = torch.cat([self.image(image, "image"), self.image(goal, "goal")])
        now, aim = self.world.encode(images).split(1)
        energy = self.world.energy(now, schema.wrap(numbers)[None], aim)
        return cem(energy, config, generator=torch.Generator().manual_seed(seed))

    def ask(self, video: str | Path | None, question: str, limit: int = 128) -> str:
        """The language model's answer to a question about a video, in at most `limit` tokens."""
        return self.video_chat.ask(video, question, limit)

    @property
    def size(self) -> int | None:
        """Height and width, pixels, of the frames that the encoder was trained on, if its weights say."""
        return self.card.clip.size if self.card.clip else None

    def image(self, image: Any, name: str) -> Float[Tensor, "1 c h w"]:
        """One image as the world model encodes it."""
        clip = channels_first(image)
        require(len(clip) == 1 and clip.ndim == 4, f"{name} is {len(clip)} images; give one, `h w c` uint8")
        return normalise(self.fitted(clip, self.world.size)[None])[0].transpose(0, 1)

    @staticmethod
    def fitted(frames: Any, size: int | None) -> Tensor:
        """uint8 frames `*b t c h w` of the trained size, cropped and resized if they are not."""
        clip = channels_first(frames)
        if size is None or tuple(clip.shape[-2:]) == (size, size):
            return clip
        square = centre_crop(clip.flatten(0, -4), size)
        return square.unflatten(0, clip.shape[:-3])

    def __repr__(self) -> str:
        verbs = {"ema": "encode, features", "probe": "predict", "ac_predictor": "plan", "projector": "ask"}
        able = ", ".join(verb for part, verb in verbs.items() if part in self.files)
        return "\n\n".join(map(str, self.cards)) + f"\n\nverbs      {able}"


def as_numbers(state: Any) -> Float[Tensor, "*shape"]:
    """A state on the CPU. Raises UserError if it is not made of numbers."""
    try:
        given = state.detach().cpu() if isinstance(state, Tensor) else np.asarray(state, dtype=np.float32)
        return torch.as_tensor(given, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"state must be a list or an array of numbers: {error}") from error
