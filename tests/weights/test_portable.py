"""A file for programs without this package gives what our networks give, for any number of clips."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from tests.weights.meta_files import meta_probe
from tests.weights.test_convert import small_files_alone
from vjepa.__main__ import main
from vjepa.data import transforms
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.export import Part, encoder_part, export, probe_part
from vjepa.weights.files import weights_digest
from vjepa.weights.load import load_encoder, load_probe
from vjepa.weights.out import portable, portable_files
from vjepa.weights.out.portable import export_portable
from vjepa.weights.out.portable_files import opened

SIZES = {"width": 24, "depth": 3, "heads": 2, "mlp_width": 48, "patch": 8, "init_std": 0.2}
LEVELS = {"levels": (1, 2), "rope_grid": 16, "rope": "interleaved", "image_tokenizer": True, "modality": True}
CONFIGS = {"2.0": EncoderConfig(**SIZES), "2.1": EncoderConfig(**SIZES, **LEVELS)}
CLIP = {"frames": 4, "fps": 5.0, "size": 24}
CLOSE = {"rtol": 0, "atol": 1e-5}


def written_encoder(folder: Path, name: str) -> Path:
    """An export of an encoder that nothing was taught."""
    torch.manual_seed(0)
    path = folder / f"encoder-{name}.safetensors"
    export(path, {"ema": encoder_part(Encoder(CONFIGS[name]))}, {"clip": CLIP, "licence": "CC0-1.0"})
    return path


def written_probe(folder: Path, name: str, layers: tuple[int, ...], width: int = 24) -> Path:
    """An export of a probe that reads the encoder of the same name."""
    part = probe_part(AttentiveProbe(ProbeConfig(2, 2), width, 3))
    digest = weights_digest(load_encoder(folder / f"encoder-{name}.safetensors"))
    schema = {"targets": "classes", "names": ["x", "y", "z"], "layers": layers, "encoder_digest": digest}
    path = folder / f"probe-{name}.safetensors"
    export(path, {"probe": Part(part.module, part.description | {"schema": schema})}, {"clip": CLIP})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Encoders of V-JEPA 2 and 2.1, and a probe of each; that of 2.1 reads two layers."""
    folder = tmp_path_factory.mktemp("portable")
    for name, layers in (("2.0", ()), ("2.1", (1, -1))):
        written_encoder(folder, name)
        written_probe(folder, name, layers)
    return folder


@pytest.fixture(scope="module")
def portable_of(folder):
    """Writes an encoder, or a probe with it, and returns the file; each once."""

    @cache
    def file(name: str, with_probe: bool, ending: str) -> Path:
        out = folder / f"{name}-{with_probe}{ending}"
        probe = folder / f"probe-{name}.safetensors" if with_probe else None
        export_portable(encoder=folder / f"encoder-{name}.safetensors", probe=probe, out=out)
        return out

    return file


def clips(batch: int, frames: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, frames, 24, 24, generator=torch.Generator().manual_seed(1))


