"""Files of weights that are damaged or of another program: one sentence that names the file."""

import json

import pytest
import torch
from safetensors.torch import save_file

from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_encoder

CONFIG = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8, tubelet=2)
INFO = {"stage": "pretrain", "clip": {"frames": 4, "fps": 5.0, "size": 32}}


def write(path, description, scale=1.0):
    """An export with this description, or this text in its place."""
    weights = {f"ema.{key}": value * scale for key, value in Encoder(CONFIG).state_dict().items()}
    text = description if isinstance(description, str) else json.dumps(description)
    save_file(weights, path, metadata={"vjepa": text})
    return path


def described(info=INFO, **changes):
    return {"parts": {"ema": encoder_part(Encoder(CONFIG)).description | changes}, "info": info}


def refusal(call, source):
    with pytest.raises(CheckpointError) as error:
        call(source)
    assert str(source) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "text", ["{broken", "[1]", "5", "null", "{}", '{"parts": ["ema"]}', '{"parts": {"ema": 1}}']
)
def test_a_description_that_is_none(tmp_path, text):
    refusal(read_card, write(tmp_path / "a.safetensors", text))


@pytest.mark.parametrize(
    "info",
    [
        {"clip": {"frames": -4, "fps": 5.0, "size": 32}},
        {"clip": {"frames": 4, "fps": float("nan"), "size": 32}},
        {"clip": {"frames": "4", "fps": 5.0, "size": 32}},
        {"clip": {"frames": 4}},
        {"scores": {"accuracy": "high"}},
        {"notes": 5},
    ],
)
def test_facts_of_another_type(tmp_path, info):
    refusal(read_card, write(tmp_path / "a.safetensors", described(info)))


@pytest.mark.parametrize(
    "change", [{"width": 10**9}, {"depth": 10**7}, {"heads": 0}, {"width": "24"}, {"rope": "x"}, {"more": 1}]
)
def test_a_network_that_cannot_be_built(tmp_path, change):
    refusal(load_encoder, write(tmp_path / "a.safetensors", described(**change)))


def test_weights_that_are_no_numbers(tmp_path):
    told = refusal(load_encoder, write(tmp_path / "a.safetensors", described(), scale=float("nan")))
    assert "NaN" in told


def test_text_as_a_pickle_recommends_nothing(tmp_path):
    path = tmp_path / "a.pt"
    path.write_text("<!DOCTYPE html><html>404</html>")
    assert "weights_only" not in refusal(load_encoder, path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"model_type": "vjepa2"}'])
def test_a_broken_hugging_face_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    refusal(load_encoder, tmp_path)


def test_a_run_folder_names_the_file_to_give(tmp_path):
    (tmp_path / "cooldown").mkdir()
    write(tmp_path / "cooldown/model.safetensors", described())
    assert "cooldown/model.safetensors" in refusal(load_encoder, tmp_path)


def test_meta_networks_that_are_none(tmp_path):
    torch.save({"target_encoder": 5}, tmp_path / "a.pt")
    refusal(read_card, tmp_path / "a.pt")
