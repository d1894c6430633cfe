"""Laws of the stages, on real decoded video: a step is the same however it is cut, killed or resumed."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.cooldown import Cooldown, read_moments
from stages.pretrain import Pretrain
from stages.probe import Probe
from tests.stage_runs import equal, fit
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.manifest_files import ManifestError
from vjepa.data.transforms import normalise
from vjepa.errors import DataError, UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.models.probe import ProbeConfig
from vjepa.objectives import ema
from vjepa.objectives.masked_prediction import target_tokens
from vjepa.objectives.masks import BlockConfig, MaskConfig
from vjepa.training.loss_guard import LossGuard
from vjepa.training.mask_groups import sample_groups
from vjepa.training.monitors import DataHealth
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_encoder, load_predictor, load_probe

TINY = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)
NARROW = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48)
MASKS = MaskConfig(kinds=(BlockConfig(2, 0.2), BlockConfig(1, 0.5)), group=8)
OPTIM = OptimConfig(lr=Schedule(1e-3))
CLIP = ClipConfig(frames=4, fps=8.0, size=32)


def pretrain(**changes) -> Pretrain:
    torch.manual_seed(0)
    settings = {
        "encoder": TINY,
        "predictor": NARROW,
        "masks": MASKS,
        "optim": OPTIM,
        "momentum": Schedule(0.9),
    }
    return Pretrain(**settings | changes)


def loss_of(stage: Pretrain, clip: torch.Tensor, step: int = 0, batch: int = 0) -> torch.Tensor:
    """The loss of a batch, with the masks of its place in the run."""
    groups = sample_groups(MASKS, stage.encoder.grid(clip), len(clip), seed=0, step=step, batch=batch)
    return stage.predict(clip, groups)["loss"]


def clip_data(manifest: Path, batch_size: int = 8) -> ClipData:
    return ClipData([Source(str(manifest))], clip=CLIP, batch_size=batch_size, workers=0)


def test_accumulated_micro_batches_equal_one_batch(clips_manifest, tmp_path):
    """Same clips, same masks, same loss, one EMA update: 4 x 2 clips are 1 x 8 clips."""
    whole = pretrain()
    cut = pretrain()
    fit(whole, clip_data(clips_manifest, 8), tmp_path, steps=5)  # 24 clips: into the second epoch
    fit(cut, clip_data(clips_manifest, 2), tmp_path, steps=5, accumulate_grad_batches=4)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(
            cut.state_dict()[key], value, atol=2e-5, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_a_batch_of_several_groups_equals_its_groups():
    clip = torch.randn(16, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    stage = pretrain()
    whole = loss_of(stage, clip, step=5)
    groups = enumerate(clip.split(8))
    parts = [loss_of(stage, group, step=5, batch=i) for i, group in groups]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_one_batch_is_overfitted():
    clip = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    stage = pretrain(predictor=replace(NARROW, width=64, depth=2))
    optimizer = torch.optim.AdamW(stage.parameters(), 5e-3)
    losses = []
    for _ in range(300):
        loss = loss_of(stage, clip)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_dropped_tokens_are_invisible_to_the_context():
    """Pixels under a dropped tubelet change the target, never the context tokens."""
    stage = pretrain()
    clip = torch.randn(1, 3, 4, 32, 32)
    keep = torch.arange(0, 32, 2)[None]
    drop = torch.arange(1, 32, 2)[None]
    changed = clip.clone()
    changed[:, :, 0:2, 0:8, 8:16] = 5.0  # token 1
    assert torch.equal(stage.encoder(clip, keep), stage.encoder(changed, keep))
    assert not torch.equal(stage.encoder(clip, drop), stage.encoder(changed, drop))


def test_the_target_has_no_gradient_and_no_optimiser():
    stage = pretrain()
    loss_of(stage, torch.randn(8, 3, 4, 32, 32)).backward()
    assert all(p.grad is None for p in stage.target.parameters())
    optimised = {id(p) for group in stage.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for module in (stage.encoder, stage.predictor) for p in module.parameters()}


def test_a_cut_run_resumes_exactly(clips_manifest, tmp_path):
    """Weights, target, moments, order of clips and masks: six steps, or four, a checkpoint and two."""
    straight, first, second = (pretrain() for _ in range(3))
    fit(straight, clip_data(clips_manifest), tmp_path, steps=6)
    trainer = fit(first, clip_data(clips_manifest), tmp_path, steps=4)
    trainer.save_checkpoint(tmp_path / "step=4.ckpt")
    fit(second, clip_data(clips_manifest), tmp_path, steps=6, ckpt_path=tmp_path / "step=4.ckpt")
    assert equal(straight, second) and not equal(straight, first)


def test_activation_checkpointing_changes_memory_only():
    clip = torch.randn(8, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for activation_checkpointing in (False, True):
        stage = pretrain(activation_checkpointing=activation_checkpointing)
        loss_of(stage, clip).backward()
        gradients.append([p.grad for p in stage.encoder.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_cooldown_takes_over_and_ends_at_its_final_rate(clips_manifest, tmp_path):
    first = pretrain()
    fit(first, clip_data(clips_manifest), tmp_path, steps=3).save_checkpoint(tmp_path / "step=3.ckpt")
    falling = OptimConfig(lr=Schedule(1e-3, final=1e-6, decay=4))
    stage = Cooldown(TINY, NARROW, MASKS, falling, Schedule(0.9), init_from=str(tmp_path))
    longer = ClipData(
        [Source(str(clips_manifest))], clip=ClipConfig(frames=6, fps=8.0, size=48), batch_size=8, workers=0
    )
    moments = []

    def count_moments(batch, batch_idx) -> None:
        moments.append(len(stage.optimizers().optimizer.state))

    stage.on_train_batch_start = count_moments
    before = first.state_dict()
    trainer = fit(stage, longer, tmp_path, steps=4)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-6
    trained = [*stage.encoder.parameters(), *stage.predictor.parameters()]
    assert moments[0] == len(trained)  # of the first run, before the first step of the second
    assert not torch.equal(stage.encoder.embed.weight, before["encoder.embed.weight"])


@pytest.mark.parametrize(
    "states",
    [
        None,
        [],
        [{"state": None}],
        [{"state": {7: {}}}],
        [{"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}}],
        [
            {
                "state": {
                    0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(2)}
                }
            }
        ],
    ],
)
def test_moments_that_are_none_are_one_sentence(states, tmp_path):
    weight = torch.nn.Parameter(torch.zeros(3))
    file = tmp_path / "step=3.ckpt"
    torch.save({"optimizer_states": states} if states is not None else {}, file)
    with pytest.raises(
        CheckpointError, match=r"step=3\.ckpt: .*; give another checkpoint, or the export"
    ) as told:
        read_moments(file, torch.optim.AdamW([weight]))
    assert "\n" not in str(told.value)


def test_hand_over_round_trip(tmp_path):
    stage = pretrain()
    ema.update(stage.target, Encoder(TINY), 0.5)  # so that student and target differ
    export(tmp_path / "model.safetensors", stage.parts(), {"stage": "pretrain"})
    assert equal(load_encoder(tmp_path / "model.safetensors"), stage.target)
    assert equal(load_encoder(tmp_path / "model.safetensors", "student"), stage.encoder)
    assert equal(load_predictor(tmp_path / "model.safetensors"), stage.predictor)


@pytest.fixture
def encoder_file(tmp_path) -> Path:
    torch.manual_seed(1)
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    return tmp_path / "encoder.safetensors"


def test_probe_learns_motion_and_leaves_the_encoder_alone(clips_manifest, encoder_file, tmp_path):
    clip = ClipConfig(frames=8, fps=8.0, size=32, scale=(0.8, 1.0), flip=0.0)
    data = LabelledClipData(
        [Source(str(clips_manifest))], str(clips_manifest), str(clips_manifest), clip, 8, 0
    )
    stage = Probe(str(encoder_file), 2, ProbeConfig(depth=1, heads=4), optim=OptimConfig(lr=Schedule(3e-3)))
    trainer = fit(stage, data, tmp_path, steps=60)
    assert equal(stage.encoder, load_encoder(encoder_file)) and not stage.encoder.training
    trained = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(p) for p in stage.probes.parameters()}
    trainer.test(stage, data, verbose=False)
    scores = {score["name"]: score["value"] for score in json.loads((tmp_path / "scores.json").read_text())}
    assert scores["our encoder"] >= 0.9 and scores["chance"] == 0.5
    export(tmp_path / "probe.safetensors", stage.parts(), {})
    assert all(key.startswith("probe.") for key in load_file(tmp_path / "probe.safetensors"))
    tokens = stage.tokens("encoder", normalise(torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8)))
    probe = stage.probes["encoder"].member(0).eval()
    torch.testing.assert_close(load_probe(tmp_path / "probe.safetensors").eval()(tokens), probe(tokens))


def spoiled(manifest: Path, good: int, bad: int) -> Path:
    """A manifest beside the good one with so many good and bad rows."""
    (manifest.parent / "bad.mp4").write_bytes(b"not a video")
    rows = manifest.read_text().splitlines()
    path = manifest.parent / f"spoiled_{good}_{bad}.csv"
    path.write_text("\n".join(rows[: 1 + good] + ["bad.mp4,0"] * bad) + "\n")
    return path


def test_a_tolerated_bad_file_is_replaced_counted_and_named_once(clips_manifest, tmp_path, capsys):
    data = clip_data(spoiled(clips_manifest, 20, 1), 4)
    health = DataHealth(tmp_path)
    fit(pretrain(), data, tmp_path, steps=12, callbacks=[health])
    assert health.failed >= 2 and health.draws == 48 + health.failed
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert said == f"left out: {health.failed} of {health.draws} draws, listed in {tmp_path}/bad_files.txt"
    fit(pretrain(), data, tmp_path, steps=12, callbacks=[DataHealth(tmp_path)])  # as if it went on
    assert (tmp_path / "bad_files.txt").read_text().count("bad.mp4") == 1


def test_where_nothing_is_left_out_nothing_is_said(clips_manifest, tmp_path, capsys):
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=1, callbacks=[DataHealth(tmp_path)])
    assert "left out" not in capsys.readouterr().out
    (tmp_path / "left_out_episodes.txt").write_text("episode 3: no images\nepisode 7: no state\n")
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=1, callbacks=[DataHealth(tmp_path)])
    assert f"left out: 2 episodes, listed in {tmp_path}/left_out_episodes.txt" in capsys.readouterr().out


def test_too_many_bad_files_stop_the_run(clips_manifest, tmp_path):
    data = clip_data(spoiled(clips_manifest, 6, 6))
    sentence = r"of \d+ draws could not be decoded, more than data\.max_bad_share=0\.05.*bad\.mp4"
    with pytest.raises(DataError, match=sentence):
        fit(pretrain(), data, tmp_path, steps=50, callbacks=[DataHealth(tmp_path)])


def test_only_bad_files_stop_at_once(clips_manifest, tmp_path):
    data = clip_data(spoiled(clips_manifest, 0, 2))
    with pytest.raises(DataError, match=r"several draws in a row .*bad\.mp4"):
        fit(pretrain(), data, tmp_path, steps=50, callbacks=[DataHealth(tmp_path)])


def test_a_gradient_that_is_no_number_stops_before_it_is_saved(clips_manifest, tmp_path):
    stage = pretrain()
    with torch.no_grad():
        stage.encoder.norm.bias.fill_(torch.nan)
    with pytest.raises(DataError, match=r"loss at step 1 is (nan|inf); lower model\.optim\.lr"):
        fit(stage, clip_data(clips_manifest), tmp_path, steps=3, callbacks=[LossGuard()])


def test_other_heads_or_positions_are_refused(clips_manifest, tmp_path):
    export(tmp_path / "model.safetensors", pretrain().parts(), {})
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=1).save_checkpoint(tmp_path / "step=1.ckpt")
    for source in ("model.safetensors", "step=1.ckpt"):
        other = pretrain(encoder=replace(TINY, heads=2), init_from=str(tmp_path / source))
        with pytest.raises(UserError, match=r"holds another encoder than model\.encoder: \{'heads': 4\}"):
            fit(other, clip_data(clips_manifest), tmp_path, steps=1)


def test_targets_are_normed_without_gradient_and_telemetry_survives_accumulation(clips_manifest, tmp_path):
    stage = pretrain()
    target = target_tokens(stage.target, torch.randn(2, 3, 4, 32, 32))
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(-1, correction=0), torch.ones(2, 32), atol=1e-3, rtol=0)
    losses = []
    stage.on_train_batch_end = lambda outputs, batch, batch_idx: losses.append(float(outputs["l1"]))
    fit(stage, clip_data(clips_manifest, 2), tmp_path, steps=1, accumulate_grad_batches=4)
    assert min(losses) > 0.5  # an untrained loss, not a quarter of one


def test_the_ema_follows_its_schedule(clips_manifest, tmp_path):
    # A warm-up of one step is at its peak from the start.
    frozen = pretrain(momentum=Schedule(1.0, start=0.0, warmup=1))
    before = {key: value.clone() for key, value in frozen.target.state_dict().items()}
    fit(frozen, clip_data(clips_manifest), tmp_path, steps=2)
    assert all(torch.equal(value, before[key]) for key, value in frozen.target.state_dict().items())
    follows = pretrain(momentum=Schedule(1.0, final=0.0, decay=2))
    fit(follows, clip_data(clips_manifest), tmp_path, steps=2)
    assert equal(follows.target, follows.encoder)


def test_the_probes_controls_are_what_they_say(clips_manifest, encoder_file, tmp_path):
    clip = ClipConfig(frames=8, fps=8.0, size=32)
    data = LabelledClipData(
        [Source(str(clips_manifest))], str(clips_manifest), str(clips_manifest), clip, 8, 0
    )
    stage = Probe(str(encoder_file), 2, ProbeConfig(depth=1, heads=4), optim=OptimConfig(lr=Schedule(1e-3)))
    fit(stage, data, tmp_path, steps=0)
    moving = torch.randn(1, 3, 8, 32, 32)
    only_middle = torch.randn(1, 3, 8, 32, 32)
    only_middle[:, :, 4] = moving[:, :, 4]
    assert torch.equal(stage.tokens("frame", moving), stage.tokens("frame", only_middle))
    assert not torch.equal(stage.tokens("encoder", moving), stage.tokens("encoder", only_middle))
    assert not equal(stage.random, stage.encoder) and stage.random.config == stage.encoder.config
    assert equal(stage.probes["random"], stage.probes["encoder"]) and equal(
        stage.probes["frame"], stage.probes["encoder"]
    )
    five = clips_manifest.with_name("five.csv")
    five.write_text("path,label\n00.mp4,5\n")
    wrong = LabelledClipData([Source(str(clips_manifest))], str(five), str(clips_manifest), clip, 8, 0)
    with pytest.raises(ManifestError, match=r"outside 0\.\.1 \(model\.classes=2\)"):
        fit(Probe(str(encoder_file), 2, ProbeConfig(depth=1, heads=4)), wrong, tmp_path, steps=1)


RECIPE = """
model:
  encoder: {width: 48, depth: 2, heads: 4, mlp_width: 96, patch: 8}
  predictor: {width: 24, depth: 1, heads: 2, mlp_width: 48}
  masks: {kinds: [{blocks: 2, scale: 0.2}], group: 8}
  optim: {lr: {peak: 0.001}}
