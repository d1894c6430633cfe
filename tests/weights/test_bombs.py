"""Files that claim more than they hold: refused in a sentence, before time or memory is spent on them."""

import io
import json
import os
import pickle
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.fuzz_weights import ACTING, NARROW, SMALL, hugging_face
from tests.weights.meta_files import meta_encoder
from vjepa.errors import UserError
from vjepa.features.probe_answers import read_probe_schema
from vjepa.language.alignment_file import read_alignment
from vjepa.models.encoder import Encoder
from vjepa.planning.load import load_world_model
from vjepa.robots.schema import END_EFFECTOR
from vjepa.training.warm_start import read_networks
from vjepa.weights.card import read_card
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import (
    load_ac_predictor,
    load_anticipation,
    load_encoder,
    load_policy,
    load_predictor,
    load_probe,
)
from vjepa.weights.load_decoder import load_decoder

SECONDS = 2.0
BYTES = 200 * 2**20
STATE = Encoder(SMALL).state_dict()


def memory(kind: str) -> int:
    """Bytes that this process holds (VmRSS), or has held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


@contextmanager
def told_at_once(*words: str):
    """One sentence with these words is raised inside, within 2 s and 200 MiB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = memory("VmRSS")
    begin = time.process_time()  # others may use the machine too
    with pytest.raises(UserError) as error:
        yield error
    assert time.process_time() - begin < SECONDS
    assert memory("VmHWM") - before < BYTES
    sentence = str(error.value)
    assert sentence.isprintable() and len(sentence) < 1000
    assert [word for word in words if word not in sentence] == []


def exported(path: Path, part: str, description: dict, state: dict | None = None) -> Path:
    tensors = {f"{part}.{key}": value for key, value in (state or STATE).items()}
    save_file(tensors, path, {"vjepa": json.dumps({"parts": {part: description}, "info": {}})})
    return path


