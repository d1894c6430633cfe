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

PUBLIC = {
    "Encoder": "models.encoder",
    "EncoderConfig": "models.encoder",
    "Predictor": "models.predictor",
    "PredictorConfig": "models.predictor",
    "load_encoder": "weights.load",
    "load_predictor": "weights.load",
    "load_probe": "weights.load",
    "load_ac_predictor": "weights.load",
    "sample_masks": "objectives.masks",
    "decode_frames": "data.decode",
    "ClipConfig": "data.clips",
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
    if name not in PUBLIC:
        raise AttributeError(f"module 'vjepa' has no attribute {name!r}")
    return getattr(import_module(f"vjepa.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
