"""Two sources are compared as networks: whatever their layouts, by settings and by every number."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.weights.meta_files import meta_probe
from tests.weights.test_convert import NARROW, SMALL, written
from vjepa.__main__ import main
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.export import encoder_part, export, probe_part
from vjepa.weights.out.convert import convert


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("diff") / "own.safetensors")


def compared(capsys, *words: object) -> tuple[int, list[str]]:
    """The exit status, and the lines."""
    try:
        main(["weights", "diff", *map(str, words)])
    except SystemExit as end:
        return end.code, capsys.readouterr().out.splitlines()
    return 0, capsys.readouterr().out.splitlines()


def encoder_file(path: Path, encoder: Encoder) -> Path:
    export(path, {"ema": encoder_part(encoder)}, {})
    return path


def test_layouts_do_not_matter(source, tmp_path, capsys):
    convert(weights=source, to="hf", out=tmp_path / "hf")
    convert(weights=source, to="meta", out=tmp_path / "meta.pt")
    capsys.readouterr()
    equal = [f"{part:<12} equal" for part in ("ema", "student", "predictor", "probe")]
    assert compared(capsys, source, tmp_path / "meta.pt") == (0, equal)
    status, lines = compared(capsys, source, tmp_path / "hf")
    assert status == 1 and f"student      only in {source}" in lines
    assert compared(capsys, tmp_path / "hf", source, "--parts", "ema", "predictor", "probe")[0] == 0


def test_the_largest_difference_is_named(source, tmp_path, capsys):
    torch.manual_seed(0)
    encoder = Encoder(SMALL)
    first = encoder_file(tmp_path / "first.safetensors", encoder)
    with torch.no_grad():
        encoder.blocks[1].norm1.weight[3] += 0.25
        encoder.embed.bias[0] += 1e-3
    second = encoder_file(tmp_path / "second.safetensors", encoder)
    status, lines = compared(capsys, first, second)
    assert status == 1
    assert lines == ["ema          2 tensors differ, most blocks.1.norm1.weight, by 0.25"]


def test_settings_and_shapes_are_compared(tmp_path, capsys):
    def file(name: str, config: EncoderConfig) -> Path:
        torch.manual_seed(0)
        return encoder_file(tmp_path / name, Encoder(config))

    first = file("a", SMALL)
    status, lines = compared(capsys, first, file("b", replace(SMALL, heads=4, rope="interleaved")))
    assert status == 1
    assert lines == ["ema          heads is 2 and 4; rope is released and interleaved"]
    deeper = compared(capsys, first, file("c", replace(SMALL, depth=3)))[1][0]
    assert "depth is 2 and 3; only in the second: blocks.2." in deeper and "and 9 more" in deeper
    wider = compared(capsys, first, file("d", replace(SMALL, mlp_width=60)))[1][0]
    assert "mlp_width is 52 and 60" in wider and "by inf" in wider
    # How a network began is no part of what it computes.
    assert compared(capsys, first, first)[0] == 0


def test_the_start_of_training_does_not_count(tmp_path, capsys):
    torch.manual_seed(0)
    encoder = Encoder(SMALL)
    first = encoder_file(tmp_path / "first.safetensors", encoder)
    encoder.config = replace(SMALL, init_std=0.5)
    assert compared(capsys, first, encoder_file(tmp_path / "second.safetensors", encoder))[0] == 0


def test_precision_counts_by_its_numbers(tmp_path, capsys):
    encoder = Encoder(SMALL)
    parts = {"ema": encoder_part(encoder)}
    export(tmp_path / "half.safetensors", parts, {}, dtype="float16")
    single = encoder_file(tmp_path / "single.safetensors", encoder)
    status, lines = compared(capsys, tmp_path / "half.safetensors", single)
    assert status == 1 and "tensors differ" in lines[0]
    encoder.half().float()
    assert compared(capsys, tmp_path / "half.safetensors", encoder_file(single, encoder))[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("SOURCE none.pt", "none.pt does not exist"),
        ("SOURCE SOURCE --parts policy", "holds a part named policy"),
        ("SOURCE", "missing: SECOND"),
    ],
)
def test_an_error_has_the_status_2(words, sentence, source, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["weights", "diff", *words.replace("SOURCE", str(source)).split()])
    assert sentence in capsys.readouterr().err


def test_a_predictor_is_compared_with_what_it_takes_of_its_encoder(source, tmp_path, capsys):
    turned = written(tmp_path / "turned.safetensors", replace(SMALL, rope="interleaved"), NARROW)
    status, lines = compared(capsys, source, turned, "--parts", "predictor")
    assert status == 1 and lines == ["predictor    encoder.rope is released and interleaved"]


def test_a_probe_without_classes_is_equal_to_itself(tmp_path, capsys):
    export(tmp_path / "none.safetensors", {"probe": probe_part(AttentiveProbe(ProbeConfig(1, 2), 24, 0))}, {})
    assert compared(capsys, *[tmp_path / "none.safetensors"] * 2) == (0, ["probe        equal"])


def test_the_first_of_several_classifiers_is_compared_without_other_warnings(tmp_path, recwarn, capsys):
    for name in ("first.pt", "second.pt"):
        probes = [meta_probe(AttentiveProbe(ProbeConfig(1, 16), 768, 3)) for _ in range(2)]
        kept = [{key: torch.nn.Parameter(value) for key, value in probe.items()} for probe in probes]
        torch.save({"classifiers": kept}, tmp_path / name)
    with pytest.raises(SystemExit, match="1"):
        main(["weights", "diff", str(tmp_path / "first.pt"), str(tmp_path / "second.pt")])
    assert "second.pt holds 2 classifiers; the first is compared" in capsys.readouterr().err
    assert not [warning for warning in recwarn if "requires_grad" in str(warning.message)]