CLAIMS = [
    *({"width": value} for value in (20_000, 10**18, 0, -12, "12", [12], 12.0, True, None, {})),
    *({"depth": value} for value in (200_000, 10**12, 0, -1, 1.5, "1")),
    *({"heads": value} for value in (10**9, 0, -2, "2", 2.0, False)),
    *({"mlp_width": value} for value in (10**9, 10**18, -1)),
    *({"patch": value} for value in (0, 10**6, -4, 2.5)),
    *({"tubelet": value} for value in (0, 10**9)),
    *({"init_std": value} for value in (float("nan"), float("inf"), "0.02", 0)),
    *({"rope": value} for value in ("other", 1, ["released"])),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_an_encoder_of_any_size_is_refused_at_once(tmp_path, claim):
    file = exported(tmp_path / "a.safetensors", "ema", asdict(SMALL) | claim)
    with told_at_once("a.safetensors"):
        load_encoder(file)
    with told_at_once("a.safetensors"):
        exported(file, "predictor", {"config": asdict(NARROW) | claim, "encoder": asdict(SMALL) | claim})
        load_predictor(file)


@pytest.mark.parametrize(
    ("load", "part", "description"),
    [
        (load_probe, "probe", {"config": {"depth": 1, "heads": 2}, "width": 12, "classes": 10**12}),
        (load_probe, "probe", {"config": {"depth": 200_000, "heads": 2}, "width": 12, "classes": 2}),
        (load_probe, "probe", {"config": {"depth": 1, "heads": 2}, "width": 20_000, "classes": 2}),
        (load_probe, "probe", {"config": {"depth": 1, "heads": 2}, "width": "12", "classes": [2]}),
        (
            load_anticipation,
            "anticipation",
            {
                "config": {"depth": 10**9, "heads": 2},
                "width": 12,
                "schema": {"verbs": [], "nouns": [], "actions": []},
            },
        ),
        (load_policy, "policy", {"config": {"tokens": 10**9, "token_width": 10**9, "narrow": 10**9}}),
        (load_policy, "policy", {"config": {"tokens": -1}}),
        (load_decoder, "decoder", {"config": {"width": 10**9}, "encoder": asdict(SMALL)}),
        (load_decoder, "decoder", {"config": {"depth": 200_000}, "encoder": asdict(SMALL)}),
        (load_decoder, "decoder", {"config": {}, "encoder": asdict(SMALL) | {"patch": 10**6}}),
        (
            load_ac_predictor,
            "ac_predictor",
            {"config": asdict(ACTING) | {"merge": 10**9}, "encoder": asdict(SMALL)},
        ),
        (
            load_ac_predictor,
            "ac_predictor",
            {"config": asdict(ACTING) | {"depth": 10**9}, "encoder": asdict(SMALL)},
        ),
        (
            load_ac_predictor,
            "ac_predictor",
            {"config": asdict(ACTING) | {"normalise": "false"}, "encoder": asdict(SMALL)},
        ),
        (
            read_probe_schema,
            "probe",
            {
                "schema": {
                    "layers": [],
                    "targets": "classes",
                    "names": ["a"],
                    "clip": {"frames": 10**9, "fps": 5, "size": 10**6},
                }
            },
        ),
        (read_alignment, "projector", {"config": {"window": [1, 1, 10**9]}, "width": 12, "words": 10**9}),
        (
            read_card,
            "ac_predictor",
            {
                "config": asdict(ACTING),
                "encoder": asdict(SMALL),
                "schema": asdict(END_EFFECTOR),
                "size": 10**6,
            },
        ),
    ],
)
def test_every_other_part_likewise(tmp_path, load, part, description):
    with told_at_once("a.safetensors"):
        load(exported(tmp_path / "a.safetensors", part, description))


@pytest.mark.parametrize(
    "change",
    [
        {"names": 5},
        {"bounds": [[0, "x"]] * 7},
        {"position": [10**9]},
        {"delta": "none"},
        {"units": ["m"] * 10**4},
    ],
)
def test_a_schema_that_no_robot_has(tmp_path, change):
    description = {
        "config": asdict(ACTING),
        "encoder": asdict(SMALL),
        "schema": asdict(END_EFFECTOR) | change,
    }
    file = exported(tmp_path / "a.safetensors", "ac_predictor", description)
    with told_at_once("a.safetensors"):
        load_world_model("demo", file)


def test_texts_without_an_end_and_names_that_stand_twice(tmp_path):
    for text in ("[" * 200_000, '{"parts": {}, "parts": {"ema": {}}}', '{"a":' * 200_000):
        save_file({"ema.norm.weight": torch.ones(2)}, tmp_path / "a.safetensors", {"vjepa": text})
        with told_at_once("a.safetensors"):
            read_card(tmp_path / "a.safetensors")
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder/config.json").write_text(text)
        with told_at_once("folder"):
            load_encoder(tmp_path / "folder")


@pytest.mark.parametrize("length", [10**15, 2**63, 99_000_000, 5, 0])
def test_headers_that_are_too_long_or_too_short(tmp_path, length):
    file = tmp_path / "a.safetensors"
    file.write_bytes(
        struct.pack("<Q", length) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4)
    )
    with told_at_once("a.safetensors"):
        read_card(file)


