"""Laws of V-JEPA 2.1 in the stages: the loss at kept places, images beside clips, distillation."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.cooldown import Cooldown
from stages.distil import Distil
from stages.pretrain import Pretrain
from tests.stage_runs import equal, fit
from vjepa.data.clip_data import ClipData, ImageSources, Source
from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.objectives.dense import ContextConfig, ImageConfig
from vjepa.objectives.masks import BlockConfig, MaskConfig
from vjepa.training.mask_groups import predict_groups, sample_groups
from vjepa.training.monitors import DataHealth
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_outputs import outputs_of
from vjepa.training.run_folder import differences
from vjepa.training.warm_start import check_same_configs
from vjepa.weights.export import encoder_part, export
from vjepa.weights.load import load_encoder, load_predictor
from vjepa.weights.pickles import read_pickle

OLD = EncoderConfig(width=24, depth=2, heads=2, mlp_width=48, patch=8)
NEW = replace(
    OLD, levels=(0, 1), rope="interleaved", rope_grid=16, image_tokenizer=True, modality=True, init_std=0.2
)
DENSE = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48, dense=True)
MASKS = MaskConfig(kinds=(BlockConfig(2, 0.2), BlockConfig(1, 0.5)), group=8)
CONTEXT = ContextConfig(weight=0.5, begin=0.25, full=0.75)
IMAGES = ImageConfig(share=0.4, masks=MaskConfig((BlockConfig(2, 0.2),), group=16), context=CONTEXT)
COMMON = {"masks": MASKS, "optim": OptimConfig(lr=Schedule(1e-3)), "momentum": Schedule(0.9)}
ROOT = Path(__file__).parents[2]
CLIP = ClipConfig(frames=4, fps=8.0, size=32)


def pretrain(**changes) -> Pretrain:
    torch.manual_seed(0)
    settings = {"encoder": NEW, "predictor": DENSE, "context": CONTEXT, "images": IMAGES}
    return Pretrain(**COMMON | settings | changes)


def clip_data(manifest: Path, batch_size: int = 8, per_clip: int = 2, images: bool = True) -> ClipData:
    sources = [Source(str(manifest))]
    joined = ImageSources(tuple(sources), size=32, per_clip=per_clip) if images else None
    return ClipData(sources, clip=CLIP, batch_size=batch_size, workers=0, images=joined)


@pytest.fixture
def teacher(tmp_path) -> Path:
    torch.manual_seed(1)
    large = Encoder(replace(OLD, width=32, depth=3, heads=4, init_std=0.2))
    export(tmp_path / "teacher.safetensors", {"ema": encoder_part(large)}, {})
    return tmp_path / "teacher.safetensors"


def distil(teacher: Path, **changes) -> Distil:
    torch.manual_seed(0)
    settings = {"encoder": OLD, "predictor": replace(DENSE, target_width=32), "context": CONTEXT}
    return Distil(str(teacher), **COMMON | settings | changes)


def test_the_weight_of_kept_places_is_a_function_of_the_share_of_the_run():
    for total in (8, 8000):
        shares = (0.125, 0.25, 0.5, 0.75, 1.0)
        weights = [CONTEXT.at(int(share * total), total) for share in shares]
        assert weights == [0.0, 0.0, 0.25, 0.5, 0.5]
    assert ContextConfig(0.7).at(1, 10) == 0.7
    assert [ContextConfig(0.7, 0.5, 0.5).at(step, 10) for step in (5, 6)] == [0.0, 0.7]


def test_the_loss_is_the_papers_sum(clips_manifest, tmp_path):
    """At dropped places, and at kept ones with their weight; images have their share."""
    seen = []

    class Kept(Pretrain):
        def training_step(self, batch, batch_idx):
            outputs = super().training_step(batch, batch_idx)
            weight = CONTEXT.at(self.global_step + 1, 4)
            clips = outputs["l1"] + weight * outputs["context_l1"]
            seen.append((outputs["loss"].detach(), clips, outputs["images_l1"]))
            return outputs

    torch.manual_seed(0)
    images = replace(IMAGES, context=CONTEXT)
    stage = Kept(encoder=NEW, predictor=DENSE, context=CONTEXT, images=images, **COMMON)
    fit(stage, clip_data(clips_manifest), tmp_path, steps=4)
    first_loss, first_clips, first_images = seen[0]  # of which nothing counts at kept places
    torch.testing.assert_close(first_loss, 0.6 * first_clips + 0.4 * first_images)
    assert all(loss > 0.6 * clips for loss, clips, _ in seen)


def test_a_cut_run_with_images_resumes_exactly(clips_manifest, tmp_path):
    constant = ContextConfig(0.5)  # as the runs have different lengths
    changes = {"context": constant, "images": replace(IMAGES, context=constant)}
    straight, first, second = (pretrain(**changes) for _ in range(3))
    fit(straight, clip_data(clips_manifest), tmp_path, steps=6)
    fit(first, clip_data(clips_manifest), tmp_path, steps=4).save_checkpoint(tmp_path / "step=4.ckpt")
    fit(second, clip_data(clips_manifest), tmp_path, steps=6, ckpt_path=tmp_path / "step=4.ckpt")
    assert equal(straight, second) and not equal(straight, first)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_of_clips_and_images_equal_one_batch(clips_manifest, tmp_path, accumulate):
    whole = pretrain()
    cut = pretrain()
    fit(whole, clip_data(clips_manifest), tmp_path, steps=3)
    smaller = clip_data(clips_manifest, 8 // accumulate)
    fit(cut, smaller, tmp_path, steps=3, accumulate_grad_batches=accumulate)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[key], value, atol=2e-5, rtol=1e-4)


def test_images_count_among_the_draws_of_the_data_s_health(clips_manifest, tmp_path):
    health = DataHealth(tmp_path)
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=3, callbacks=[health])
    assert health.draws == 3 * (8 + 16)  # 8 clips and, of each, two images


def test_a_run_without_images_leaves_what_only_images_train(clips_manifest, tmp_path):
    def moved(stage: Pretrain, data: ClipData) -> set[str]:
        before = {key: value.clone() for key, value in stage.encoder.state_dict().items()}
        fit(stage, data, tmp_path, steps=2)
        after = stage.encoder.state_dict()
        return {key for key, value in before.items() if not torch.equal(value, after[key])}

    of_images = {"embed_image.weight", "embed_image.bias", "modality.image"}
    assert moved(pretrain(), clip_data(clips_manifest)) == {*Encoder(NEW).state_dict()}
    without = moved(pretrain(images=None), clip_data(clips_manifest, images=False))
    assert without == {*Encoder(NEW).state_dict()} - of_images


def test_one_batch_is_overfitted_at_dropped_and_at_kept_places():
    clip = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    stage = pretrain(predictor=replace(DENSE, width=64, depth=2), images=None)
    groups = sample_groups(MASKS, stage.encoder.grid(clip), 2, seed=0, step=0, batch=0)
    optimizer = torch.optim.AdamW((p for p in stage.parameters() if p.requires_grad), 3e-3)
    losses = []
    for _ in range(200):
        targets = stage.target_tokens(clip)
        predictions = predict_groups(stage.encoder, stage.predictor, clip, targets, groups)
        outputs = outputs_of(predictions, targets, stage.encoder.grid(clip), CONTEXT, 1.0)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
        losses.append((outputs["l1"].item(), outputs["context_l1"].item()))
    assert losses[-1][0] < 0.3 * losses[0][0] and losses[-1][1] < 0.3 * losses[0][1]


@pytest.mark.parametrize(
    ("changes", "images", "sentence"),
    [
        ({"context": None, "images": None}, False, "model.predictor.dense is the output that model.context"),
        ({"images": replace(IMAGES, context=None)}, True, "with images model.images.context"),
        ({"images": None}, True, "data.images where they are; give both or neither"),
        ({}, False, "data.images where they are; give both or neither"),
        ({}, "odd", r"data\.batch_size x data\.images\.per_clip=24 and model\.images\.masks\.group=16: one"),
        ({"predictor": replace(DENSE, target_width=24)}, True, "is for predictors of a teacher's tokens"),
        ({"half_life": 0.0}, True, "half_life=0.0 is a number of clips"),
        ({"momentum": Schedule(0.9, start=2.0, warmup=3)}, True, r"model\.momentum\.start=2\.0 is a share"),
        ({}, "frame", "to an encoder with image_tokenizer such clips are images"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(clips_manifest, tmp_path, changes, images, sentence):
    data = clip_data(clips_manifest, per_clip=3 if images == "odd" else 2, images=bool(images))
    data.clip = replace(CLIP, frames=1) if images == "frame" else CLIP
    with pytest.raises(UserError, match=sentence):
        fit(pretrain(**changes), data, tmp_path, steps=1)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_half_life_counts_clips_however_a_step_is_cut(clips_manifest, tmp_path, accumulate):
    stage = pretrain(images=None, half_life=16.0)  # two steps of eight clips
    data = clip_data(clips_manifest, 8 // accumulate, images=False)
    before = {key: value.clone() for key, value in stage.target.state_dict().items()}
    fit(stage, data, tmp_path, steps=1, accumulate_grad_batches=accumulate)
    for key, online in stage.encoder.state_dict().items():
        expected = before[key] + (1 - 0.5**0.5) * (online - before[key])
        torch.testing.assert_close(stage.target.state_dict()[key], expected)


@pytest.mark.parametrize("changes", [{"weight": 0.0}, {"begin": 0.5}, {"begin": -0.1}, {"full": 1.5}])
def test_impossible_weights_of_kept_places_are_refused(changes):
    with pytest.raises(UserError, match="context"):
        ContextConfig(**changes)


def test_a_cooldown_goes_on_with_levels_and_images(clips_manifest, tmp_path):
    before = pretrain()
    fit(before, clip_data(clips_manifest), tmp_path, steps=2).save_checkpoint(tmp_path / "step=2.ckpt")
    torch.manual_seed(5)
    source = str(tmp_path / "step=2.ckpt")
    settings = COMMON | {"encoder": NEW, "predictor": DENSE, "context": CONTEXT, "images": IMAGES}
    after = Cooldown(**settings | {"init_from": source, "optim": OptimConfig(lr=Schedule(1e-9))})
    fit(after, clip_data(clips_manifest), tmp_path, steps=1)
    for key, value in before.encoder.state_dict().items():
        torch.testing.assert_close(after.encoder.state_dict()[key], value, atol=1e-6, rtol=0)


def test_a_checkpoint_of_an_older_version_has_the_defaults_of_what_it_does_not_name():
    stage = Pretrain(encoder=replace(OLD, rope_grid=16), predictor=replace(DENSE, dense=False))
    old = {"width": 24, "depth": 2, "heads": 2, "mlp_width": 48, "patch": 8, "rope": "released"}
    with pytest.raises(UserError, match=r"another encoder than model.encoder: \{'rope_grid': None\}"):
        check_same_configs(stage.networks, {"encoder": old}, "old.ckpt")
    same = Pretrain(encoder=OLD, predictor=replace(DENSE, dense=False))
    check_same_configs(same.networks, {"encoder": old}, "old.ckpt")


def test_a_run_of_an_older_version_continues_where_new_settings_are_off():
    old = {"model": {"encoder": {"width": 64}, "seed": 0}}
    new = {"model": {"encoder": {"width": 64, "levels": [], "modality": False}, "images": None, "seed": 0}}
    assert differences(old, new) == []
    new["model"]["encoder"]["levels"] = [0, 1]
    assert differences(old, new) == ["model.encoder.levels.0: None -> 0", "model.encoder.levels.1: None -> 1"]


def test_a_student_learns_from_a_teacher_that_stays(clips_manifest, tmp_path, teacher):
    stage = distil(teacher)
    trainer = fit(stage, clip_data(clips_manifest, images=False), tmp_path, steps=4)
    assert equal(stage.teacher, load_encoder(teacher))
    assert not equal(stage.target, stage.encoder)
    trainer.save_checkpoint(tmp_path / "step=4.ckpt")
    state = read_pickle(tmp_path / "step=4.ckpt")["state_dict"]
    assert not any(key.startswith("teacher.") for key in state)
    export(tmp_path / "student.safetensors", stage.parts(), {})
    assert equal(load_encoder(tmp_path / "student.safetensors"), stage.target)
    assert load_predictor(tmp_path / "student.safetensors").out.out_features == 32


def test_a_distillation_resumes_exactly_and_with_its_teacher_alone(clips_manifest, tmp_path, teacher):
    data = clip_data(clips_manifest, images=False)
    constant = ContextConfig(0.5)  # as the two runs have different lengths
    straight, first, second = (distil(teacher, context=constant) for _ in range(3))
    fit(straight, data, tmp_path, steps=4)
    fit(first, data, tmp_path, steps=2).save_checkpoint(tmp_path / "step=2.ckpt")
    fit(second, data, tmp_path, steps=4, ckpt_path=tmp_path / "step=2.ckpt")
    assert equal(straight, second) and not equal(straight, first)

    other = Encoder(replace(OLD, width=32, depth=3, heads=4, init_std=0.2))
    export(tmp_path / "other.safetensors", {"ema": encoder_part(other)}, {})
    with pytest.raises(UserError, match=r"trained with another teacher than .*other"):
        stage = distil(tmp_path / "other.safetensors", context=constant)
        fit(stage, data, tmp_path, steps=4, ckpt_path=tmp_path / "step=2.ckpt")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"predictor": replace(DENSE, target_width=24)},
            "target_width=24, and .* have 32; give 32",
        ),
        ({"encoder": replace(OLD, patch=16)}, "give the student the teacher's patch and tubelet"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(clips_manifest, tmp_path, teacher, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        fit(distil(teacher, **changes), clip_data(clips_manifest, images=False), tmp_path, steps=1)


def test_a_distilled_run_goes_on_in_distillation_alone(clips_manifest, tmp_path, teacher):
    stage = distil(teacher)
    trainer = fit(stage, clip_data(clips_manifest, images=False), tmp_path, steps=1)
    trainer.save_checkpoint(tmp_path / "step=1.ckpt")
    cooldown = Cooldown(**COMMON, encoder=OLD, predictor=DENSE, init_from=str(tmp_path / "step=1.ckpt"))
    with pytest.raises(UserError, match=r"was distilled, .* go on with `vjepa fit distil`"):
        cooldown.context = CONTEXT
        fit(cooldown, clip_data(clips_manifest, images=False), tmp_path, steps=1)


def test_what_only_images_train_has_no_average_either(clips_manifest, tmp_path):
    stage = pretrain(images=None)
    with torch.no_grad():
        stage.encoder.embed_image.weight.add_(1.0)
    before = stage.target.embed_image.weight.clone()
    fit(stage, clip_data(clips_manifest, images=False), tmp_path, steps=2)
    assert torch.equal(stage.target.embed_image.weight, before)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--model.context.weight=0", "context.weight=0.0 must be positive"),
        ("--model.images.share=1", "images.share=1.0 is a share"),
        ("--data.images.per_clip=0", "data.images: size=None and per_clip=0 must both be positive"),
    ],
)
def test_what_an_optional_group_refuses_is_one_sentence(option, sentence, tmp_path):
    command = [sys.executable, "-m", "stages.pretrain", "fit", "--config", "conf/pretrain.yaml"]
    more = ["--data.images.train", "[{manifest: a.csv}]"] if "data.images" in option else []
    told = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), *more, option], capture_output=True, text=True, cwd=ROOT
    )
    assert told.returncode == 2 and told.stderr.count("\n") < 4 and sentence in told.stderr
