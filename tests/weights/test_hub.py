"""Names on Hugging Face's hub as sources, against a hub on this machine: no test here uses the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("huggingface_hub", reason="fetching from the hub needs the hf extra")
from huggingface_hub import close_session, constants

import vjepa
from tests.weights.loopback_hub import COMMIT, OTHER, LoopbackHub
from tests.weights.meta_files import meta_encoder
from tests.weights.test_families import (
    CONFIG,
    NO_WEIGHTS,
    SMALL,
    WIDTH,
    hf_tensors,
    safetensors_bytes,
    torch_bytes,
)
from vjepa.errors import announce
from vjepa.models.encoder import Encoder
from vjepa.training.run_inputs import digest_of
from vjepa.training.warm_start import read_networks
from vjepa.weights import hub as hub_module
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError, is_downloaded, weights_digest
from vjepa.weights.hub_name import HubName, hub_name
from vjepa.weights.info import card_or_error
from vjepa.weights.load import load_encoder, load_probe
from vjepa.weights.part_files import is_there, part_files

REPO = "own/vjepa2-tiny"
CLIPS = CONFIG | {"frames_per_clip": 8, "crop_size": 32}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, and an empty cache."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    close_session()
    with LoopbackHub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        anew()
        yield served
    anew()
    close_session()


def anew() -> None:
    """As in a new process."""
    hub_module.fetched.cache_clear()
    announce.cache_clear()


@pytest.fixture
def files(tmp_path) -> dict[str, bytes]:
    return {
        "config.json": json.dumps(CLIPS).encode(),
        "model.safetensors": safetensors_bytes(tmp_path, hf_tensors()),
        "modeling_vjepa.py": b"raise SystemExit('this code was run')",
        "pytorch_model.bin": b"never fetched",
        "README.md": b"never fetched",
    }


def told(source: str) -> str:
    """The sentence of a refusal, in a new process."""
    anew()
    with pytest.raises(CheckpointError) as error:
        load_encoder(source)
    sentence = str(error.value)
    assert Path(source).name.partition("@")[0] in sentence and "\n" not in sentence and len(sentence) < 700
    return sentence


def test_a_whole_model_is_fetched_once_and_nothing_that_is_not_needed(hub, files, capsys, tmp_path):
    hub.add(REPO, files)
    encoder = load_encoder(REPO)
    assert encoder.config.width == WIDTH
    card = read_card(REPO)
    assert card.name == REPO and card.clip.frames == 8 and COMMIT in card.notes[-1]
    assert vjepa.load(REPO).encoder.config == encoder.config and part_files(Path(REPO)) == {"ema": REPO}
    assert hub.got() == ["config.json", "model.safetensors"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{REPO} is downloaded from {hub.address}, commit 0123456789ab: 1 file of tensors" in line

    # A new process asks again, and fetches nothing again.
    anew()
    assert weights_digest(load_encoder(f"hf://{REPO}")) == weights_digest(encoder)
    assert len(hub.got()) == 2 and capsys.readouterr().err == ""
    # The files of a snapshot are links into another folder of the cache.
    model = next(tmp_path.glob("home/hub/models--*/snapshots/*/model.safetensors"))
    assert model.is_symlink() and "blobs" in os.readlink(model)
    assert not list(tmp_path.glob("home/hub/**/*.py")) and not list(tmp_path.glob("home/hub/**/README.md"))
    assert weights_digest(load_encoder(model.parent)) == weights_digest(encoder)


def test_a_model_in_several_files(hub, tmp_path):
    state = hf_tensors()
    first = dict(list(state.items())[:5])
    rest = {key: value for key, value in state.items() if key not in first}
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    places = {key: name for name, keys in zip(names, (first, rest), strict=True) for key in keys}
    served = {"config.json": json.dumps(CONFIG).encode()}
    served["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    served |= {n: safetensors_bytes(tmp_path, keys) for n, keys in zip(names, (first, rest), strict=True)}
    hub.add(REPO, served | {"model-00003-of-00002.safetensors": b"never fetched"})
    assert load_encoder(REPO).embed.weight.shape == (WIDTH, 384)
    assert sorted(hub.got()) == sorted(served)

    # An index may call its files what it likes.
    shards = served | {
        "model.safetensors.index.json": json.dumps({"weight_map": {"a": "weird.safetensors"}}).encode()
    }
    hub.add("own/weird", shards | {"weird.safetensors": safetensors_bytes(tmp_path, state)})
    assert load_encoder("own/weird").config.width == WIDTH

    for name in ("../../../../etc/passwd", "/etc/passwd", "nowhere.safetensors", "config.json"):
        wrong = served | {"model.safetensors.index.json": json.dumps({"weight_map": {"a": name}}).encode()}
        hub.add("own/outside", wrong)
        asked = len(hub.asked)
        assert "model.safetensors.index.json names" in told("own/outside")
        assert not any("passwd" in path for _, path in hub.asked[asked:])


def test_pickles_are_fetched_where_there_is_nothing_else(hub):
    hub.add(
        REPO, {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": torch_bytes(hf_tensors())}
    )
    assert load_encoder(REPO).config.width == WIDTH
    hub.add("own/flax", {"config.json": json.dumps(CONFIG).encode(), "flax_model.msgpack": b""})
    assert "neither model.safetensors nor pytorch_model.bin" in told("own/flax")


def test_a_model_that_is_one_file(hub, tmp_path):
    meta = torch_bytes({"target_encoder": meta_encoder(Encoder(SMALL))})
    export(tmp_path / "own.safetensors", {"ema": encoder_part(Encoder(SMALL))}, {"stage": "pretrain"})
    hub.add("own/meta", {"vjepa2-own.pt": meta, "README.md": b""})
    hub.add("own/export", {"model.safetensors": (tmp_path / "own.safetensors").read_bytes()})
    hub.add("own/several", {"a.pt": meta, "b.pt": meta})
    hub.add("own/nothing", {"README.md": b""})
    for source in ("own/meta", "own/export"):
        assert load_encoder(source).config == SMALL
        assert COMMIT in read_card(source).notes[-1]
    assert read_card("own/export").stage == "pretrain"
    assert read_card(Path("hf://own/export")).name == "hf://own/export"
    assert "2 files of weights (a.pt, b.pt)" in told("own/several")
    assert "has no config.json and no file of weights" in told("own/nothing")


def test_a_revision_is_a_branch_or_a_commit(hub, files, tmp_path):
    torch.manual_seed(1)
    state = {key: value + 1 for key, value in hf_tensors().items()}
    hub.add(REPO, files)
    hub.add(REPO, files | {"model.safetensors": safetensors_bytes(tmp_path, state)}, OTHER, "trained/longer")
    newest = weights_digest(load_encoder(REPO))
    assert weights_digest(load_encoder(f"{REPO}@trained/longer")) != newest
    assert weights_digest(load_encoder(f"{REPO}@{COMMIT}")) == newest
    assert f"{REPO} on the hub has no revision v9" in told(f"{REPO}@v9")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, "RepoNotFound"), "is neither a path here nor a model on"),
        ((401, "RepoNotFound"), "is neither a path here nor a model on"),
        ((401, "GatedRepo"), "is not given to everybody; ask for it at"),
        ((403, "GatedRepo"), "is not given to everybody; ask for it at"),
        ((503, ""), "is no path here, and the hub cannot be asked for it ("),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(hub, files, answer, says):
    hub.add(REPO, files)
    hub.refused[REPO] = answer
    assert says in told(REPO)
    assert isinstance(card_or_error(Path(REPO)), CheckpointError)
    assert hub.got() == []


def test_another_network_is_refused_before_its_tensors_are_fetched(hub, files):
    hub.add("own/whisper", files | {"config.json": b'{"model_type": "whisper"}'})
    assert "model_type='whisper'" in told("own/whisper")
    assert hub.got() == ["config.json"]


def test_a_download_that_is_cut_off_leaves_nothing_that_looks_whole(hub, files, tmp_path, monkeypatch):
    hub.add(REPO, files)
    hub.cut.add("model.safetensors")
    assert "model.safetensors is missing or was cut off" in told(REPO)
    assert not list(tmp_path.glob("home/**/model.safetensors")) and not is_downloaded(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in told(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.cut.clear()
    anew()
    assert load_encoder(REPO).config.width == WIDTH and is_downloaded(REPO)


def test_a_newer_revision_that_is_cut_off_leaves_the_older_one(hub, files, monkeypatch):
    hub.add(REPO, files)
    before = digest_of(REPO)
    hub.add(REPO, files | {"model.safetensors": files["model.safetensors"] + b"more"}, OTHER)
    hub.cut.add("model.safetensors")
    assert "was cut off" in told(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    anew()
    assert digest_of(REPO) == before


def test_without_a_network_the_cache_goes_on(hub, files, monkeypatch, capsys):
    hub.add(REPO, files)
    before = weights_digest(load_encoder(REPO))
    digest = digest_of(REPO)
    capsys.readouterr()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    anew()
    assert weights_digest(load_encoder(REPO)) == before and digest_of(REPO) == digest
    (line,) = capsys.readouterr().err.splitlines()
    assert "its copy in the cache is taken" in line

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    anew()
    assert weights_digest(load_encoder(REPO)) == before and is_there(REPO)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert "the hub cannot be asked for it (ConnectError" in told("own/other") and not is_there("own/other")


def test_every_network_of_a_classifier_is_read(hub, tmp_path):
    transformers = pytest.importorskip("transformers", reason="a model of its own is written by it")
    sizes = {"patch_size": 8, "crop_size": 32, "frames_per_clip": 8, "hidden_size": 48, "mlp_ratio": 2.0}
    sizes |= {"num_attention_heads": 3, "num_hidden_layers": 1, "pred_hidden_size": 24, "num_labels": 5}
    sizes |= {"pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "num_pooler_layers": 2}
    model = transformers.VJEPA2ForVideoClassification(transformers.VJEPA2Config(**sizes))
    model.save_pretrained(tmp_path / "local")
    hub.add(REPO, {file.name: file.read_bytes() for file in (tmp_path / "local").iterdir()})
    for source in (REPO, str(tmp_path / "local")):
        configs, state = read_networks(source)
        assert {*configs} == {"encoder", "predictor"} and "target.embed.weight" in state
        assert load_probe(source).head.out_features == 5
        assert {*read_card(source).parts} == {"ema", "predictor", "probe"}
        assert dict(read_card(source).details)["classes"] == "5"
    assert weights_digest(load_encoder(REPO)) == weights_digest(load_encoder(tmp_path / "local"))
    assert digest_of(REPO) == digest_of(str(tmp_path / "local"))


def test_code_of_the_model_is_never_fetched_or_run(hub, files, capsys, tmp_path):
    config = CLIPS | {"auto_map": {"AutoModel": "modeling_vjepa.Model"}}
    hub.add(REPO, files | {"config.json": json.dumps(config).encode()})
    modules = set(sys.modules)
    assert load_encoder(REPO).config.width == WIDTH
    assert "names code of the model's own (auto_map), which is not run" in capsys.readouterr().err
    assert not [name for name in set(sys.modules) - modules if "modeling" in name]
    assert not list(tmp_path.glob("home/**/*.py"))


@pytest.mark.parametrize("kind", ["web page", "cut torch file", "noise"])
def test_no_weights_from_the_hub_are_one_sentence(hub, files, kind):
    hub.add(REPO, files | {"model.safetensors": NO_WEIGHTS[kind][0]})
    assert "model.safetensors" in told(REPO)


def test_what_is_on_the_disk_comes_first(hub, files, tmp_path):
    hub.add(REPO, files)
    for folder in (REPO, "runs", "facebook"):
        (tmp_path / folder).mkdir(parents=True)
    assert "has no config.json" in told(REPO)
    assert "runs/typo does not exist" in told("runs/typo")
    assert "give hf://facebook/vjepa2-other" in told("facebook/vjepa2-other")
    assert hub.asked == []


def test_without_the_package_a_sentence_names_the_extra(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'vjepa[hf]'" in told(REPO) and not is_there(REPO)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("facebook/vjepa2-vitl-fpc64-256", HubName("facebook/vjepa2-vitl-fpc64-256", "main")),
        ("facebook/vjepa2.1@v1.0", HubName("facebook/vjepa2.1", "v1.0")),
        ("a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        (Path("hf://a/b"), HubName("a/b", "main")),
        ("hf://a/b.pt", HubName("a/b.pt", "main")),
        ("a/vitl.pt", None),
        ("a/vitl.PTH.tar", None),
        ("a/b/c", None),
        ("demo", None),
        ("./a/b", None),
        ("../b", None),
        ("~/b", None),
        ("/a/b", None),
        ("a/b@", None),
        ("a/b@../c", None),
        ("a/b c", None),
        ("a/é", None),
        ("https://example.org", None),
        ("", None),
    ],
)
def test_what_looks_like_a_name(source, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_name(source) == expected


@pytest.mark.slow
def test_the_command_and_the_variables_of_the_environment(hub, files, tmp_path):
    hub.add(REPO, files)
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "elsewhere"), "NO_PROXY": "127.0.0.1"}
    own["HF_HUB_OFFLINE"] = "0"
    environment = os.environ | own
    command = [sys.executable, "-m", "vjepa", "weights", "info", REPO]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0 and "8 frames at 4 fps, 32 px" in first.stdout, first.stderr
    (line,) = first.stderr.splitlines()
    assert "is downloaded from" in line and str(tmp_path / "elsewhere/hub") in line
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    second = subprocess.run(command, env=offline, capture_output=True, text=True, cwd=tmp_path)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    missing = [*command[:-1], "own/other"]
    third = subprocess.run(missing, env=offline, capture_output=True, text=True, cwd=tmp_path)
    assert third.returncode == 2 and "HF_HUB_OFFLINE is set" in third.stdout
