"""Files of weights that are damaged or of another program: one sentence that names the file."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.weights.meta_files import meta_encoder
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.training.warm_start import read_networks
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part
from vjepa.weights.files import CheckpointError, load_strictly, weights_digest
from vjepa.weights.huggingface import read_tensors
from vjepa.weights.load import load_encoder, load_probe

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


def flipped(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def places(path, tensor):
    """Where the first, middle and last byte of a tensor are in a file."""
    data = tensor.numpy().tobytes()
    start = path.read_bytes().index(data)
    return start, start + len(data) // 2, start + len(data) - 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_changed_bit_of_a_tensor_is_found(tmp_path, place):
    path = tmp_path / "vitl.pt"
    torch.manual_seed(0)
    config = EncoderConfig(width=384, depth=1, heads=6, mlp_width=48, patch=8)
    content = {"target_encoder": meta_encoder(Encoder(config)), "opt": {"average": torch.randn(50)}}
    torch.save(content, path)
    whole = weights_digest(load_encoder(path))
    flipped(path, places(path, content["opt"]["average"])[place])
    assert weights_digest(load_encoder(path)) == whole  # what is not needed is not read
    flipped(path, places(path, content["target_encoder"]["module.backbone.blocks.0.mlp.fc2.weight"])[place])
    assert "1 of 16 tensors do not agree with their checksums, first blocks.0.mlp" in refusal(
        load_encoder, path
    )


def test_damage_is_found_in_every_kind_of_torch_file(tmp_path):
    numbers = torch.randn(50)
    lightning = {"pytorch-lightning_version": "2", "state_dict": {"a": numbers}, "networks": {}}
    files = {
        "a.ckpt": (lightning, read_networks),
        "b.pt": ({"classifiers": [{"linear.weight": numbers}]}, load_probe),
    }
    files["pytorch_model.bin"] = ({"encoder.a": numbers}, read_tensors)
    for name, (content, reader) in files.items():
        path = tmp_path / name
        torch.save(content, path)
        flipped(path, places(path, numbers)[1])
        assert "checksums" in refusal(reader, path)


def test_a_damaged_list_of_tensors_is_found(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"target_encoder": {"norm.weight": torch.ones(2)}}, path)
    flipped(path, path.read_bytes().index(b"norm.weight") + 2)
    assert "is damaged" in refusal(read_card, path)


def test_a_file_without_checksums_loads(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"pytorch-lightning_version": "2", "state_dict": {"a": torch.ones(3)}}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_networks(tmp_path / "a.pt")[1]["a"], torch.ones(3))


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_not_cut_to_fit(tmp_path, kind):
    encoder = Encoder(CONFIG)
    state = encoder.state_dict() | {"norm.weight": torch.ones(24).to(kind)}
    with pytest.raises(CheckpointError, match=f"norm.weight holds {str(kind)[6:]}.*expected floats"):
        load_strictly(encoder, state, tmp_path / "a")


def test_views_of_one_storage_are_compared_as_a_whole(tmp_path):
    path = tmp_path / "a.pt"
    whole = torch.randn(50)
    content = {
        "pytorch-lightning_version": "2",
        "state_dict": {"a": whole[:20], "b": whole[20:]},
        "networks": {},
    }
    torch.save(content, path)
    assert torch.equal(read_networks(path)[1]["b"], whole[20:])
    flipped(path, places(path, whole)[1])
    assert "2 of 2 tensors" in refusal(read_networks, path)