data:
  train: [{manifest: MANIFEST}]
  clip: {frames: 4, fps: 8, size: 32}
  batch_size: 8
  workers: 0
trainer: {max_steps: 6, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false,
  log_every_n_steps: 2, callbacks: [
  {class_path: vjepa.training.pretraining_monitors.CollapseMonitor},
  {class_path: vjepa.training.image_monitor.ImageMonitor}]}
checkpoint: {every_n_train_steps: 2}
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The real command, from a foreign working directory."""
    program = [sys.executable, "-m", "stages.pretrain", "fit", "--config", "recipe.yaml", "--out", "run"]
    return subprocess.run([*program, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_command_finishes_skips_and_refuses(clips_manifest, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    first = command(tmp_path)
    assert first.returncode == 0, first.stderr
    assert load_encoder(tmp_path / "run/model.safetensors").config.width == 48
    card = read_card(tmp_path / "run/model.safetensors")
    assert (card.stage, card.seed) == ("pretrain", 0) and card.clip and card.data
    assert card.commit == (tmp_path / "run/commit.txt").read_text().strip()
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    second = command(tmp_path)
    assert second.returncode == 0 and "finished, nothing to do" in second.stdout
    third = command(tmp_path, "--data.clip.fps", "4")
    assert third.returncode == 2 and third.stderr.count("\n") == 1
    assert "data.clip.fps: 8.0 -> 4.0" in third.stderr
    fourth = command(tmp_path, "--data.clip.frmes", "4")
    assert fourth.returncode == 2 and "frmes" in fourth.stderr


@pytest.mark.slow
def test_two_processes_equal_one(clips_manifest, tmp_path):
    """Two devices of four clips take the same steps as one of eight: same files, masks and gradients."""
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    assert command(tmp_path, "--out", "one").returncode == 0
    spread = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "4")
    two = command(tmp_path, "--out", "two", *spread)
    assert two.returncode == 0, two.stderr
    single, both = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for key, value in single.items():
        torch.testing.assert_close(
            both[key], value, atol=2e-5, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_as_if_never_killed(clips_manifest, tmp_path):
    recipe = RECIPE.replace("MANIFEST", str(clips_manifest)).replace("max_steps: 6", "max_steps: 60")
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert command(tmp_path, "--out", "straight").returncode == 0
    name = ("--checkpoint.filename", "{epoch}-{step}")
    program = [sys.executable, "-m", "stages.pretrain", "fit", "--config", "recipe.yaml", "--out", "killed"]
    victim = subprocess.Popen(
        [*program, *name], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list((tmp_path / "killed/checkpoints").glob("*-step=*.ckpt")):
        assert victim.poll() is None, "ended before it could be killed"
        time.sleep(0.05)
    victim.kill()
    victim.wait()
    assert not (tmp_path / "killed/model.safetensors").exists()
    resumed = command(tmp_path, "--out", "killed", *name, "--trainer.log_every_n_steps", "7")
    assert resumed.returncode == 0 and "continuing after step" in resumed.stdout
    straight, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert all(torch.equal(value, killed[key]) for key, value in straight.items())


@pytest.mark.slow
def test_a_cooldown_notices_that_its_start_was_trained_anew(clips_manifest, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    assert command(tmp_path).returncode == 0
    after = ("--out", "after", "--model.init_from", "run/model.safetensors")
    assert command(tmp_path, *after).returncode == 0
    (tmp_path / "run/model.safetensors").unlink()
    shutil.rmtree(tmp_path / "run")
    assert command(tmp_path, "--seed_everything", "1").returncode == 0
    refused = command(tmp_path, *after)
    assert refused.returncode == 2 and "the file was written anew since" in refused.stderr
