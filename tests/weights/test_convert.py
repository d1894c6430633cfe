"""Weights go into other people's layouts and back without a changed bit; what one cannot hold is named."""

import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.weights.meta_files import meta_ac_predictor, meta_encoder, meta_predictor, meta_probe, sines
from vjepa.__main__ import main
from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.card import read_card
from vjepa.weights.export import (
    Part,
    ac_predictor_part,
    encoder_part,
    export,
    predictor_part,
    probe_part,
    read_description,
)
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe
from vjepa.weights.out import hf_folder
from vjepa.weights.out.convert import convert
from vjepa.weights.out.diff import diff
from vjepa.weights.out.hf_folder import ratio
from vjepa.weights.out.open_parts import open_part
from vjepa.weights.out.places import complete
from vjepa.weights.out.stored import stored_digest
from vjepa.weights.own_facts import OWN

SMALL = EncoderConfig(width=24, depth=2, heads=2, mlp_width=52, patch=8, init_std=0.2)
DENSE = replace(
    SMALL, levels=(0, 1), rope_grid=32, rope="interleaved", image_tokenizer=True, modality=True, depth=2
)
NARROW = PredictorConfig(width=12, depth=2, heads=1, mlp_width=20, mask_tokens=3)
CLIP = {"frames": 4, "fps": 5.0, "size": 32}
INFO = {"stage": "cooldown", "steps": 7, "clip": CLIP, "licence": "CC0-1.0", "scores": {"our encoder": 0.5}}
CLASSES = ["lift", "lower", "turn"]


def drawn(network: torch.nn.Module) -> torch.nn.Module:
    """The network with all its numbers random: a zero would hide what is wrong."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network


def written(path: Path, encoder: EncoderConfig = SMALL, predictor: PredictorConfig = NARROW) -> Path:
    """An export of both encoders, a predictor and a probe."""
    torch.manual_seed(0)
    averaged = drawn(Encoder(encoder))
    schema = {"targets": "classes", "names": CLASSES, "encoder_digest": weights_digest(averaged)}
    probe = probe_part(drawn(AttentiveProbe(ProbeConfig(3, encoder.heads), encoder.width, 3)))
    parts = {
        "ema": encoder_part(averaged),
        "student": encoder_part(drawn(Encoder(encoder))),
        "predictor": predictor_part(drawn(Predictor(predictor, encoder)), encoder),
        "probe": Part(probe.module, probe.description | {"schema": schema}),
    }
    export(path, parts, INFO)
    return path


def written_ac(path: Path) -> Path:
    """An export of an action-conditioned predictor with settings that Meta's have not, and its encoder."""
    config = ACPredictorConfig(width=24, depth=1, heads=2, mlp_width=20, extrinsics_dim=3, residual=True)
    predictor = drawn(ACPredictor(config, SMALL))
    acting = ActingFacts({"names": ["x"]}, 32, 4.0)
    parts = {"ema": encoder_part(Encoder(SMALL)), "ac_predictor": ac_predictor_part(predictor, SMALL, acting)}
    export(path, parts, INFO)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("convert") / "own.safetensors")


