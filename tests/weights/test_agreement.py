"""`weights info` and the loaders agree: what is told to be in a file is loaded from it, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.weights.meta_files import meta_ac_predictor, meta_probe, sines
from tests.weights.test_families import (
    BARE,
    CONFIG,
    NO_WEIGHTS,
    REFUSED,
    SMALL,
    SUFFIXES,
    WIDTH,
    hf_folder,
    hf_tensors,
    networks,
    networks21,
    safetensors_bytes,
    torch_bytes,
)
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.card import Card
from vjepa.weights.export import encoder_part, export, probe_part
from vjepa.weights.files import CheckpointError
from vjepa.weights.info import LOADERS, card_or_error


def without(content: dict, network: str, word: str) -> dict:
    kept = {key: value for key, value in content[network].items() if word not in key}
    return content | {network: kept}


def each(content: dict, change) -> dict:
    """A file of Meta's with every tensor changed."""
    networks = {key: value for key, value in content.items() if isinstance(value, dict)}
    return content | {
        name: {key: change(value) for key, value in state.items()} for name, state in networks.items()
    }


WHOLE = networks()
PROBE = meta_probe(AttentiveProbe(ProbeConfig(1, 16), 32, 5))
AC = meta_ac_predictor(ACPredictor(ACPredictorConfig(width=96, depth=1, heads=16, mlp_width=96), SMALL))
OWN_WIDTH = {key: value[..., :24] if key.endswith("norm.weight") else value for key, value in BARE.items()}
LOADABLE = {
    "whole": (WHOLE, {"ema", "student", "predictor"}),
    "half": (each(WHOLE, Tensor.half), {"ema", "student", "predictor"}),
    "NumPy beside": (WHOLE | {"loss": np.float64(0.3), "rng": np.arange(3)}, {"ema", "student", "predictor"}),
    "zero positions": (networks(3, sines(2048, WIDTH)), {"ema", "student", "predictor"}),
    "None": (WHOLE | {"target_encoder": None, "predictor": None, "opt": None}, {"student"}),
    "part of a predictor": (without(WHOLE, "predictor", "mask_tokens"), {"ema", "student"}),
    "a surplus tensor": (
        WHOLE | {"encoder": WHOLE["encoder"] | {"more": torch.ones(2)}},
        {"ema", "predictor"},
    ),
    "another shape": (WHOLE | {"target_encoder": OWN_WIDTH}, {"student", "predictor"}),
    "probe": ({"classifiers": [PROBE]}, {"probe"}),
    "actions": (WHOLE | {"predictor": AC}, {"ema", "student", "ac_predictor"}),
    "actions alone": ({"predictor": AC}, {"ac_predictor"}),
    "2.1": (networks21(), {"ema", "student", "predictor"}),
    "2.1, distilled": (networks21(True), {"ema", "student", "predictor"}),
    "2.1 of one network": (WHOLE | {"target_encoder": networks21()["target_encoder"]}, {"ema", "predictor"}),
    "several probes": ({"classifiers": [PROBE] * 3}, {"probe"}),
}
"""Content of a torch file -> the parts that are loaded from it."""
NOTHING = {
    "int8": each(WHOLE, lambda value: value.to(torch.int8)),
    "no encoder's": {"target_encoder": {"a": torch.ones(2)}},
    "part of a probe": {"classifiers": [{"module.linear.weight": torch.ones(2, 2)}]},
    "no probe": {"classifiers": []},
    "lists": {"encoder": {1: 2}, "target_encoder": [1]},
    "V-JEPA 1 or 2": networks(3, sines(300, WIDTH)),
    **{name: content for name, (content, _) in REFUSED.items()},
}


def told_and_loaded(path: Path) -> set[str]:
    """The parts that `weights info` names, which must be those that the loaders take."""
    card = card_or_error(path)
    told = set(card.parts) if isinstance(card, Card) else set()
    loaded = {part for part, load in LOADERS.items() if is_loaded(load, path)}
    assert told == loaded, str(card)
    return told


def is_loaded(load, path: Path) -> bool:
    try:
        network = load(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False
    assert not any(value.is_meta for value in network.state_dict().values())
    return True


@pytest.mark.usefixtures("small_widths")
@pytest.mark.parametrize("name", LOADABLE)
def test_what_info_tells_is_loaded(tmp_path, name):
    content, parts = LOADABLE[name]
    for suffix in SUFFIXES:
        path = tmp_path / f"subject{suffix}"
        torch.save(content, path)
        assert told_and_loaded(path) == parts


@pytest.mark.parametrize("name", [*NOTHING, *NO_WEIGHTS])
def test_what_info_refuses_nothing_loads(tmp_path, name):
    for suffix in SUFFIXES:
        path = tmp_path / f"subject{suffix}"
        path.write_bytes(torch_bytes(NOTHING[name]) if name in NOTHING else NO_WEIGHTS[name][0])
        assert told_and_loaded(path) == set()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exports(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    other = encoder_part(Encoder(EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)))
    wrong = type(other)(other.module, other.description | {"depth": 2})
    parts = {
        "ema": encoder_part(Encoder(SMALL)),
        "probe": probe_part(AttentiveProbe(ProbeConfig(1, 4), 24, 3)),
    }
    export(path, parts | {"student": wrong}, {})
    assert told_and_loaded(path) == {"ema", "probe"}
    assert "student cannot be loaded" in str(card_or_error(path))


def test_folders(tmp_path):
    state = hf_tensors()
    contents = {"whole": state, "less": dict(list(state.items())[1:]), "none": {"a": torch.ones(1)}}
    folders = [
        hf_folder(tmp_path / name, CONFIG, **{"model.safetensors": safetensors_bytes(tmp_path, content)})
        for name, content in contents.items()
    ]
    # Such a folder holds one encoder, which is loaded whatever is asked for.
    assert [bool(isinstance(card_or_error(folder), Card)) for folder in folders] == [True, False, False]
    assert [is_loaded(LOADERS["ema"], folder) for folder in folders] == [True, False, False]
    assert not any(is_loaded(LOADERS["predictor"], folder) for folder in folders)