def test_a_long_header_of_tensors_without_numbers(tmp_path):
    names = ",".join(f'"{i:09}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(600_000))
    text = f"{{{names}}}".encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with told_at_once("a.safetensors", "a header of"):
        read_card(tmp_path / "a.safetensors")


def test_tensors_that_share_bytes(tmp_path):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"ema.a": entry, "ema.b": entry, "__metadata__": {"vjepa": "{}"}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with told_at_once("a.safetensors"):
        read_card(tmp_path / "a.safetensors")


def torch_file(path: Path, content: object, **settings) -> Path:
    torch.save(content, path, **settings)
    return path


RELEASED = meta_encoder(Encoder(SMALL))


@pytest.mark.parametrize("old", [False, True], ids=["archive", "old form"])
@pytest.mark.parametrize(
    "value",
    [
        torch.ones(1).expand(10**12),
        torch.ones(1).expand(10**6, 10**6),
        torch.ones(2, 2).to_sparse(),
        torch.ones(2, 2).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.ones(3, device="meta"),
        torch.ones(12, dtype=torch.complex64),
        torch.ones(12).to(torch.float8_e5m2),
        torch.ones(12, dtype=torch.int8),
        torch.full((12,), 1e300, dtype=torch.float64),
        torch.ones(0),
        bytearray(10),
        "text",
        None,
    ],
    ids=lambda value: str(type(value))[8:-2],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_no_network_takes(tmp_path, value, old):
    state = RELEASED | {"module.backbone.norm.weight": value}
    file = torch_file(
        tmp_path / "vjepa2.pt", {"target_encoder": state}, _use_new_zipfile_serialization=not old
    )
    with told_at_once("vjepa2.pt"):
        load_encoder(file, heads=2)


def test_a_block_of_a_number_without_end(tmp_path):
    state = RELEASED | {"module.backbone.blocks.200000.norm1.weight": torch.ones(12)}
    with told_at_once("vjepa2.pt", "depth 200,001"):
        load_encoder(torch_file(tmp_path / "vjepa2.pt", {"target_encoder": state}), heads=2)


class Calls:
    """Becomes a call of a function when it is pickled."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def grown(times: int) -> Calls:
    """Bytes whose length doubles so many times."""
    import _codecs

    value: object = Calls(_codecs.encode, "x" * 100, "latin1")
    for _ in range(times):
        value = Calls(_codecs.encode, value, "hex")
    return value


def doubled(times: int, end: bytes) -> bytes:
    """A pickle of a tuple that is reached in 2^times ways, and what is done with it."""
    steps = (b"h%ch%c\x86q%c" % (place, place, place + 1) for place in range(times))
    return b"\x80\x02}K\x01K\x02\x86q\x00" + b"".join(steps) + end


@pytest.mark.parametrize(
    "content",
    [
        {"x": Calls(bytearray, 10**10)},
        {"x": Calls(torch.Tensor, 10**10)},
        {"x": Calls(torch.FloatTensor, 10**10)},
        {"x": grown(40)},
        {"encoder": OrderedDict(x=Calls(os.getcwd))},
    ],
    ids=["bytearray", "tensor", "typed tensor", "encoding", "code"],
)
def test_pickles_that_fill_the_memory(tmp_path, content):
    for old in (False, True):
        file = torch_file(tmp_path / "vjepa2.pt", content, _use_new_zipfile_serialization=not old)
        for read in (read_card, load_encoder, read_networks):
            with told_at_once("vjepa2.pt"):
                read(file)


@pytest.mark.parametrize("end", [b"K\x01s.", b"X\x01\x00\x00\x00x\x85K\x01s.", b"q\xffh\xffs."])
def test_tuples_that_are_reached_in_many_ways(tmp_path, end):
    """As a key of a dictionary: to compare it with others takes as long as there are ways."""
    file = torch_file(tmp_path / "vjepa2.pt", {"x": 1})
    replaced(file, "data.pkl", doubled(60, end))
    with told_at_once("vjepa2.pt"):
        read_card(file)


def test_lists_that_are_reached_in_many_ways_are_looked_at_once(tmp_path):
    value = [1]
    for _ in range(60):
        value = [value, value]
    with told_at_once("vjepa2.pt"):
        load_encoder(torch_file(tmp_path / "vjepa2.pt", {"encoder": {"x": torch.ones(2)}, "opt": value}))


def test_lists_within_lists(tmp_path):
    """Pickled by hand, since a pickler refuses them too."""
    text = b"\x80\x02}X\x01\x00\x00\x00x" + b"]" * 30_000 + b"a" * 29_999 + b"s."
    file = torch_file(tmp_path / "vjepa2.pt", {"x": 1})
    replaced(file, "data.pkl", text)
    with told_at_once("vjepa2.pt"):
        read_card(file)


def replaced(file: Path, ending: str, content: bytes, packing: int = zipfile.ZIP_STORED) -> None:
    """Put other content into a member of a zip archive, whose checksum is right again."""
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as old, zipfile.ZipFile(file, "w", packing) as new:
        for member in old.infolist():
            new.writestr(member.filename, content if member.filename.endswith(ending) else old.read(member))


def test_archives_that_unpack_to_more_than_they_are(tmp_path):
    file = torch_file(tmp_path / "vjepa2.pt", {"target_encoder": RELEASED})
    whole = file.read_bytes()
    for ending in ("data.pkl", "data/0"):
        file.write_bytes(whole)
        replaced(file, ending, bytes(100_000_000), zipfile.ZIP_DEFLATED)
        assert file.stat().st_size < 10**6
        with told_at_once("vjepa2.pt", "compressed"):
            load_encoder(file, heads=2)


def test_an_archive_whose_list_lies(tmp_path):
    file = torch_file(tmp_path / "vjepa2.pt", {"target_encoder": RELEASED})
    data = bytearray(file.read_bytes())
    for entry in (place for place in range(len(data)) if data[place : place + 4] == b"PK\x01\x02"):
        data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)  # packed and unpacked size
    file.write_bytes(data)
    with told_at_once("vjepa2.pt"):
        load_encoder(file, heads=2)


def test_an_old_file_that_claims_a_long_text(tmp_path):
    file = tmp_path / "vjepa2.pt"
    file.write_bytes(b"\x80\x02\x8d" + struct.pack("<Q", 2**62) + b"x" + pickle.dumps(1))
    with told_at_once("vjepa2.pt"):
        read_card(file)


HF_CLAIMS = [
    *({"hidden_size": value} for value in (20_000, 10**9, 0, -1, "12", [12], True, 12.5, None)),
    *({"num_hidden_layers": value} for value in (200_000, 10**9, 0, -1)),
    *({"num_attention_heads": value} for value in (10**9, 0, 5, "2")),
    *({"mlp_ratio": value} for value in (1e308, float("nan"), float("inf"), -1.0, "1")),
    *({"patch_size": value} for value in (0, 10**9)),
    *({"crop_size": value} for value in (10**6, 0, "8")),
    *({"id2label": value} for value in ([], {"a": "b"})),
]


@pytest.mark.parametrize("claim", HF_CLAIMS, ids=str)
def test_a_hugging_face_folder_of_any_size(tmp_path, claim):
    hugging_face(tmp_path)
    folder = tmp_path / "whole"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | claim))
    read = read_probe_schema if "id2label" in claim else read_card if "crop_size" in claim else load_encoder
    with told_at_once("whole"):
        read(folder)


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "model-00003-of-00002.safetensors", "", "loop.safetensors"],
)
def test_an_index_names_files_of_its_folder_alone(tmp_path, name):
    hugging_face(tmp_path)
    folder = tmp_path / "split"
    save_file({"encoder.layernorm.weight": torch.ones(12)}, tmp_path / "outside.safetensors")
    (folder / "loop.safetensors").symlink_to(folder / "again.safetensors")
    (folder / "again.safetensors").symlink_to(folder / "loop.safetensors")
    index = folder / "model.safetensors.index.json"
    known = json.loads(index.read_text())
    known["weight_map"]["encoder.layernorm.weight"] = name
    index.write_text(json.dumps(known))
    with told_at_once("model.safetensors.index.json"):
        load_encoder(folder)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd"])
def test_a_file_outside_is_named_and_not_read(tmp_path, name):
    hugging_face(tmp_path)
    index = tmp_path / "split/model.safetensors.index.json"
    known = json.loads(index.read_text())
    known["weight_map"]["encoder.layernorm.weight"] = name
    index.write_text(json.dumps(known))
    with told_at_once(f"names {name}, which is not in its folder; such a file is never read"):
        load_encoder(tmp_path / "split")


def test_files_may_be_links_into_the_blobs_of_a_cache(tmp_path):
    hugging_face(tmp_path)
    snapshot = tmp_path / "models--own--tiny/snapshots/0123"
    blobs = tmp_path / "models--own--tiny/blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    for number, file in enumerate((tmp_path / "split").iterdir()):
        (blobs / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    expected = load_encoder(tmp_path / "whole").state_dict()
    loaded = load_encoder(snapshot).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in expected.items())

    # A link to what is no weights shows nothing of it.
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    shard = snapshot / "model-00002-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to(secret)
    with told_at_once("is a text and no weights") as error:
        load_encoder(snapshot)
    assert "the secret" not in str(error.value)


def test_code_that_a_config_names_is_data(tmp_path, capsys, monkeypatch):
    """Nothing of it is imported, from the folder or from elsewhere, and nothing is written."""
    hugging_face(tmp_path)
    folder = tmp_path / "whole"
    (folder / "modeling_own.py").write_text("raise SystemExit('this code was run')")
    config = json.loads((folder / "config.json").read_text())
    named = {"AutoModel": "modeling_own.Model", "AutoConfig": "else/where--configuration.Config"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": named, "trust_remote_code": True}))
    monkeypatch.syspath_prepend(folder)
    before = sorted(tmp_path.rglob("*"))
    modules = set(sys.modules)
    load_encoder(folder)
    read_card(folder)
    assert capsys.readouterr().err.count("names code of the model's own (auto_map), which is not run") == 1
    assert sorted(tmp_path.rglob("*")) == before and set(sys.modules) == modules


def test_code_in_a_pickle_leaves_nothing_behind(tmp_path):
    left = tmp_path / "left"
    for old in (False, True):
        content = {"target_encoder": {"x": Calls(os.mkdir, str(left))}, "encoder": RELEASED}
        file = torch_file(tmp_path / "vjepa2.pt", content, _use_new_zipfile_serialization=not old)
        for read in (read_card, load_encoder, load_probe, read_networks):
            with told_at_once("vjepa2.pt", "holds Python code"):
                read(file)
    hugging_face(tmp_path)
    (tmp_path / "whole/model.safetensors").unlink()
    torch_file(tmp_path / "whole/pytorch_model.bin", {"encoder.x": Calls(os.mkdir, str(left))})
    with told_at_once("pytorch_model.bin", "holds Python code"):
        load_encoder(tmp_path / "whole")
    assert not left.exists()


def test_files_of_another_download_beside_a_whole_one_are_not_mixed_in(tmp_path):
    hugging_face(tmp_path)
    before = load_encoder(tmp_path / "whole").state_dict()
    save_file({"encoder.layernorm.weight": torch.zeros(12)}, tmp_path / "whole/model.fp16.safetensors")
    after = load_encoder(tmp_path / "whole").state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_model_in_a_loop_of_links_is_a_sentence(tmp_path):
    hugging_face(tmp_path)
    file = tmp_path / "whole/model.safetensors"
    file.unlink()
    file.symlink_to(file)
    with told_at_once("model.safetensors"):
        load_encoder(tmp_path / "whole")


def test_loading_draws_no_random_numbers(tmp_path):
    file = exported(tmp_path / "a.safetensors", "ema", asdict(SMALL))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    network = load_encoder(file)
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.requires_grad for parameter in network.parameters())
    file.unlink()
    assert all(torch.equal(value, STATE[key]) for key, value in network.state_dict().items())


def test_an_error_in_the_middle_of_a_terminal_stays_a_line(tmp_path):
    file = exported(tmp_path / "a.safetensors", "ema", asdict(SMALL) | {"rope": "\x1b[2J\x07\n" * 5000})
    with pytest.raises(CheckpointError) as error:
        load_encoder(file)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_file_of_json_that_would_fill_the_memory_is_not_read(tmp_path, name):
    hugging_face(tmp_path)
    file = tmp_path / "split" / name
    file.unlink()
    with file.open("wb") as sparse:
        sparse.truncate(6 * 2**30)
    with told_at_once(f"{name} has 6,442,450,944 bytes, more than the 67,108,864"):
        load_encoder(tmp_path / "split")
    file.unlink()
    file.symlink_to("/dev/zero")
    with told_at_once("is a folder, a device or a pipe" if "index" in name else "has no config.json"):
        load_encoder(tmp_path / "split")