def tensors_of(file: Path) -> dict[str, torch.Tensor]:
    """All tensors in a source by name, whatever its layout."""
    if file.is_dir():
        return load_file(file / "model.safetensors")
    if file.suffix == ".safetensors":
        return load_file(file)
    content = torch.load(file, weights_only=True)
    networks = content | {f"classifiers{i}": state for i, state in enumerate(content.get("classifiers", []))}
    return {
        f"{name} {key}": value
        for name, state in networks.items()
        if isinstance(state, dict)
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def assert_same_tensors(first: Path, second: Path, names: set[str] | None = None) -> None:
    """Names, shapes, types and all numbers of two files; or of those tensors alone."""
    one = tensors_of(first)
    other = tensors_of(second)
    assert (names or one.keys()) == other.keys()
    for key, value in other.items():
        assert one[key].dtype == value.dtype and torch.equal(one[key], value), key


def through(source: Path, folder: Path, *layouts: str) -> Path:
    """The source converted from layout to layout."""
    endings = {"hf": "hf", "meta": "meta.pt", "vjepa": "vjepa.safetensors"}
    for number, layout in enumerate(layouts):
        out = folder / f"{number}-{endings[layout]}"
        convert(weights=source, to=layout, out=out)
        source = out
    return source


def test_ours_through_a_directory_and_back(source, tmp_path):
    back = through(source, tmp_path, "hf", "vjepa")
    kept = {key for key in tensors_of(source) if not key.startswith("student.")}
    assert_same_tensors(source, back, kept)
    whole = read_description(source)
    described = read_description(back)
    del whole["parts"]["student"]
    assert described == json.loads(json.dumps(whole))


@pytest.mark.parametrize(
    ("encoder", "predictor"),
    [
        (SMALL, NARROW),
        (replace(SMALL, rope="interleaved"), replace(NARROW, dense=True)),
        (DENSE, replace(NARROW, dense=True)),
        (DENSE, replace(NARROW, dense=True, target_width=40)),
        (replace(DENSE, levels=(), image_tokenizer=False), NARROW),
        (replace(SMALL, depth=3, levels=(0, 2)), NARROW),
    ],
    ids=["2.0", "interleaved", "2.1", "2.1, distilled", "modality alone", "unpublished levels"],
)
def test_ours_through_metas_layout_and_back(tmp_path, encoder, predictor):
    source = written(tmp_path / "own.safetensors", encoder, predictor)
    back = through(source, tmp_path, "meta", "vjepa")
    assert_same_tensors(source, back)
    assert read_description(back) == read_description(source)

    # The same from Python, where nothing but the file says heads and levels.
    file = tmp_path / "0-meta.pt"
    assert load_encoder(file).config == encoder and load_predictor(file).config == predictor
    assert load_probe(file).config.heads == encoder.heads
    for load in (load_encoder, load_predictor, load_probe):
        assert weights_digest(load(file)) == weights_digest(load(source))


def test_a_predictor_of_actions_through_metas_layout_and_back(tmp_path):
    source = written_ac(tmp_path / "ac.safetensors")
    back = through(source, tmp_path, "meta", "vjepa")
    assert_same_tensors(source, back)
    assert read_description(back) == read_description(source)
    loaded = load_ac_predictor(tmp_path / "0-meta.pt")
    assert loaded.config == load_ac_predictor(source).config and loaded.schema == {"names": ["x"]}
    assert all(key.startswith("module.") for key in torch.load(tmp_path / "0-meta.pt")["predictor"])


def test_names_are_those_of_the_public_trainer(source, tmp_path):
    """As `meta_files`, which was written by hand, makes them."""
    names = tensors_of(through(source, tmp_path, "meta"))
    expected = {
        "target_encoder": meta_encoder(load_encoder(source)),
        "encoder": meta_encoder(load_encoder(source, "student")),
        "predictor": meta_predictor(load_predictor(source)),
        "classifiers0": meta_probe(load_probe(source)),
    }
    flat = {f"{name} {key}": value for name, state in expected.items() for key, value in state.items()}
    assert names.keys() == flat.keys()
    assert all(torch.equal(names[key], value) for key, value in flat.items())


def test_names_of_version_2_1(tmp_path):
    distilled = replace(NARROW, dense=True, target_width=40)
    for predictor, name in ((replace(NARROW, dense=True), "target_encoder"), (distilled, "ema_encoder")):
        folder = tmp_path / name
        folder.mkdir()
        source = written(folder / "own.safetensors", DENSE, predictor)
        content = torch.load(through(source, folder, "meta"), weights_only=True)
        encoder = {key.removeprefix("module.backbone."): tuple(v.shape) for key, v in content[name].items()}
        assert encoder["patch_embed_img.proj.weight"] == (24, 3, 1, 8, 8)
        assert encoder["patch_embed.proj.weight"] == (24, 3, 2, 8, 8)
        assert encoder["img_mod_embed"] == encoder["video_mod_embed"] == (1, 1, 24)
        assert "norms_block.1.weight" in encoder and "norm.weight" not in encoder
        predicts = {key.removeprefix("module.backbone.") for key in content["predictor"]}
        assert {"predictor_proj_context.weight", "video_mod_embed", "mask_tokens.2"} <= predicts
        first = {"predictor_embed.weight"} if predictor.target_width else {"predictor_embed.2.weight"}
        assert first <= predicts


@pytest.fixture
def meta_file(tmp_path) -> Path:
    """A file of Meta's, of a published width, with positions that nothing uses."""
    wide = replace(SMALL, width=384, heads=6)
    networks = {name: meta_encoder(drawn(Encoder(wide))) for name in ("encoder", "target_encoder")}
    predictor = Predictor(PredictorConfig(384, 1, 12, 20, mask_tokens=10), wide)
    networks["predictor"] = meta_predictor(drawn(predictor))
    networks["encoder"]["module.backbone.pos_embed"] = sines(4, 384)
    torch.save(networks | {"epoch": 3, "opt": None}, tmp_path / "vitl.pt")
    return tmp_path / "vitl.pt"


@pytest.mark.parametrize("layout", ["vjepa", "hf"])
def test_metas_through_another_layout_and_back(meta_file, tmp_path, layout):
    back = through(meta_file, tmp_path, layout, "meta")
    held = {key for key in tensors_of(meta_file) if "pos_embed" not in key}
    if layout == "hf":
        held = {key for key in held if not key.startswith("encoder ")}
    assert_same_tensors(meta_file, back, held)


@pytest.mark.parametrize("target_width", [None, 40])
def test_metas_of_version_2_1_through_ours_and_back(tmp_path, target_width):
    wide = replace(DENSE, width=384, heads=6)  # so that readers know heads, and levels, which are all blocks
    predictor = PredictorConfig(384, 1, 12, 20, mask_tokens=2, dense=True, target_width=target_width)
    source = written(tmp_path / "own.safetensors", wide, predictor)
    convert(weights=source, to="meta", out=tmp_path / "first.pt", parts=("ema", "student", "predictor"))
    content = torch.load(tmp_path / "first.pt", weights_only=True)
    del content["vjepa"]  # as a file of Meta's
    torch.save(content, tmp_path / "first.pt")
    back = through(tmp_path / "first.pt", tmp_path, "vjepa", "meta")
    assert_same_tensors(tmp_path / "first.pt", back)
    assert load_encoder(back).config == replace(wide, init_std=0.02)
    assert load_predictor(back).config == predictor


def test_a_probe_and_a_predictor_of_metas_there_and_back(tmp_path):
    probe = drawn(AttentiveProbe(ProbeConfig(2, 16), 768, 5))
    torch.save({"classifiers": [meta_probe(probe)]}, tmp_path / "probe.pt")
    assert_same_tensors(tmp_path / "probe.pt", through(tmp_path / "probe.pt", tmp_path, "vjepa", "meta"))

    folder = tmp_path / "ac"
    folder.mkdir()
    predictor = drawn(ACPredictor(ACPredictorConfig(width=1024, depth=1, heads=16, mlp_width=20), SMALL))
    state = meta_ac_predictor(predictor)
    unused = {"module.extrinsics_encoder.weight": torch.ones(96, 6)}
    torch.save({"predictor": state | unused}, folder / "ac.pt")
    back = through(folder / "ac.pt", folder, "vjepa", "meta")
    assert_same_tensors(folder / "ac.pt", back, {f"predictor {key}" for key in state})


def test_a_directory_through_ours_and_back(source, tmp_path):
    first = through(source, tmp_path, "hf")
    config = json.loads((first / "config.json").read_text())
    del config["vjepa"]  # as one of another writer
    (first / "config.json").write_text(json.dumps(config))
    (tmp_path / "again").mkdir()
    back = through(first, tmp_path / "again", "vjepa", "hf")
    assert_same_tensors(first, back)
    again = json.loads((back / "config.json").read_text())
    del again["vjepa"]
    # Such a directory does not say with which deviation its encoder began.
    assert again | {"initializer_range": 0.2} == config
    names = read_description(tmp_path / "again/0-vjepa.safetensors")["parts"]["probe"]["schema"]["names"]
    assert names == CLASSES


def test_a_directory_that_was_changed_since_says_what_is_true_now(source, tmp_path):
    folder = through(source, tmp_path, "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 1}))
    assert open_part(folder, "ema").description["heads"] == 1 == load_encoder(folder).config.heads


def test_half_precision_stays_as_it_is(source, tmp_path):
    half = tmp_path / "half.safetensors"
    with safe_open(source, "pt") as whole:
        metadata = whole.metadata()
    save_file({key: value.half() for key, value in tensors_of(source).items()}, half, metadata)
    folder = through(half, tmp_path, "hf")
    back = through(folder, tmp_path, "vjepa")
    assert {value.dtype for value in tensors_of(back).values()} == {torch.float16}
    diff(half, back, parts=("ema", "predictor", "probe"))


@pytest.mark.parametrize(("encoder", "reads"), [((), (0, 1)), ((0, 1), ())])
def test_a_predictor_of_another_encoder_than_that_beside_it_is_refused(tmp_path, encoder, reads):
    other = replace(SMALL, levels=reads)
    parts = {
        "ema": encoder_part(Encoder(replace(SMALL, levels=encoder))),
        "predictor": predictor_part(Predictor(NARROW, other), other),
    }
    export(tmp_path / "mixed.safetensors", parts, INFO)
    sentence = (
        f"its predictor reads levels {[*reads]} of width 24, and its encoder has levels {[*encoder]} of"
    )
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        load_predictor(tmp_path / "mixed.safetensors")
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        convert(weights=tmp_path / "mixed.safetensors", to="meta", out=tmp_path / "mixed.pt")


def test_a_predictor_of_levels_alone_loads_from_a_file_that_says_nothing(tmp_path):
    levels = replace(SMALL, levels=(0, 1))
    source = written(tmp_path / "own.safetensors", levels)
    file = through(source, tmp_path, "meta")
    content = torch.load(file, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != OWN}, file)
    assert load_predictor(file, heads=1).levels == 2


def test_a_large_model_has_several_files(source, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_folder, "LARGEST_FILE", 20_000)
    folder = through(source, tmp_path, "hf")
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 3 and not (folder / "model.safetensors").exists()
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {file.name for file in files}
    diff(source, folder, parts=("ema", "predictor", "probe"))


def test_a_probe_of_another_file_goes_with_its_encoder_alone(source, tmp_path):
    encoder = tmp_path / "encoder.safetensors"
    convert(weights=source, to="vjepa", out=encoder, parts=("ema",))
    probe = tmp_path / "probe.safetensors"
    convert(weights=source, to="vjepa", out=probe, parts=("probe",))
    convert(weights=encoder, to="hf", out=tmp_path / "both", probe=probe)
    assert set(read_card(tmp_path / "both").parts) == {"ema", "probe"}

    convert(weights=source, to="vjepa", out=tmp_path / "other.safetensors", parts=("student",))
    with pytest.raises(CheckpointError, match="trained on the tokens of another encoder"):
        convert(weights=tmp_path / "other.safetensors", to="hf", out=tmp_path / "wrong", probe=probe)
    assert not (tmp_path / "wrong").exists()
    assert stored_digest(open_part(source, "ema").tensors) == weights_digest(load_encoder(source))


@pytest.mark.parametrize(
    ("width", "hidden"), [(1408, 6144), (1024, 4096), (24, 52), (1664, 8192), (96, 251), (7, 3)]
)
def test_a_ratio_gives_the_whole_width_back(width, hidden):
    assert int(width * ratio(width, hidden)) == hidden


def test_every_width_has_a_ratio():
    pairs = [(width, hidden) for width in range(1, 200) for hidden in range(1, 400)]
    assert [pair for pair in pairs if int(pair[0] * ratio(*pair)) != pair[1]] == []


def refusal(words: str, folder: Path, capsys) -> str:
    """The one line with which the command refuses its words."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        main(["weights", "convert", *words.replace("FOLDER", str(folder)).split()])
    assert sorted(folder.rglob("*")) == before
    *_, line = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sources of all kinds."""
    folder = tmp_path_factory.mktemp("refused")
    written(folder / "own.safetensors")
    written(folder / "new.safetensors", DENSE, replace(NARROW, dense=True))
    written(folder / "turned.safetensors", replace(SMALL, rope="interleaved"))
    written_ac(folder / "ac.safetensors")
    probe = probe_part(AttentiveProbe(ProbeConfig(1, 4), 24, 3))
    export(folder / "heads.safetensors", {"probe": probe}, {})
    layers = Part(probe.module, probe.description | {"schema": {"layers": [0, -1]}})
    export(folder / "layers.safetensors", {"probe": layers}, {})
    export(folder / "linear.safetensors", {"probe": probe_part(AttentiveProbe(ProbeConfig(0), 24, 3))}, {})
    export(folder / "wide.safetensors", {"probe": probe_part(AttentiveProbe(ProbeConfig(1, 2), 48, 3))}, {})
    nan = drawn(Encoder(SMALL))
    nan.norm.bias.data[0] = torch.nan
    export(folder / "nan.safetensors", {"ema": encoder_part(nan)}, INFO)
    (folder / "full").mkdir()
    (folder / "full/notes.txt").write_text("mine")
    return folder


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "new.safetensors --to hf --out FOLDER/o",
            "and has no image_tokenizer, modality, rope_grid; give",
        ),
        ("turned.safetensors --to hf --out FOLDER/o", "by the layout interleaved; give --to meta"),
        ("own.safetensors --to hf --out FOLDER/full", "is a folder with something in it; name a new one"),
        ("own.safetensors --to hf --out FOLDER/o.pt", "is a file's name, and --to hf writes a folder"),
        (
            "own.safetensors --to hf --out FOLDER/ac.safetensors",
            "is a file's name, and --to hf writes a folder",
        ),
        ("own.safetensors --to meta --out FOLDER/full", "is a folder, and --to meta writes a file"),
        ("own.safetensors --to meta --out FOLDER/o.bin", "does not end in .pt or .pth or .pth.tar"),
        ("own.safetensors --to vjepa --out FOLDER/o.pt", "does not end in .safetensors"),
        ("own.safetensors --to vjepa --out FOLDER/own.safetensors", "is read and would be overwritten"),
        ("own.safetensors --to vjepa --out FOLDER/o.safetensors --parts policy", "no part named policy"),
        (
            "own.safetensors --to vjepa --out FOLDER/o.safetensors --size 32",
            "--frames and --size are for --to hf",
        ),
        ("own.safetensors --to hf --out FOLDER/o --probe FOLDER/ac.safetensors", "no part named probe"),
        ("own.safetensors --to hf --out FOLDER/o --probe FOLDER/heads.safetensors", "it has 4 heads"),
        (
            "own.safetensors --to hf --out FOLDER/o --probe FOLDER/layers.safetensors",
            "it reads other layers than the last",
        ),
        ("own.safetensors --to hf --out FOLDER/o --probe FOLDER/linear.safetensors", "it is linear"),
        (
            "own.safetensors --to hf --out FOLDER/o --probe FOLDER/wide.safetensors",
            "tokens of another encoder",
        ),
        (
            "own.safetensors --to hf --out FOLDER/o --parts ema student",
            "no student can be written, as such a dir",
        ),
        ("own.safetensors --to hf --out FOLDER/o --parts predictor", "no encoder in"),
        ("own.safetensors --to hf --out FOLDER/o --size 20", "does not divide into tubelets"),
        ("ac.safetensors --to hf --out FOLDER/o --parts ema ac_predictor", "no ac_predictor can be written"),
        ("heads.safetensors --to hf --out FOLDER/o", "no encoder in"),
        ("nan.safetensors --to hf --out FOLDER/o", "NaN or infinite, first in norm.bias"),
        ("nan.safetensors --to meta --out FOLDER/o.pt", "NaN or infinite, first in norm.bias"),
        ("none.pt --to vjepa --out FOLDER/o.safetensors", "does not exist"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(words, sentence, folder, capsys):
    line = refusal(f"FOLDER/{words}", folder, capsys)
    assert line.startswith("error: ") and sentence in line


def test_what_is_left_out_is_named(folder, tmp_path, capsys):
    main(["weights", "convert", "demo", "--to", "meta", "--out", str(tmp_path / "demo.pt")])
    told = capsys.readouterr().out
    assert "left out: ac_predictor (such a file holds one predictor; for this one give --parts" in told
    assert "ema heads=4" in told and "probe heads=4" in told
    convert(weights=Path("demo"), to="meta", out=tmp_path / "ac.pt", parts=("ema", "ac_predictor"))
    assert "ac_predictor heads=4, merge=2, residual=True" in capsys.readouterr().out
    assert set(read_card(tmp_path / "ac.pt").parts) == {"ema", "ac_predictor"}

    # What was not asked for is left out with its reason, and not refused.
    dense = written(tmp_path / "dense.safetensors", SMALL, replace(NARROW, dense=True))
    convert(weights=dense, to="hf", out=tmp_path / "dense")
    told = capsys.readouterr().out
    assert "predictor (transformers' has one output and no teacher)" in told and "skip_predictor=True" in told


def test_a_failure_leaves_nothing(folder, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    for to, out, step in (
        ("hf", "o", "vjepa.weights.out.hf_folder.write_model"),
        ("meta", "o.pt", "vjepa.weights.out.meta_file.torch.save"),
        ("vjepa", "o.safetensors", "vjepa.weights.out.convert.write_tensors"),
    ):
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match="cannot be written: disk full"),
        ):
            patch.setattr(step, fail)
            convert(weights=folder / "own.safetensors", to=to, out=tmp_path / out)
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(source, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 534")

    with small_files_alone(), pytest.raises(UserError, match="cannot be written: File too large"):
        convert(weights=source, to="vjepa", out=tmp_path / "o.safetensors")
    monkeypatch.setattr("vjepa.weights.out.meta_file.torch.save", fail)
    with pytest.raises(UserError, match="cannot be written; the disk is full"):
        convert(weights=source, to="meta", out=tmp_path / "o.pt")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def small_files_alone() -> Iterator[None]:
    """Let the system refuse files of more than a thousand bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(number, source, tmp_path, monkeypatch):
    monkeypatch.setattr("vjepa.weights.out.convert.write_tensors", lambda *_: os.kill(os.getpid(), number))
    before = signal.signal(number, signal.SIG_DFL)  # a stage that ran before may have a handler
    try:
        with pytest.raises(SystemExit, match=str(128 + number)):
            convert(weights=source, to="vjepa", out=tmp_path / "o.safetensors")
        assert list(tmp_path.iterdir()) == [] and signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before or signal.SIG_DFL)


def test_of_two_programs_that_write_one_file_the_last_wins(source, tmp_path):
    out = tmp_path / "o.safetensors"
    with complete(out) as unfinished:
        convert(weights=source, to="vjepa", out=out)
        assert_same_tensors(source, out)
        unfinished.write_text("the last")
    assert out.read_text() == "the last" and list(tmp_path.iterdir()) == [out]


def test_a_folder_that_fills_meanwhile_is_kept(tmp_path):
    with (
        pytest.raises(UserError, match="o cannot be written: Directory not empty"),
        complete(tmp_path / "o") as unfinished,
    ):
        unfinished.mkdir()
        (tmp_path / "o").mkdir()
        (tmp_path / "o/mine").write_text("mine")
    assert (tmp_path / "o/mine").read_text() == "mine"


def test_names_beside_the_output_are_the_users(source, tmp_path):
    taken = tmp_path / "o.safetensors.unfinished"
    shutil.copy(source, taken)
    convert(weights=taken, to="vjepa", out=tmp_path / "o.safetensors")
    assert taken.read_bytes() == source.read_bytes()


def test_a_folder_that_is_read_stays_as_it_is(source, tmp_path, capsys):
    folder = through(source, tmp_path, "hf")
    blob = tmp_path / "blob.safetensors"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)  # as in the hub's cache
    for out in (folder / "model.safetensors", blob):
        assert "is read and would be overwritten" in refusal(
            f"{folder} --to vjepa --out {out}", folder, capsys
        )
    inside = f"{folder} --to meta --out {folder}/new/o.pt"
    assert "0-hf, which is read; name an output elsewhere" in refusal(inside, folder, capsys)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--to hf --out FOLDER/new/..", "is not a new file's or folder's name"),
        ("--to vjepa --out FOLDER/circle.safetensors", "is a link to nothing; name another output"),
        ("--to hf --out FOLDER/link", "is a link; give the folder that it names"),
    ],
)
def test_what_names_no_new_place_is_refused(words, sentence, source, tmp_path, capsys):
    (tmp_path / "circle.safetensors").symlink_to("circle.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert sentence in refusal(f"{source} {words}", tmp_path, capsys)


@pytest.mark.parametrize("own", [3, {"parts": 3, "info": {}}, {"parts": {"ema": {"width": "x"}}, "info": 3}])
def test_settings_that_are_damaged_are_one_sentence_or_passed_over(tmp_path, own):
    file = through(Path("demo"), tmp_path, "meta")
    torch.save(torch.load(file, weights_only=True) | {"vjepa": own}, file)
    with pytest.raises(CheckpointError) as caught:  # without them, nothing says the heads
        convert(weights=file, to="vjepa", out=tmp_path / "o.safetensors")
    assert file.name in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_folder_is_taken_and_no_other(source, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new.unfinished").mkdir()
    (tmp_path / "new.unfinished/config.json").write_text("mine")
    convert(weights=source, to="hf", out=tmp_path / "new")
    assert read_card(tmp_path / "new").parts and (tmp_path / "new.unfinished/config.json").exists()


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (3, "own.safetensors: "),
        ({"layers": 3}, "ProbeSchema.layers is 3; expected tuple[int, ...]"),
        ({"layers": "13"}, "ProbeSchema.layers is '13'"),
        ({"layers": [[1]]}, "ProbeSchema.layers is ((1,),)"),
        ({"layers": [1.0]}, "ProbeSchema.layers is (1.0,)"),
        ({"layers": [9]}, "its probe reads the layers [9], and the encoder gives those of the blocks 0 to 1"),
        ({"names": ["x", "y"]}, "the probe has 3 outputs and 2 names"),
        ({"names": ["x", "y", "x"]}, "two of the probe's classes are called ['x']"),
        ({"names": [1, 2, 3]}, "ProbeSchema.names is (1, 2, 3)"),
        ({"clip": 3}, "the probe's clip is a int"),
        ({"clip": {"frames": "4", "fps": 5.0, "size": 32}}, "ClipFacts.frames is '4'"),
        ({"weights": 3}, "ProbeSchema.weights is 3"),
    ],
)
def test_a_schema_that_no_probe_has_is_one_sentence(schema, sentence, tmp_path, capsys):
    probe = probe_part(AttentiveProbe(ProbeConfig(1, 2), 24, 3))
    parts = {"ema": encoder_part(Encoder(SMALL)), "probe": Part(probe.module, probe.description)}
    parts["probe"].description["schema"] = schema
    export(tmp_path / "own.safetensors", parts, {})
    for out in ("--to meta --out FOLDER/o.pt", "--to vjepa --out FOLDER/o.safetensors"):
        line = refusal(f"FOLDER/own.safetensors {out}", tmp_path, capsys)
        assert line.startswith("error: ") and "own.safetensors" in line and sentence in line
    if "layers" not in sentence or "expected" in sentence:  # other layers are left out
        assert sentence in refusal("FOLDER/own.safetensors --to hf --out FOLDER/o", tmp_path, capsys)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"0": "x", "1": "y"}, "the probe has 3 outputs and 2 names"),
        ({"0": "x", "1": "y", "3": "z"}, "id2label has the key ['3']; expected the numbers from 0 to 2"),
        ({"0": "x", "1": "y", "z": "z"}, "id2label has the key ['z']"),
        ({"0": "x", "1": "y", "2": 3}, "ProbeSchema.names is ('x', 'y', 3)"),
        (["x", "y", "z"], "id2label is a list"),
    ],
)
def test_names_of_others_that_are_not_those_of_the_outputs(labels, sentence, source, tmp_path, capsys):
    folder = through(source, tmp_path, "hf")
    config = json.loads((folder / "config.json").read_text())
    del config["vjepa"]
    (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    assert sentence in refusal(f"{folder} --to vjepa --out FOLDER/o.safetensors", tmp_path, capsys)


def test_other_classifiers_are_named_and_can_be_given(tmp_path, capsys):
    probes = [drawn(AttentiveProbe(ProbeConfig(1, 16), 768, 5)) for _ in range(3)]
    file = tmp_path / "probes.pt"
    torch.save({"classifiers": [meta_probe(probe) for probe in probes]}, file)
    words = ["weights", "convert", str(file), "--to", "vjepa", "--out", str(tmp_path / "o.safetensors")]
    for head, given in ((0, []), (2, ["--unsaid.head", "2"])):
        main([*words, *given])
        told = capsys.readouterr().out
        assert f"left out: 2 other classifiers (of numbers 0 to 2, {head} is written" in told
        assert weights_digest(load_probe(tmp_path / "o.safetensors")) == weights_digest(probes[head])
    assert "head=3 is none" in refusal(" ".join([*words[2:], "--unsaid.head", "3"]), tmp_path, capsys)


def test_what_no_file_shows_is_told(tmp_path, capsys):
    turned = replace(SMALL, rope="interleaved", rope_grid=16, modality=True)
    probe = probe_part(AttentiveProbe(ProbeConfig(1, 2), 24, 3))
    parts = {"ema": encoder_part(Encoder(turned)), "probe": Part(probe.module, probe.description)}
    parts["probe"].description["schema"] = {"layers": [0, 1]}
    parts["predictor"] = predictor_part(Predictor(NARROW, turned), replace(turned, rope_grid=8))
    export(tmp_path / "own.safetensors", parts, {})
    convert(weights=tmp_path / "own.safetensors", to="meta", out=tmp_path / "o.pt")
    told = capsys.readouterr().out
    assert "rope=interleaved, rope_grid=16, modality=True" in told
    assert "encoder.rope_grid=8" in told and "probe heads=2, layers=(0, 1)" in told


def test_the_card_of_a_directory_says_what_the_source_does(source, tmp_path):
    text = (through(source, tmp_path, "hf") / "README.md").read_text()
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert "license: cc0-1.0" in head and "pipeline_tag: video-classification" in head
    for words in ("| steps | 7 |", "| accuracy | our encoder 0.500 |", "4 frames, 32 px", "5 per second"):
        assert words in body
    assert f"vjepa weights convert {source} --to hf" in body
    with safe_open(tmp_path / "0-hf/model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_unknown_clips_are_given_or_taken_and_named(meta_file, tmp_path, capsys):
    convert(weights=meta_file, to="hf", out=tmp_path / "given", frames=8, size=64)
    config = json.loads((tmp_path / "given/config.json").read_text())
    assert (config["frames_per_clip"], config["crop_size"]) == (8, 64)
    with pytest.raises(UserError, match="--size 0 must be more than 0"):
        convert(weights=meta_file, to="hf", out=tmp_path / "none", size=0)
