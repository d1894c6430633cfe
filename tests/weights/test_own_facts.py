"""What stands under our name in a file is read once, through a reader that believes nothing."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.weights.test_families import (
    CONFIG,
    SMALL,
    hf_folder,
    hf_tensors,
    networks,
    safetensors_bytes,
    told,
    torch_bytes,
)
from vjepa.models.encoder import Encoder
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export, read_description
from vjepa.weights.facts import ClipFacts
from vjepa.weights.files import CheckpointError
from vjepa.weights.info import card_or_error
from vjepa.weights.load import load_encoder, load_predictor
from vjepa.weights.out.convert import convert
from vjepa.weights.out.diff import diff
from vjepa.weights.probe_schema import known_schema


def within(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


CIRCLE: dict = {"parts": {}}
CIRCLE["info"] = CIRCLE
WIDE: list = [0] * 100
for _ in range(10):
    WIDE = [WIDE] * 100
PLAIN_LIES = {
    "a text": "ema",
    "a list": [1],
    "null": None,
    "parts": {"parts": [1]},
    "a part": {"parts": {"ema": 3}},
    "null parts": {"parts": None},
    "info": {"info": 3},
    "scores": {"info": {"scores": [1]}},
    "a score": {"info": {"scores": {"a": "good"}}},
    "notes": {"info": {"notes": "a text"}},
    "a note": {"info": {"notes": [1]}},
    "deep": {"info": {"data": within(100)}},
    "a number": {"info": {"steps": 10**400}},
}
LIES = PLAIN_LIES | {
    "a tensor": {"info": {"steps": torch.ones(1)}},
    "bytes": {"info": {"data": b"abc"}},
    "a set": {"info": {"data": {1}}},
    "names": {"info": {1: 2}},
    "a tuple": {"parts": {"ema": {"levels": (1,)}}},
    "a circle": CIRCLE,
    "wide": {"info": {"data": WIDE}},
}


@pytest.mark.parametrize("name", [name for name in LIES if name != "null"])
def test_lies_in_a_file_of_torch_are_one_sentence_everywhere(tmp_path, capsys, name):
    path = tmp_path / "own.pt"
    torch.save(networks() | {"vjepa": LIES[name]}, path)
    sentences = {told(reader, path) for reader in (load_encoder, load_predictor, read_card, known_schema)}
    assert len(sentences) == 1 and "its description is damaged" in sentences.pop()
    assert "description is damaged" in str(card_or_error(path))
    for command in (
        lambda: convert(path, to="vjepa", out=tmp_path / "o.safetensors"),
        lambda: diff(path, path),
    ):
        with pytest.raises(CheckpointError, match="its description is damaged"):
            command()


@pytest.mark.parametrize("name", PLAIN_LIES)
def test_lies_in_a_config_are_one_sentence(tmp_path, name):
    text = json.dumps(CONFIG | {"vjepa": PLAIN_LIES[name]})
    folder = hf_folder(
        tmp_path / "hf", text, **{"model.safetensors": safetensors_bytes(tmp_path, hf_tensors())}
    )
    assert "damaged" in told(read_card, folder) and "damaged" in told(load_encoder, folder)


def test_null_counts_as_not_said(tmp_path):
    source = tmp_path / "own.safetensors"
    export(
        source, {"ema": encoder_part(Encoder(SMALL))}, {"scores": None, "notes": None, "stage": "pretrain"}
    )
    assert read_description(source)["info"] == {"stage": "pretrain"}
    for to, name in (("vjepa", "again.safetensors"), ("meta", "again.pt")):
        convert(source, to=to, out=tmp_path / name)
        assert (read_card(tmp_path / name).scores, read_card(tmp_path / name).stage) == ({}, "pretrain")


def test_a_config_wins_over_the_clip_under_our_name(tmp_path):
    export(
        tmp_path / "own.safetensors",
        {"ema": encoder_part(Encoder(SMALL))},
        {"clip": {"frames": 8, "fps": 5.0, "size": 64}},
    )
    convert(tmp_path / "own.safetensors", to="hf", out=tmp_path / "hf")
    card = read_card(tmp_path / "hf")
    assert card.clip == ClipFacts(8, 5.0, 64) and not any("frame rate" in note for note in card.notes)
    config = json.loads((tmp_path / "hf/config.json").read_text())
    for change, clip in (
        ({"crop_size": 32}, ClipFacts(8, 4.0, 32)),
        ({"frames_per_clip": 16}, ClipFacts(16, 4.0, 64)),
    ):
        (tmp_path / "hf/config.json").write_text(json.dumps(config | change))
        card = read_card(tmp_path / "hf")
        assert card.clip == clip and any("no frame rate" in note for note in card.notes)


def test_the_clip_of_a_probe_is_that_of_the_config_too(tmp_path):
    clip = {"frames": 8, "fps": 5.0, "size": 64}
    own = {"parts": {"probe": {"schema": {"names": ["a"], "clip": clip}}}, "info": {}}
    config = CONFIG | {"frames_per_clip": 8, "crop_size": 64, "vjepa": own}
    folder = hf_folder(tmp_path / "hf", config)
    assert known_schema(folder)["clip"] == clip
    (folder / "config.json").write_text(json.dumps(config | {"crop_size": 32}))
    assert known_schema(folder) == {"names": ["a"]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("hidden_act", None),
        ("layer_norm_eps", 1e-5),
        ("in_chans", 1),
        ("qkv_bias", False),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
    ],
)
def test_a_config_of_another_computation_is_refused(tmp_path, key, value):
    same = {"hidden_act": "gelu", "layer_norm_eps": 1e-06, "in_chans": 3, "qkv_bias": True}
    weights = {"model.safetensors": safetensors_bytes(tmp_path, hf_tensors())}
    assert load_encoder(hf_folder(tmp_path / "same", CONFIG | same, **weights)).config.patch == 8
    folder = hf_folder(tmp_path / "hf", CONFIG | {key: value}, **weights)
    for reader in (load_encoder, read_card):
        assert f"config.json says {key}=" in told(reader, folder)


@pytest.fixture
def impatient():
    """A test that waits for ever fails."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "pipe",
    [
        "config.json",
        "model.safetensors",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
    ],
)
def test_a_pipe_in_a_folder_is_never_opened(tmp_path, pipe):
    folder = hf_folder(tmp_path / "hf")
    if pipe.startswith("model-"):
        index = {"weight_map": {"a": pipe}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if pipe.endswith(".index.json"):
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tmp_path, hf_tensors()))
    (folder / pipe).unlink(missing_ok=True)
    os.mkfifo(folder / pipe)
    for reader in (read_card, load_encoder):
        assert "pipe" in told(reader, folder) or pipe == "config.json"


@pytest.mark.usefixtures("impatient")
def test_a_pipe_in_a_run_is_never_opened(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    os.mkfifo(run / "model.safetensors")
    (tmp_path / "link.pt").symlink_to(run / "model.safetensors")
    for source in (run, tmp_path / "link.pt", Path(run / "model.safetensors")):
        with pytest.raises(CheckpointError, match=r"pipe|no config\.json"):
            read_card(source)


def test_shards_of_any_name_are_those_of_the_index(tmp_path):
    index = json.dumps({"weight_map": {"a": "weird.safetensors"}}).encode()
    files = {
        "weird.safetensors": safetensors_bytes(tmp_path, hf_tensors()),
        "model.safetensors.index.json": index,
    }
    assert load_encoder(hf_folder(tmp_path / "hf", **files)).config.patch == 8
    for name in ("config.json", "weird.bin"):
        text = json.dumps({"weight_map": {"a": name}})
        (tmp_path / "hf/model.safetensors.index.json").write_text(text)
        (tmp_path / "hf/weird.bin").write_bytes(torch_bytes(hf_tensors()))
        assert f"names {name}, which is" in told(load_encoder, tmp_path / "hf")
