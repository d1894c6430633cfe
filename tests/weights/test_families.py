"""The family of a file of weights is found from its content: it loads, or one sentence says what it is."""

import argparse
import gzip
import io
import json
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vjepa
from tests.weights.meta_files import meta_ac_predictor, meta_encoder, meta_predictor, meta_probe, sines
from vjepa.errors import counted
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.planning.load import load_world_model
from vjepa.training.warm_start import read_networks
from vjepa.weights.card import read_card
from vjepa.weights.export import ac_predictor_part, encoder_part, export
from vjepa.weights.facts import ActingFacts
from vjepa.weights.family import Family, family_of
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.info import card_or_error, info
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe

WIDTH = 384
SMALL = EncoderConfig(width=WIDTH, depth=1, heads=6, mlp_width=48, patch=8)
"""Of a published width, so that its heads are known."""
SUFFIXES = (".pt", ".pth", ".pth.tar", ".bin", ".ckpt", ".safetensors", "")
READERS: dict[str, Callable] = {
    "card": read_card,
    "load": vjepa.load,
    "encoder": load_encoder,
    "predictor": load_predictor,
    "probe": load_probe,
    "ac predictor": load_ac_predictor,
    "init_from": read_networks,
}


def networks(mask_tokens: int = 2, positions: torch.Tensor | None = None, image: bool = False) -> dict:
    """A file of Meta's: both encoders and the predictor."""
    torch.manual_seed(0)
    encoder = meta_encoder(Encoder(SMALL), "")
    config = PredictorConfig(width=24, depth=1, heads=12, mlp_width=48, mask_tokens=mask_tokens)
    predictor = meta_predictor(Predictor(config, SMALL), "")
    if image:
        encoder["patch_embed.proj.weight"] = encoder["patch_embed.proj.weight"][:, :, 0]
    if positions is not None:
        encoder["pos_embed"] = positions
        predictor["predictor_pos_embed"] = positions[..., :24]
    wrapped = {
        name: {f"module.backbone.{key}": value for key, value in network.items()}
        for name, network in (("encoder", encoder), ("target_encoder", encoder), ("predictor", predictor))
    }
    return wrapped | {"opt": {}, "epoch": 3}


def with_tensor(content: dict, network: str, name: str) -> dict:
    return content | {network: content[network] | {f"module.backbone.{name}": torch.ones(2)}}


LEVELS = replace(
    SMALL,
    depth=2,
    rope="interleaved",
    rope_grid=32,
    levels=(0, 1),
    image_tokenizer=True,
    modality=True,
)
"""An encoder of V-JEPA 2.1, of so few blocks that each is a level."""


def networks21(distilled: bool = False) -> dict:
    """A file of V-JEPA 2.1: as trained, or as distilled, which holds another averaged encoder."""
    torch.manual_seed(0)
    config = PredictorConfig(width=24, depth=1, heads=12, mlp_width=48, mask_tokens=8, dense=True)
    predictor = Predictor(replace(config, target_width=56) if distilled else config, LEVELS)
    averaged = {"ema_encoder": meta_encoder(Encoder(LEVELS))} if distilled else {}
    both = {"encoder": meta_encoder(Encoder(LEVELS)), "target_encoder": meta_encoder(Encoder(LEVELS))}
    return averaged | both | {"predictor": meta_predictor(predictor), "opt": {}, "epoch": 3}


BARE = meta_encoder(Encoder(SMALL), "")
VERBS = {"module.verb_classifier.weight": torch.ones(2, 2)}
ANTICIPATION = "a probe of V-JEPA 2 that anticipates actions"
REFUSED = {
    "1": (networks(2, sines(1568, WIDTH)), "V-JEPA 1; its positions are added"),
    "1, probe": ({"classifier": {"module.linear.weight": torch.ones(2, 2)}}, "a probe of V-JEPA 1"),
    "I-JEPA": (networks(image=True), "I-JEPA; it sees single images"),
    "anticipation": ({"classifiers": [VERBS]}, ANTICIPATION),
    "bare": (BARE, "tensors of one network"),
    "bare in a state_dict": ({"state_dict": BARE}, "tensors of one network"),
    "timm": ({"cls_token": torch.ones(1, 1, 4), "patch_embed.proj.weight": torch.ones(4, 3, 16, 16)}, "timm"),
    "DINO": ({"teacher": {"backbone.cls_token": torch.ones(1, 1, 4)}}, "an image model"),
    "VideoMAE": ({"model": {"encoder.blocks.0.attn.q_bias": torch.ones(4)}}, "VideoMAE"),
    "other": ({"generator": {"conv.weight": torch.ones(2)}}, "no network that is known here but generator"),
    "empty": ({}, "no network that is known here; give"),
}
"""Content of a torch file -> what the sentence says it holds."""


