"""Start a pretraining or a cooldown from the weights of another run.

The networks must have the same settings, such as the number of heads, which no weight shows:

    networks = {"encoder": encoder, "target": target, "predictor": predictor}
    start_from("runs/demo/pretrain/checkpoints", networks)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import nn

from vjepa.errors import UserError, announce, damage_as_error
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.card import read_card
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.checksums import check_numbers
from vjepa.weights.family import Family
from vjepa.weights.files import CheckpointError, State, as_checkpoint_error, load_strictly
from vjepa.weights.heads import PREDICTOR_HEADS
from vjepa.weights.load import Weights, load_encoder, load_predictor
from vjepa.weights.released import HEADS, LEVELS
from vjepa.weights.settings import settings
from vjepa.weights.source import read_source

Configs = dict[str, dict]
"""By network, the settings that its constructor takes."""


def start_from(source: str | Path, networks: Mapping[str, nn.Module]) -> None:
    """Copy the weights in `source` into the networks `encoder`, `target` (averaged encoder) and `predictor`.

    source: a `.ckpt` of such a run, a folder of them, or whatever `load_encoder` reads. Raises UserError if
    it holds networks of other settings, and CheckpointError if it cannot be read or a tensor does not fit.
    """
    source = checkpoint_in(source)
    configs, state = read_networks(source, networks["encoder"].config, networks["predictor"].config)
    with damage_as_error(source, CheckpointError):
        check_same_configs(networks, configs, source)
    # Strictly, since a missing key would leave a part of a network at its random start.
    load_strictly(nn.ModuleDict(networks), state, source)


@as_checkpoint_error
def read_networks(
    source: str | Path,
    encoder: EncoderConfig = EncoderConfig(),
    predictor: PredictorConfig = PredictorConfig(),
) -> tuple[Configs, State]:
    """Settings and weights of the networks in a file or a Hugging Face directory.

    encoder, predictor: Of the recipe, whose heads and levels are those of files of unpublished sizes.
    """
    found = read_source(source)
    if found.family is Family.LIGHTNING:
        state = found.content["state_dict"]
        check_numbers(found.path, state)
        return found.content.get("networks", {}), state
    # A run goes on with both encoders: the trained one and its moving average.
    heads = None if encoder.width in HEADS else encoder.heads
    levels = None if encoder.depth in LEVELS else encoder.levels or None
    predictor_heads = None if predictor.width in PREDICTOR_HEADS else predictor.heads
    loaded = {
        "encoder": load_encoder(source, trained_in(source), heads, levels=levels),
        "target": load_encoder(source, "ema", heads, levels=levels),
        "predictor": load_predictor(source, predictor_heads),
    }
    return network_configs(loaded), nn.ModuleDict(loaded).state_dict()


def trained_in(source: str | Path) -> Weights:
    """Which encoder of a source the training goes on with: its average, if it holds no other."""
    parts = read_card(source).parts
    if "student" in parts or "ema" not in parts:
        return "student"
    announce(f"{source} holds one encoder, the averaged one; the training goes on with it")
    return "ema"


def network_configs(networks: Mapping[str, nn.Module]) -> Configs:
    """Settings that weights alone do not show, such as the number of heads. A checkpoint holds both."""
    # The target is a copy of the encoder, so it has the same settings.
    return {name: asdict(networks[name].config) for name in ("encoder", "predictor")}


def option(value: object) -> str:
    """A setting as a command line takes it."""
    # JSON writes true and null as YAML reads them.
    return json.dumps(value, separators=(",", ":")).strip('"')


def check_same_configs(networks: Mapping[str, nn.Module], loaded: Configs | None, source: str | Path) -> None:
    """Raise UserError for networks with other settings. Checkpoints that name no settings pass."""
    for name, config in network_configs(networks).items():
        # The shapes of weights do not show the number of heads or the layout of the rotary embedding. A
        # checkpoint of an older version has the defaults of the settings that it does not name.
        others = asdict(settings(type(networks[name].config), (loaded or {}).get(name, config)))
        # How weights began does not matter any more, and foreign files do not say it.
        others.pop("init_std")
        if others.get("target_width") and not config["target_width"]:
            raise UserError(
                f"{source} was distilled, and its predictor predicts a teacher's tokens; go on with "
                "`vjepa fit distil`, or give weights of a pretraining or a cooldown"
            )
        different = {key: value for key, value in others.items() if value != config[key]}
        if different:
            raise UserError(
                f"{source} holds another {name} than model.{name}: {different}; give it the same settings "
                f"({' '.join(f'--model.{name}.{key} {option(value)}' for key, value in different.items())})"
            )
