"""V-JEPA 2 as a library of nouns. The verbs are in `stages`, the recipes in `conf`.

command     the command line: table of commands, parser, suggestions, the recipes inside the package
drawing     palette, style of figures, captions on frames, films
models      encoder, predictors, probes: plain torch modules that take one config dataclass each
objectives  masks, the averaged target encoder, the losses of pretraining and of the AC predictor
weights     exports and checkpoints; released weights of Meta and Hugging Face in
data        manifests, decoding by time stamp, transforms, clips, and the base of all data modules
robots      poses, what a robot's states and actions mean, recorded episodes and windows of them
planning    world model, energy, cross-entropy method, receding horizon, energy landscapes
language    conversations about video, and the language model that reads an encoder's tokens
features    features of videos to files, nearest neighbours, tokens as colours
evaluation  what a frozen encoder is worth: read-outs, predictions, recall, rollout error, tables
benchmarks  other people's benchmarks and their formats; the speed of our own code
sim         the demo world: a simulated robot arm, its recordings, closed-loop episodes (needs MuJoCo)
training    what stages share: command line, frozen encoder, optimisers, monitors, sweeps

Axis alphabet, for einops patterns and shapes alike: `b` clips in the batch; `c` channels; `t h w` frames and
pixels (in a patchify pattern: the part inside a tubelet); `T H W` the token grid; `n` tokens of a clip (THW);
`k` / `m` kept and dropped tokens; `d` width; `e` width per head; `s` sampled plans; `a` action dimensions;
`l` levels. A capital letter is counted on the grid.

The public calls below can be imported from `vjepa` itself; each is loaded when it is first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see; the table below is what Python loads
    from vjepa.data.clips import ClipConfig as ClipConfig
    from vjepa.data.decode import decode_frames as decode_frames
    from vjepa.errors import UserError as UserError
    from vjepa.features.clip_features import clip_features as clip_features
    from vjepa.features.clip_features import clip_of as clip_of
    from vjepa.features.clip_features import read_clip as read_clip
    from vjepa.loading import Model as Model
    from vjepa.loading import load as load
    from vjepa.models.encoder import Encoder as Encoder
    from vjepa.models.encoder import EncoderConfig as EncoderConfig
    from vjepa.models.predictor import Predictor as Predictor
    from vjepa.models.predictor import PredictorConfig as PredictorConfig
    from vjepa.objectives.masks import sample_masks as sample_masks
    from vjepa.planning.cem import cem as cem
    from vjepa.planning.load import load_world_model as load_world_model
    from vjepa.planning.world_model import WorldModel as WorldModel
    from vjepa.robots.pose import pose_apply as pose_apply
    from vjepa.robots.pose import pose_delta as pose_delta
    from vjepa.weights.card import Card as Card
    from vjepa.weights.card import read_card as read_card
    from vjepa.weights.load import load_ac_predictor as load_ac_predictor
    from vjepa.weights.load import load_encoder as load_encoder
    from vjepa.weights.load import load_predictor as load_predictor
    from vjepa.weights.load import load_probe as load_probe

PUBLIC = {
    "load": "loading",
    "Model": "loading",
    "read_card": "weights.card",
    "Card": "weights.card",
    "load_encoder": "weights.load",
    "load_predictor": "weights.load",
    "load_probe": "weights.load",
    "load_ac_predictor": "weights.load",
    "load_world_model": "planning.load",
    "Encoder": "models.encoder",
    "EncoderConfig": "models.encoder",
    "Predictor": "models.predictor",
    "PredictorConfig": "models.predictor",
    "sample_masks": "objectives.masks",
    "decode_frames": "data.decode",
    "ClipConfig": "data.clips",
    "clip_of": "features.clip_features",
    "read_clip": "features.clip_features",
    "clip_features": "features.clip_features",
    "pose_delta": "robots.pose",
    "pose_apply": "robots.pose",
    "WorldModel": "planning.world_model",
    "cem": "planning.cem",
    "UserError": "errors",
}
"""Public name -> module of this package that defines it."""

__all__ = list(PUBLIC)


def __getattr__(name: str) -> object:
    """Load a public call on first use, so that `import vjepa` itself costs nothing (PEP 562)."""
    if name == "__version__":
        return version("vjepa")  # pyproject.toml is the only place of the number
    if name not in PUBLIC:
        raise AttributeError(f"module 'vjepa' has no attribute {name!r}")
    return getattr(import_module(f"vjepa.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC, "__version__"])