def torch_bytes(content, **settings) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **settings)
    return file.getvalue()


def safetensors_bytes(folder: Path, tensors: dict, metadata: dict | None = None) -> bytes:
    save_file(tensors, folder / "tensors", metadata)
    return (folder / "tensors").read_bytes()


def zip_bytes(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def tar_bytes() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("vitl.pt"))
    return file.getvalue()


def npz_bytes() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


WHOLE = torch_bytes(networks())
NO_WEIGHTS = {
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "web page.*download it again"),
    "XML of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "JSON": (json.dumps({"weight_map": {"a": "b"}}).encode(), r"text \(JSON\)"),
    "text, cut in a letter": (("é" * 400).encode(), "a text and no weights"),
    "UTF-16": ("\ufeffnote".encode("utf-16"), "no weights that are known"),
    "empty": (b"", "is empty"),
    "zeros": (bytes(4096), "download is not finished"),
    "noise": (bytes(range(7, 256)) * 4, "no weights that are known"),
    "zip": (zip_bytes("model/weights.pt"), r"zip archive \(of model/weights.pt\)"),
    "TorchScript": (zip_bytes("net/data.pkl", "net/constants.pkl"), "TorchScript"),
    "torch.export": (zip_bytes("net/data/weights/weight_0", "net/archive_format"), r"torch\.export"),
    "tar": (tar_bytes(), "tar archive"),
    "gzip": (gzip.compress(WHOLE[:200]), "gzip.*unpack"),
    "npz": (npz_bytes(), r"\.npz"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "GGUF": (b"GGUF" + struct.pack("<I", 3), "GGUF"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x05", "ONNX"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(99), "an image"),
    "MP4": (struct.pack(">I", 24) + b"ftypisom" + bytes(99), "a video"),
    "cut torch file": (WHOLE[: len(WHOLE) // 2], "cut off"),
    "head of a torch file": (WHOLE[:40], "cut off"),
    "a whole network": (torch_bytes(torch.nn.Linear(1, 1)), "holds Python code"),
    "settings beside": (torch_bytes({"model": BARE, "args": argparse.Namespace(a=1)}), "argparse.Namespace"),
    "a list": (torch_bytes([1]), "holds a list"),
}
"""Bytes of a file -> what the sentence says."""


def told(reader: Callable, path: Path) -> str:
    """The sentence of a refusal, without the file's name."""
    with pytest.raises(CheckpointError) as caught:
        reader(path)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and "weights_only" not in sentence
    return sentence.replace(str(path), "FILE").replace(path.name, "FILE")


@pytest.mark.parametrize("content", [*REFUSED, *NO_WEIGHTS])
def test_whatever_its_ending_and_its_reader_a_file_gets_one_answer(tmp_path, content):
    if content in REFUSED:
        data, says = torch_bytes(REFUSED[content][0]), re.escape(REFUSED[content][1])
    else:
        data, says = NO_WEIGHTS[content]
    answers = set()
    for suffix in SUFFIXES:
        path = tmp_path / f"subject{suffix}"
        path.write_bytes(data)
        answers |= {told(reader, path) for reader in READERS.values()}
    (answer,) = answers
    assert re.search(says, answer), answer


def same(ours: torch.nn.Module, other: torch.nn.Module) -> bool:
    return weights_digest(ours) == weights_digest(other)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_metas_loads_whatever_its_ending(tmp_path, suffix, new):
    path = tmp_path / f"latest{suffix}"
    torch.save(networks(), path, _use_new_zipfile_serialization=new)
    torch.manual_seed(0)
    expected = Encoder(SMALL)
    assert same(load_encoder(path), expected) and read_card(path).family == "Meta, V-JEPA 2"
    recipe = PredictorConfig(width=24, depth=1, heads=12, mlp_width=48)
    assert read_networks(path, predictor=recipe)[0]["predictor"]["mask_tokens"] == 2
    assert "holds V-JEPA 2, and no classifier" in told(load_probe, path)
    assert "a predictor of masked tokens" in told(load_ac_predictor, path)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth.tar", ".safetensors", ""])
def test_a_file_of_v_jepa_2_1_loads_whatever_its_ending(tmp_path, suffix, distilled):
    path = tmp_path / f"latest{suffix}"
    content = networks21(distilled)
    torch.save(content, path)
    encoder = load_encoder(path)
    averaged = content["ema_encoder" if distilled else "target_encoder"]
    assert encoder.config == LEVELS
    assert torch.equal(encoder.norms[1].weight, averaged["module.backbone.norms_block.1.weight"])
    assert torch.equal(encoder.blocks[1].norm1.bias, averaged["module.backbone.blocks.1.norm1.bias"])
    assert not same(encoder, load_encoder(path, "student"))
    predictor = load_predictor(path, heads=12)
    assert predictor.config.target_width == (56 if distilled else None) and predictor.config.mask_tokens == 8
    card = read_card(path)
    assert card.family == "Meta, V-JEPA 2.1" and {*card.parts} == {"ema", "student", "predictor"}
    details = dict(card.details)
    assert details["rotary"] == "interleaved: as V-JEPA 2.1 was trained with, stretched to 32 x 32 places"
    assert details["levels"] == "blocks 0 and 1"
    predicts = "a teacher's tokens of width 56" if distilled else f"2 levels of width {WIDTH}"
    assert details["predictor"].startswith(f"8 mask tokens; predicts {predicts}")


@pytest.mark.parametrize("name", ["img_mod_embed", "norms_block.0.weight", "patch_embed_img.proj.weight"])
def test_a_part_of_v_jepa_2_1_is_refused(tmp_path, name):
    """A network that is neither: read as the one or the other, it would give other features silently."""
    torch.save(with_tensor(networks(), "target_encoder", name), tmp_path / "vitl.pt")
    for weights in ("ema", "student"):
        with pytest.raises(CheckpointError) as error:
            load_encoder(tmp_path / "vitl.pt", weights)
        assert "vitl.pt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_and_a_checkpoint_are_known_by_their_content(tmp_path, suffix):
    encoder = Encoder(SMALL)
    path = tmp_path / f"own{suffix}"
    export(path, {"ema": encoder_part(encoder)}, {})
    assert same(load_encoder(path), encoder) and "ema" in vjepa.load(path).files
    torch.save({"pytorch-lightning_version": "2", "state_dict": {"a": torch.ones(1)}, "networks": {}}, path)
    assert read_networks(path) == ({}, {"a": torch.ones(1)})
    for reader in (load_encoder, load_predictor, load_probe, load_ac_predictor, read_card):
        assert "a Lightning checkpoint" in told(reader, path)


@pytest.mark.usefixtures("small_widths")
@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
@pytest.mark.parametrize("suffix", [".pt", ".pth.tar", ".safetensors", ""])
def test_released_action_predictors_load_whatever_their_ending(tmp_path, suffix, prefix):
    torch.manual_seed(0)
    config = ACPredictorConfig(width=96, depth=1, heads=16, mlp_width=96)
    predictor = ACPredictor(config, SMALL)
    state = meta_ac_predictor(predictor, prefix)
    path = tmp_path / f"vjepa2-ac-vitg{suffix}"
    # Its encoder holds positions, and nothing but the predictor says that they are unused.
    torch.save(networks(2, sines(9, WIDTH)) | {"predictor": state}, path)
    assert same(load_ac_predictor(path), predictor)
    assert load_world_model(path, path, size=64).schema.action_dims == 7
    assert "a predictor of what actions do" in told(load_predictor, path)
    assert set(read_card(path).parts) == {"ema", "student", "ac_predictor"}


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_released_probes_load_whatever_their_ending(tmp_path, suffix, prefix):
    probe = AttentiveProbe(ProbeConfig(2, 16), 32, 5)
    path = tmp_path / f"ssv2-vitl-16x2x3{suffix}"
    torch.save({"classifiers": [meta_probe(probe, prefix)] * 2, "opt": None, "epoch": 3}, path)
    tokens = torch.randn(1, 7, 32)
    with torch.no_grad():
        assert torch.equal(load_probe(path, heads=16)(tokens), probe(tokens))
    assert read_card(path).sizes == {"probe": sum(value.numel() for value in probe.parameters())}


def test_unused_positions_change_nothing(tmp_path):
    torch.save(networks(10), tmp_path / "without.pt")
    torch.save(networks(10, sines(8192, WIDTH)), tmp_path / "with.pt")
    clip = torch.randn(1, 3, 2, 16, 16)
    with torch.no_grad():
        tokens = [load_encoder(tmp_path / name)(clip) for name in ("without.pt", "with.pt")]
    assert torch.equal(*tokens)
    without, with_positions = [load_predictor(tmp_path / name, 12) for name in ("without.pt", "with.pt")]
    assert same(without, with_positions)


@pytest.mark.parametrize("name", ["pos_embed2", "cls_token", "blocks.0.norm3.weight", "register_tokens"])
def test_nothing_but_positions_may_be_left_over(tmp_path, name):
    torch.save(with_tensor(networks(), "target_encoder", name), tmp_path / "vitl.pt")
    assert f"holds '{name}'" in told(load_encoder, tmp_path / "vitl.pt")


ZEROS = torch.zeros(1, 196, WIDTH)
OTHERS = sines(300, WIDTH)


@pytest.mark.parametrize(
    ("mask_tokens", "positions", "name", "family"),
    [
        (2, None, "vitl16.pth.tar", Family.V2),  # V-JEPA 1 cannot do without positions
        (10, sines(1568, WIDTH), "latest.pt", Family.V2),
        (2, sines(1568, WIDTH), "latest.pt", Family.V1),
        (2, sines(4608, WIDTH), "vith16-384.pth.tar", Family.V1),
        (2, OTHERS, "latest.pt", Family.V1),
        (3, OTHERS, "latest.pt", Family.V1_OR_V2),
        (3, OTHERS, "vitl.pt", Family.V2),
        (3, OTHERS, "vitl16.pth.tar", Family.V1),
        (3, sines(2048, WIDTH), "latest.pt", Family.V2),
        (3, ZEROS, "latest.pt", Family.V2),
        (3, ZEROS, "vitl16.pth.tar", Family.V1_OR_V2),
        (2, sines(8192, WIDTH), "vitl.pt", Family.V1_OR_V2),
        (3, sines(3, 1408), "latest.pt", Family.V2),
        (2, None, "vjepa2_1_vitl.pt", Family.V21),
        (2, sines(1568, WIDTH), "V-JEPA2_1.PT", Family.V21),
        (3, OTHERS, "ViTL.pt", Family.V2),
        (2, None, "vjepa2-16x2.pt", Family.V2),
    ],
)
def test_video_networks_are_told_apart_by_all_that_the_file_says(mask_tokens, positions, name, family):
    assert family_of(networks(mask_tokens, positions), name) is family


def test_a_file_that_does_not_say_is_refused_until_the_user_says(tmp_path, capsys):
    path = tmp_path / "vitl16.pth.tar"
    torch.save(networks(3, ZEROS), path)
    sentence = told(load_encoder, path)
    assert "family='v-jepa-2'" in sentence and "ln -s FILE vjepa2-FILE" in sentence
    assert sentence == told(load_predictor, path) == told(read_networks, path)
    with pytest.raises(CheckpointError, match="give family='v-jepa-2'"):
        load_encoder(path, family="vjepa3")

    encoder = load_encoder(path, family="v-jepa-2")
    link = tmp_path / "vjepa2-vitl16.pth.tar"
    link.symlink_to(path.name)
    assert same(encoder, load_encoder(link)) and same(encoder, vjepa.load(path, family="v-jepa-2").encoder)
    assert same(encoder, vjepa.load(link).encoder)
    assert "is read as V-JEPA 2" in capsys.readouterr().err
    card = read_card(path)
    assert card.family == "Meta, V-JEPA 1 or V-JEPA 2" and "family='v-jepa-2'" in card.notes[-1]


def test_no_word_makes_another_architecture_of_a_file(tmp_path):
    torch.save(networks21(), tmp_path / "vjepa2-large.pt")
    encoder = load_encoder(tmp_path / "vjepa2-large.pt", family="v-jepa-2")
    assert encoder.config == LEVELS and encoder.config.rope == "interleaved"


CONFIG = {"model_type": "vjepa2", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 6}
CONFIG |= {"mlp_ratio": 0.125, "patch_size": 8, "tubelet_size": 2}


def hf_tensors() -> dict[str, torch.Tensor]:
    """An encoder's tensors under Hugging Face's names."""
    names = {"norm.": "layernorm.", "blocks.": "layer.", "patch_embed.": "embeddings.patch_embeddings."}
    state = {}
    for key, value in BARE.items():
        start = next(name for name in names if key.startswith(name))
        key = f"encoder.{names[start]}{key.removeprefix(start)}".replace("attn.", "attention.")
        if ".qkv." in key:
            pieces = zip(("query", "key", "value"), value.chunk(3), strict=True)
            state |= {key.replace("qkv", name): piece.clone() for name, piece in pieces}
        else:
            state[key] = value
    return state


def hf_folder(folder: Path, config: dict | str = CONFIG, **files: bytes) -> Path:
    folder.mkdir()
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_of_hugging_faces_loads_from_one_file_several_or_a_pickle(tmp_path):
    state = hf_tensors()
    first = dict(list(state.items())[:5])
    rest = {key: value for key, value in state.items() if key not in first}
    shards = {f"model-0000{i + 1}-of-00002.safetensors": tensors for i, tensors in enumerate((first, rest))}
    written = {name: safetensors_bytes(tmp_path, tensors) for name, tensors in shards.items()}
    index = json.dumps({"weight_map": {key: name for name, keys in shards.items() for key in keys}}).encode()
    folders = [
        hf_folder(tmp_path / "one", **{"model.safetensors": safetensors_bytes(tmp_path, state)}),
        hf_folder(tmp_path / "several", **written, **{"model.safetensors.index.json": index}),
        hf_folder(tmp_path / "pickle", **{"pytorch_model.bin": torch_bytes(state)}),
    ]
    torch.manual_seed(0)
    for folder in folders:
        assert load_encoder(folder).embed.weight.shape == (WIDTH, 384)
        assert read_card(folder).sizes == {"ema": sum(value.numel() for value in state.values())}
    one, *others = [weights_digest(load_encoder(folder)) for folder in folders]
    assert others == [one, one]

    (folders[1] / "model-00002-of-00002.safetensors").unlink()
    assert "names model-00002-of-00002.safetensors, one of 1 files that are not there" in told(
        load_encoder, folders[1]
    )
    (folders[1] / "model-00002-of-00002.safetensors").write_bytes(NO_WEIGHTS["LFS pointer"][0])
    assert "model-00002-of-00002.safetensors is a Git LFS pointer" in told(read_card, folders[1])
    for text in ("{", "[]", "{}", '{"weight_map": []}'):
        (folders[1] / "model.safetensors.index.json").write_text(text)
        assert re.search("index.json (is cut off|does not say which file)", told(load_encoder, folders[1]))
    file = folders[0] / "model.safetensors"
    assert f"give its folder, {folders[0]}" in told(load_encoder, file)
    file.write_bytes(file.read_bytes()[:-100])
    assert "model.safetensors is cut off" in told(load_encoder, folders[0])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"model_type": "vjepa2"', "cut off"),
        (
            {"model_type": "vjepa2", "hidden_size": 8},
            "lacks a number for num_hidden_layers, num_attention_heads",
        ),
        ({"model_type": "videomae"}, "model_type='videomae'"),
        ({"model_type": "dinov2"}, "model_type='dinov2'"),
        ({"architectures": []}, "model_type=None"),
        (CONFIG | {"use_modality_embeddings": True}, r"V-JEPA 2\.1"),
        (CONFIG, r"no model\.safetensors"),
    ],
)
def test_a_foreign_or_cut_folder_is_one_sentence(tmp_path, config, says):
    folder = hf_folder(tmp_path / "hf", config)
    for reader in (read_card, load_encoder, vjepa.load):
        assert re.search(says, told(reader, folder))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "holds no tensors; download it again"),
        ({"weight": torch.ones(2)}, "holds no tensors of V-JEPA 2, but weight; download it again"),
        ({"encoder.layer": 5}, "holds no tensors; download it again"),
    ],
)
def test_a_folder_without_tensors(tmp_path, content, says):
    folder = hf_folder(tmp_path / "hf", **{"pytorch_model.bin": torch_bytes(content)})
    assert {told(reader, folder) for reader in (read_card, load_encoder, load_probe)} == {f"FILE {says}"}


