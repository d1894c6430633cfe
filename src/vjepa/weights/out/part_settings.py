"""The settings of a network that decide what it computes, by name, for comparing two descriptions of it.

settings_of("predictor", description)     # {"config.width": 384, "config.heads": 12, ...}
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vjepa.models.ac_predictor import ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicyConfig
from vjepa.models.decoder import DecoderConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.models.probe import ProbeConfig
from vjepa.models.state_reader import StateReaderConfig
from vjepa.weights.settings import settings, without_lists

CONFIGS: dict[str, type] = {
    "predictor": PredictorConfig,
    "ac_predictor": ACPredictorConfig,
    "probe": ProbeConfig,
    "policy": ClonedPolicyConfig,
    "state_reader": StateReaderConfig,
    "decoder": DecoderConfig,
    "anticipation": ProbeConfig,
}
"""Part -> the settings of its network, in an export's description of it."""
READ_OF_ENCODER = ("width", "rope", "rope_grid", "modality")
"""What a predictor takes from its encoder's settings, besides the number of levels, which its shapes show."""
ELSEWHERE = ("config.init_std", "init_std", "schema.encoder", "encoder_source")
"""What decides how a network began or where its encoder was, and not what it computes."""


def settings_of(part: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in an export's description of a part; those of nested groups have dotted names.

    Those that a file of an older version does not name have their defaults.
    """
    if part in ("ema", "student"):
        whole: dict[str, Any] = asdict(settings(EncoderConfig, description))
    else:
        whole = dict(description)
    if part in CONFIGS:
        whole["config"] = asdict(settings(CONFIGS[part], description["config"]))
    if part in ("predictor", "ac_predictor"):
        encoder = settings(EncoderConfig, description["encoder"])
        whole["encoder"] = {key: getattr(encoder, key) for key in READ_OF_ENCODER}
    return {key: value for key, value in flat(whole).items() if key not in ELSEWHERE}


def flat(group: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The values of nested groups by dotted names."""
    found: dict[str, Any] = {}
    for key, value in group.items():
        inner = flat(value, f"{name}{key}.") if isinstance(value, Mapping) else {f"{name}{key}": value}
        found |= {path: without_lists(leaf) for path, leaf in inner.items()}
    return found


def different_settings(
    part: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Setting -> its two values, where both descriptions of a part say it and differ."""
    one = settings_of(part, first)
    other = settings_of(part, second)
    return {key: (one[key], other[key]) for key in one if key in other and one[key] != other[key]}


def same_settings(part: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two descriptions of a part do not contradict."""
    return not different_settings(part, first, second)