def facts_in(file: Path) -> dict:
    """What a file says of itself."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return json.loads(session.get_modelmeta().custom_metadata_map["vjepa"])
    extra = {"vjepa.json": ""}
    torch.export.load(file, extra_files=extra)
    return json.loads(extra["vjepa.json"])


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_tokens_are_ours_for_any_number_of_clips(name, ending, folder, portable_of):
    run = opened(portable_of(name, False, ending))
    encoder = load_encoder(folder / f"encoder-{name}.safetensors")
    for batch in (1, 3):
        torch.testing.assert_close(run(clips(batch)), encoder(clips(batch)), **CLOSE)


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
@torch.no_grad()
def test_logits_are_ours_for_any_number_of_clips(ending, folder, portable_of):
    run = opened(portable_of("2.0", True, ending))
    encoder = load_encoder(folder / "encoder-2.0.safetensors")
    probe = load_probe(folder / "probe-2.0.safetensors")
    for batch in (1, 3):
        torch.testing.assert_close(run(clips(batch)), probe(encoder(clips(batch))), **CLOSE)


@torch.no_grad()
def test_a_probe_of_several_layers_reads_them_side_by_side(folder, portable_of):
    run = opened(portable_of("2.1", True, ".pt2"))
    tokens = load_encoder(folder / "encoder-2.1.safetensors").layers(clips(2), (1, -1))
    logits = load_probe(folder / "probe-2.1.safetensors")(tokens.flatten(1, 2))
    torch.testing.assert_close(run(clips(2)), logits, **CLOSE)


@torch.no_grad()
def test_a_file_of_images_reads_them_as_images(folder, tmp_path):
    source = folder / "encoder-2.1.safetensors"
    export_portable(encoder=source, out=tmp_path / "images.pt2", frames=1)
    image = clips(3, frames=1)
    torch.testing.assert_close(opened(tmp_path / "images.pt2")(image), load_encoder(source)(image), **CLOSE)


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_a_file_says_what_a_program_must_know(ending, folder, portable_of):
    facts = facts_in(portable_of("2.0", True, ending))
    known = {"output": "logits", "names": ["x", "y", "z"], "targets": "classes", "licence": "CC0-1.0"} | CLIP
    known["encoder_digest"] = weights_digest(load_encoder(folder / "encoder-2.0.safetensors"))
    assert {key: facts[key] for key in known} == known
    frames = torch.randint(256, (1, 4, 3, 24, 24), dtype=torch.uint8)
    mean, std = (torch.tensor(facts[key])[:, None, None, None] for key in ("mean", "std"))
    by_facts = (frames.movedim(2, 1) / 255 - mean) / std
    torch.testing.assert_close(by_facts, transforms.normalise(frames))


def test_a_fixed_batch_is_the_only_one(folder, tmp_path):
    out = tmp_path / "two.onnx"
    export_portable(encoder=folder / "encoder-2.0.safetensors", out=out, batch=2, size=16)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [value.shape for value in session.get_inputs()] == [[2, 3, 4, 16, 16]]
    assert [value.shape for value in session.get_outputs()] == [[2, 8, 24]]


def test_numbers_of_more_than_two_gigabytes_lie_beside_the_model(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    (tmp_path / "large.onnx").write_text("an older model")
    export_portable(encoder=folder / "encoder-2.0.safetensors", out=tmp_path / "large.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data"]
    assert opened(tmp_path / "large.onnx")(clips(1)).shape == (1, 18, 24)


def test_a_file_of_metas_classifier_has_no_names(folder, tmp_path):
    probe = AttentiveProbe(ProbeConfig(2, 16), 768, 5)
    torch.save({"classifiers": [meta_probe(probe)]}, tmp_path / "probe.pt")
    config = EncoderConfig(width=768, depth=1, heads=12, mlp_width=48, patch=8)
    export(tmp_path / "wide.safetensors", {"ema": encoder_part(Encoder(config))}, {"clip": CLIP})
    out = tmp_path / "logits.pt2"
    export_portable(encoder=tmp_path / "wide.safetensors", probe=tmp_path / "probe.pt", out=out)
    assert (facts_in(out)["names"], opened(out)(clips(2)).shape) == (None, (2, 5))


def test_a_file_that_gives_other_numbers_is_not_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(portable_files, "LARGEST_ERROR", -1.0)
    with pytest.raises(UserError, match="differs from ours"):
        export_portable(encoder=folder / "encoder-2.0.safetensors", out=tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_the_file_is_written_and_not_compared(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(portable, "write_model", lambda network, path, *_: path.write_text("a model"))
    monkeypatch.setattr(portable_files, "find_spec", lambda name: name != "onnxruntime" or None)
    export_portable(encoder=folder / "encoder-2.0.safetensors", out=tmp_path / "a.onnx")
    assert (
        "not compared with ours, which needs onnxruntime; pip install 'vjepa[onnx]'"
        in capsys.readouterr().out
    )
    assert (tmp_path / "a.onnx").read_text() == "a model"


def refusal(words: str, folder: Path, capsys) -> str:
    """The one line with which the command refuses its words."""
    given = ["weights", "export", "--encoder", str(folder / "encoder-2.0.safetensors"), *words.split()]
    with pytest.raises(SystemExit, match="2"):
        main(given)
    *_, line = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--out FOLDER", "is a folder; name a file in it"),
        ("--out FOLDER/a.bin", "has the ending .bin; give .onnx for ONNX or .pt2"),
        ("--out FOLDER/a", "has no ending; give .onnx"),
        ("--out FOLDER/a.pt2 --format onnx", "a.pt2 does not end in .onnx, as files of --format onnx do"),
        ("--out FOLDER/a.onnx --frames 3", "use a multiple of 2 frames and of 8 pixels"),
        ("--out FOLDER/a.onnx --size 20", "use a multiple of 2 frames and of 8 pixels"),
        ("--out FOLDER/a.onnx --batch 0", "--batch 0 must be more than 0"),
        ("--out FOLDER/a.onnx --weights student", "no part named student"),
        ("--out FOLDER/a.onnx --probe none", "none does not exist"),
        ("--out FOLDER/a.onnx --probe FOLDER/encoder-2.1.safetensors", "no part named probe"),
        ("--out FOLDER/a.onnx --probe FOLDER/probe-2.1.safetensors", "tokens of another encoder"),
        ("--out FOLDER/a.onnx --probe FOLDER/wide.pt", "tokens of width 768, and the encoder's have 24"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(words, sentence, folder, capsys):
    torch.save({"classifiers": [meta_probe(AttentiveProbe(ProbeConfig(2, 16), 768, 5))]}, folder / "wide.pt")
    before = sorted(folder.iterdir())
    line = refusal(words.replace("FOLDER", str(folder)), folder, capsys)
    assert line.startswith("error: ") and sentence in line
    assert sorted(folder.iterdir()) == before


def test_the_source_is_not_overwritten(folder, tmp_path, capsys):
    source = tmp_path / "encoder.onnx"
    source.write_bytes((folder / "encoder-2.0.safetensors").read_bytes())
    with pytest.raises(UserError, match="is read and would be overwritten"):
        export_portable(encoder=source, out=source)


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_a_full_disk_is_one_sentence(ending, folder, tmp_path):
    with small_files_alone(), pytest.raises(UserError, match="cannot be written: File too large"):
        export_portable(encoder=folder / "encoder-2.0.safetensors", out=tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"layers": 3}, "ProbeSchema.layers is 3"),
        ({"layers": [7]}, "its probe reads the layers [7], and the encoder gives those of the blocks 0 to 2"),
        ({"names": ["x"]}, "the probe has 3 outputs and 1 names"),
        ({"clip": {"frames": 4}}, "ClipFacts lacks fps, size"),
    ],
)
def test_a_schema_that_no_probe_has_is_one_sentence(schema, sentence, folder, tmp_path, capsys):
    part = probe_part(AttentiveProbe(ProbeConfig(1, 2), 24, 3))
    probe = tmp_path / "probe.safetensors"
    export(probe, {"probe": Part(part.module, part.description | {"schema": schema})}, {})
    line = refusal(f"--out {tmp_path}/a.pt2 --probe {probe}", folder, capsys)
    assert "probe.safetensors" in line and sentence in line


def test_a_missing_extra_is_named_before_anything_is_loaded(folder, monkeypatch, capsys):
    monkeypatch.setattr(portable_files, "find_spec", lambda name: None)
    line = refusal(f"--out {folder}/missing.onnx --encoder none", folder, capsys)
    assert line == "error: ONNX needs onnx and onnxscript; pip install 'vjepa[onnx]'"


@pytest.mark.slow
def test_the_command_says_one_line_and_its_program_needs_torch_alone(folder, portable_of):
    source = folder / "encoder-2.0.safetensors"
    words = ["weights", "export", "--encoder", source, "--out", folder / "quiet.onnx"]
    told = subprocess.run([sys.executable, "-m", "vjepa", *words], capture_output=True, text=True, check=True)
    assert (told.stderr, told.stdout.count("\n")) == ("", 1) and "largest difference" in told.stdout

    code = (
        "import sys, torch; torch.export.load(sys.argv[1]); print([m for m in sys.modules if 'vjepa' in m])"
    )
    words = [sys.executable, "-c", code, portable_of("2.0", True, ".pt2")]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