def test_an_export_beside_a_config_is_to_be_given_itself(tmp_path):
    file = hf_folder(tmp_path / "hf") / "model.safetensors"
    export(file, {"ema": encoder_part(Encoder(SMALL))}, {})
    assert "is a stage's export" in told(load_encoder, file.parent) == told(read_card, file.parent)
    assert load_encoder(file).config == SMALL


def test_a_folder_of_files_says_which_to_give(tmp_path):
    for folder, file in (("one", "vitl.pt"), ("two", "latest.pth.tar"), ("three", "own.safetensors")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes(b"")
        assert f"give a file, such as FILE/{file}" in told(load_encoder, tmp_path / folder)
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step=6.ckpt").write_bytes(b"")
    assert "the model.safetensors that its stage writes at the end" in told(load_encoder, checkpoints)
    (tmp_path / "run/model.safetensors").write_bytes(b"")
    assert f"give a file, such as {tmp_path}/run/model.safetensors" in told(load_encoder, checkpoints)


def test_a_folder_without_a_config_says_what_to_give(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert "a processor alone; download config.json" in told(load_encoder, tmp_path)
    hub = tmp_path / "models--facebook--vjepa2-vitl-fpc64-256"
    (hub / "snapshots/0123").mkdir(parents=True)
    (hub / "snapshots/0123/config.json").write_text("{}")
    assert "give FILE/snapshots/0123" in told(load_encoder, hub)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"embeddings.patch_embeddings.projection.weight": torch.ones(2)}, "without its config.json"),
        (BARE, "tensors of one network"),
        ({"visual.cls_token": torch.ones(2)}, "an image model"),
        ({"a": torch.ones(2)}, "no network that is known here"),
    ],
)
def test_safetensors_of_others_are_named(tmp_path, tensors, says):
    path = tmp_path / "model.pt"
    path.write_bytes(safetensors_bytes(tmp_path, tensors, {"format": "pt"}))
    answers = {told(reader, path) for reader in READERS.values()}
    assert len(answers) == 1 and says in answers.pop()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://example.org/vitl.pt", "fetch the file first"),
        ("vitl-of-ours.pt", "does not exist"),
        ("vitl.pt", "https://dl.fbaipublicfiles.com/vjepa2/vitl.pt, so fetch it first"),
        ("away/ssv2-vitl-16x2x3.pt", "https://dl.fbaipublicfiles.com/vjepa2/evals/ssv2-vitl-16x2x3.pt"),
    ],
)
def test_what_is_not_on_the_disk_says_how_to_fetch_it(source, says):
    for given in (source, Path(source)):  # a command line gives a Path, which writes `//` as `/`
        with pytest.raises(CheckpointError, match=re.escape(says)) as caught:
            load_encoder(given)
        assert source in str(caught.value)


