"""Training that goes on from weights in other layouts equals the direct route."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.cooldown import Cooldown
from stages.pretrain import Pretrain
from tests.stage_runs import equal, fit
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.objectives.dense import ContextConfig
from vjepa.objectives.masks import BlockConfig, MaskConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.export import export
from vjepa.weights.out.convert import convert

OLD = EncoderConfig(width=24, depth=3, heads=2, mlp_width=48, patch=8, init_std=0.2)
NEW = replace(OLD, levels=(0, 2), rope="interleaved", rope_grid=16, image_tokenizer=True, modality=True)
NARROW = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48, mask_tokens=2)
MASKS = MaskConfig(kinds=(BlockConfig(2, 0.2),), group=8)
COMMON = {"masks": MASKS, "optim": OptimConfig(lr=Schedule(1e-3)), "momentum": Schedule(0.9)}
VERSIONS = {
    "2.0": {"encoder": OLD, "predictor": NARROW},
    "2.1": {"encoder": NEW, "predictor": replace(NARROW, dense=True), "context": ContextConfig(0.5)},
}


def clip_data(manifest: Path) -> ClipData:
    clip = ClipConfig(frames=4, fps=8.0, size=32)
    return ClipData([Source(str(manifest))], clip=clip, batch_size=8, workers=0)


@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.fixture
def pretrained(version, clips_manifest, tmp_path) -> Path:
    """The export of a short pretraining, whose encoder and average differ."""
    torch.manual_seed(0)
    stage = Pretrain(**COMMON | VERSIONS[version])
    fit(stage, clip_data(clips_manifest), tmp_path, steps=2)
    export(tmp_path / "pretrained.safetensors", stage.parts(), {"stage": "pretrain"})
    return tmp_path / "pretrained.safetensors"


def cooled(source: Path, version: str, manifest: Path, folder: Path) -> Cooldown:
    torch.manual_seed(7)
    stage = Cooldown(**COMMON | VERSIONS[version] | {"init_from": str(source)})
    fit(stage, clip_data(manifest), folder, steps=2)
    return stage


def test_a_cooldown_from_metas_layout_equals_the_direct_route(pretrained, version, clips_manifest, tmp_path):
    convert(pretrained, to="meta", out=tmp_path / "meta.pt")
    convert(tmp_path / "meta.pt", to="vjepa", out=tmp_path / "back.safetensors")
    direct = cooled(pretrained, version, clips_manifest, tmp_path)
    for source in ("meta.pt", "back.safetensors"):
        assert equal(direct, cooled(tmp_path / source, version, clips_manifest, tmp_path)), source


@pytest.mark.parametrize("version", ["2.0"], indirect=True)
def test_a_cooldown_from_hugging_face_equals_the_direct_route(
    pretrained, version, clips_manifest, tmp_path, capsys
):
    """Such a folder holds one encoder, the average; the direct route goes on from it too."""
    convert(pretrained, to="hf", out=tmp_path / "hf", parts=("ema", "predictor"))
    convert(tmp_path / "hf", to="vjepa", out=tmp_path / "back.safetensors")
    convert(pretrained, to="vjepa", out=tmp_path / "average.safetensors", parts=("ema", "predictor"))
    direct = cooled(tmp_path / "average.safetensors", version, clips_manifest, tmp_path)
    assert "holds one encoder, the averaged one" in capsys.readouterr().err
    for source in ("hf", "back.safetensors"):
        assert equal(direct, cooled(tmp_path / source, version, clips_manifest, tmp_path)), source


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"tubelet": 1}, "--model.encoder.tubelet 2"),
        ({"patch": 16}, "--model.encoder.patch 8"),
        ({"rope": "interleaved"}, "--model.encoder.rope released"),
        ({"levels": (0, 2)}, r"--model.encoder.levels \[\]"),
        ({"heads": 3}, "--model.encoder.heads 2"),
    ],
)
@pytest.mark.parametrize("version", ["2.0"], indirect=True)
def test_weights_of_other_settings_are_refused_with_the_remedy(
    pretrained, version, clips_manifest, tmp_path, changes, remedy
):
    settings = VERSIONS[version] | {"encoder": replace(OLD, **changes)}
    stage = Cooldown(**COMMON | settings | {"init_from": str(pretrained)})
    with pytest.raises(UserError, match=remedy):
        fit(stage, clip_data(clips_manifest), tmp_path, steps=1)