def test_an_encoder_alone_says_how_to_read_it(tmp_path):
    content = networks()
    absent = {"target_encoder": None, "predictor": None, "opt": None}
    for others in ({}, absent):
        torch.save({"encoder": content["encoder"]} | others, tmp_path / "slim.pt")
        assert "give --weights student" in told(load_encoder, tmp_path / "slim.pt")
        assert "no 'predictor' but encoder; give another file" in told(load_predictor, tmp_path / "slim.pt")
        assert load_encoder(tmp_path / "slim.pt", "student").config == SMALL


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.module.", "model.", "encoder.", "module.model.encoder.", "_fsdp_wrapped_module.module."],
)
def test_what_a_wrapper_puts_before_a_name_is_dropped(tmp_path, prefix):
    for name, before in (("plain.pt", ""), ("wrapped.pt", prefix)):
        torch.save({"target_encoder": {f"{before}{key}": BARE[key] for key in BARE}}, tmp_path / name)
    assert same(load_encoder(tmp_path / "plain.pt"), load_encoder(tmp_path / "wrapped.pt"))


@pytest.mark.parametrize(
    "inserted",
    ["_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.", "_fsdp_wrapped_module._orig_mod."],
)
def test_what_a_wrapper_puts_into_the_names_of_blocks_is_dropped(tmp_path, inserted):
    torch.save({"target_encoder": BARE}, tmp_path / "plain.pt")
    wrapped = {key.replace("blocks.0.", f"blocks.0.{inserted}"): value for key, value in BARE.items()}
    torch.save({"target_encoder": wrapped}, tmp_path / "wrapped.pt")
    assert same(load_encoder(tmp_path / "plain.pt"), load_encoder(tmp_path / "wrapped.pt"))

    twice = wrapped | {"module.norm.weight": torch.zeros(WIDTH)}
    torch.save({"target_encoder": twice}, tmp_path / "twice.pt")
    assert "tensors of one name twice" in told(load_encoder, tmp_path / "twice.pt")


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_any_number_of_mask_tokens_is_read_in_its_order(tmp_path, count):
    content = networks(count)
    tokens = {f"module.backbone.mask_tokens.{i}": torch.full((1, 1, 24), float(i)) for i in range(count)}
    torch.save(content | {"predictor": content["predictor"] | tokens}, tmp_path / "a.pt")
    loaded = load_predictor(tmp_path / "a.pt", heads=12)
    assert loaded.mask_tokens[:, 0].tolist() == list(range(count))
    assert dict(read_card(tmp_path / "a.pt").details)["predictor"] == counted(count, "mask token")


def test_what_else_a_file_holds_is_named(tmp_path):
    more = {"scaler": {}, "loss": 0.5, "batch_size": 24, "args": ["a"]}
    torch.save(networks(10, sines(9, WIDTH)) | more, tmp_path / "a.pt")
    (note,) = (note for note in read_card(tmp_path / "a.pt").notes if "not read" in note)
    assert note == (
        "not read: opt, epoch (3), scaler, loss (0.5), batch_size (24), args, pos_embed, predictor_pos_embed"
    )
    torch.save(networks21(True), tmp_path / "b.pt")
    assert "not read: target_encoder, opt, epoch (3)" in read_card(tmp_path / "b.pt").notes


def test_special_files_and_a_home_folder(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "stream")
    assert "is a device or a pipe" in told(load_encoder, tmp_path / "stream")
    if Path("/proc/self/mem").exists():
        assert "cannot be read" in told(read_card, Path("/proc/self/mem"))
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(networks(), tmp_path / "vitl.pt")
    assert load_encoder("~/vitl.pt").config == SMALL and vjepa.load("~/vitl.pt").encoder.config == SMALL
    assert "~nobody-here/vitl.pt does not exist" in str(card_or_error(Path("~nobody-here/vitl.pt")))


def test_info_names_every_file_and_goes_on_after_a_bad_one(tmp_path, capsys):
    files = []
    for name, content in (("a", BARE), ("b", networks()), ("c", networks(image=True))):
        files.append(tmp_path / name)
        torch.save(content, files[-1])
    (tmp_path / "d").write_bytes(b"")
    with pytest.raises(SystemExit) as caught:
        info([*files, tmp_path / "d", tmp_path / "e"])
    first, second, third, fourth, fifth = capsys.readouterr().out.strip().split("\n\n")
    assert caught.value.code == 2
    assert "a holds tensors of one network" in first and "\n" not in first
    assert re.search("family +Meta, V-JEPA 2\n", second)
    assert "c holds I-JEPA" in third and "d is empty" in fourth and "e does not exist" in fifth
    info(files[1:2])


@pytest.mark.parametrize("size", [63, 0, -16, 1])
def test_images_that_patches_do_not_divide_are_refused(tmp_path, size):
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96), SMALL)
    parts = {"ema": encoder_part(Encoder(SMALL)), "ac_predictor": ac_predictor_part(ac, SMALL, ActingFacts())}
    export(tmp_path / "both.safetensors", parts, {})
    both = tmp_path / "both.safetensors"
    with pytest.raises(vjepa.UserError, match=rf"size={size}: .* patches of 8 px; give a multiple, such as"):
        load_world_model(both, both, size=size)
    assert load_world_model(both, both, size=64).size == 64
