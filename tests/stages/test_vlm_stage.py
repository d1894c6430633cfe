"""Laws of language alignment: what is trained, what is kept, what is resumed, what a folder gives back."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("transformers", reason="language models need the vlm extra")

from stages.vlm import VLM
from vjepa.__main__ import main
from vjepa.benchmarks.controls import CONTROLS, mark_answers, unrelated_row
from vjepa.benchmarks.video_questions import evaluate, score_table
from vjepa.data.decode_error import DecodeError
from vjepa.errors import DataError, UserError
from vjepa.language.batches import EvaluationCaptions
from vjepa.language.caption_data import CaptionData, CaptionSource
from vjepa.language.conversation_files import read_captions
from vjepa.language.conversations import Turn
from vjepa.language.language_model import (
    LanguageConfig,
    LoRA,
    load_language,
    new_language,
    new_tokenizer,
    save_language,
)
from vjepa.language.media import FrameConfig
from vjepa.language.sample_answers import SampleAnswers
from vjepa.language.tiny_language_model import TinyLanguageConfig, train_tiny_language
from vjepa.language.video_chat import VideoChat
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.projector import ProjectorConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError

SIDES = ("to the left", "to the right")
CLIP = FrameConfig(frames=4, size=32)
TINY = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)


@pytest.fixture(scope="module")
def world(clips_manifest, tmp_path_factory) -> Path:
    """An encoder, a language model, and questions about the clips of a moving square."""
    folder = tmp_path_factory.mktemp("world")
    torch.manual_seed(0)
    export(folder / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    torch.manual_seed(1)
    export(folder / "other.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    export(folder / "wide.safetensors", {"ema": encoder_part(Encoder(replace(TINY, width=48)))}, {})
    rows = []
    for i in range(24):
        turns = [{"from": "human", "value": "<video>\nWhich way?"}, {"from": "gpt", "value": SIDES[i % 2]}]
        video = str(clips_manifest.parent / f"{i:02}.mp4")
        rows.append(
            {"video": video, "conversations": turns, "options": SIDES, "kind": "side", "pair": str(i // 2)}
        )
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenizer = new_tokenizer(["Which way?", *SIDES] * 3, 300)
    torch.manual_seed(0)
    save_language(new_language(len(tokenizer), 32, 2, 2), tokenizer, folder / "language")
    return folder


def stage(world: Path, **changes) -> VLM:
    torch.manual_seed(0)
    settings = {
        "encoder": str(world / "encoder.safetensors"),
        "language": LanguageConfig(str(world / "language")),
        "projector": ProjectorConfig((1, 2, 2)),
        "optim": OptimConfig(lr=Schedule(3e-3)),
        "context": 64,
    }
    return VLM(**settings | changes)


def data(world: Path, **changes) -> CaptionData:
    rows = str(world / "rows.jsonl")
    return CaptionData(
        [CaptionSource(rows)], **{"val": rows, "clip": CLIP, "batch_size": 8, "workers": 0} | changes
    )


def fit(
    model: VLM, caption_data: CaptionData, folder: Path, steps: int, ckpt_path=None, **settings
) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
        "default_root_dir": folder,
        "use_distributed_sampler": False,
        "limit_val_batches": 0,
    }
    trainer = L.Trainer(max_steps=steps, **quiet | settings)
    trainer.fit(model, caption_data, ckpt_path=ckpt_path)
    return trainer


def finished(world: Path, folder: Path, **changes) -> Path:
    """The folder of a run of two steps, as the command line leaves it."""
    model = stage(world, **changes)
    fit(model, data(world), folder, 2)
    export(folder / "model.safetensors", model.parts(), {"stage": "vlm"})
    return folder


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    state = b.state_dict()
    return all(torch.equal(value, state[key]) for key, value in a.state_dict().items())


@pytest.mark.parametrize("phase", ["projector", "whole", "adapter"])
def test_a_phase_trains_what_has_a_learning_rate_and_never_the_encoder(world, tmp_path, phase):
    lora = LoRA(rank=4, alpha=8.0) if phase == "adapter" else None
    changes = {} if phase == "projector" else {"language_lr": Schedule(1e-3)}
    model = stage(world, language=LanguageConfig(str(world / "language"), lora=lora), **changes)
    fit(model, data(world), tmp_path, 2)
    fresh = load_language(LanguageConfig(str(world / "language")))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("model.projector") for name in trained)
    assert not any(name.startswith("encoder") for name in trained)
    inner = model.model.language.get_base_model() if lora else model.model.language
    same = all(
        torch.equal(value, fresh.state_dict()[key.replace("base_layer.", "")])
        for key, value in inner.state_dict().items()
        if "lora_" not in key
    )
    assert same == (phase != "whole")
    assert all("lora_" in name for name in trained if ".language." in name) == (phase != "whole")
    assert not model.encoder.training and model.model.training
    from vjepa.weights.load import load_encoder

    assert equal(model.encoder, load_encoder(world / "encoder.safetensors"))


def test_each_part_has_its_own_learning_rate(world, tmp_path):
    model = stage(world, language_lr=Schedule(1e-5))
    trainer = fit(model, data(world), tmp_path, 1)
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == [3e-3, 3e-3, 1e-5, 1e-5]
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("phase", ["projector", "language"])
def test_a_cut_run_resumes_exactly_and_its_checkpoint_holds_only_what_is_trained(world, tmp_path, phase):
    changes = {"language_lr": Schedule(1e-3)} if phase == "language" else {}
    straight, first, second = (stage(world, **changes) for _ in range(3))
    fit(straight, data(world), tmp_path, 5)
    trainer = fit(first, data(world), tmp_path, 3)
    trainer.save_checkpoint(tmp_path / "step=3.ckpt")
    saved = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["state_dict"]
    assert any(key.startswith("model.language") for key in saved) == (phase == "language")
    assert not any(key.startswith("encoder") for key in saved)
    assert saved["model.projector.mean"].abs().sum() > 0
    fit(second, data(world), tmp_path, 5, ckpt_path=tmp_path / "step=3.ckpt")
    assert equal(straight.model, second.model) and not equal(straight.model, first.model)
    assert second.counts.state() == straight.counts.state() == (40, 0, 0)


def test_one_batch_is_learned_by_heart(world, tmp_path):
    model = stage(
        world, optim=OptimConfig(lr=Schedule(1e-2)), language_lr=Schedule(1e-3), cache=str(tmp_path / "cache")
    )
    fit(model, data(world, batch_size=24), tmp_path, 120)
    captions = read_captions(world / "rows.jsonl")
    rows = [captions.row(i) for i in range(len(captions))]
    assert all(mark.right for mark in mark_answers(model.video_chat, rows, "video", "likelihood"))
    # The right answer is generated, not only preferred.
    assert all(mark.right for mark in mark_answers(model.video_chat, rows, "video", "open"))
    blind = [mark.right for mark in mark_answers(model.video_chat, rows, "no video", "likelihood")]
    assert sum(blind) == len(blind) / 2


def test_tokens_from_the_cache_train_like_frames(world, tmp_path):
    plain, cached, again, mended = stage(world), *(stage(world, cache=str(tmp_path / "c")) for _ in range(3))
    for model in (plain, cached, again):
        loaded = data(world)
        fit(model, loaded, tmp_path, 2)
    assert loaded.cache.misses == 0
    whole = next(loaded.cache.folder.iterdir()).read_bytes()
    next(loaded.cache.folder.iterdir()).write_bytes(whole[:-8])
    rows = EvaluationCaptions(loaded.val_captions, CLIP, loaded.cache)
    # The row of the damaged file is decoded again.
    assert sum(rows[i].clip[0].dtype == torch.uint8 for i in range(24)) == 1
    fit(mended, loaded, tmp_path, 2)
    assert loaded.cache.misses == 1 and next(loaded.cache.folder.iterdir()).read_bytes() == whole
    assert equal(again.model, mended.model)
    assert len(list(loaded.cache.folder.iterdir())) == 24
    for key, value in plain.model.state_dict().items():
        torch.testing.assert_close(cached.model.state_dict()[key], value, atol=1e-5, rtol=1e-4)
    assert equal(cached.model, again.model)


def test_a_folder_answers_as_the_stage_did_and_the_next_phase_goes_on_from_it(world, tmp_path):
    first = finished(world, tmp_path / "align")
    assert not (first / "language").exists()  # it was not trained, so it is where it was
    means = [load_file(first / "model.safetensors")["projector.mean"]]
    second = finished(
        world, tmp_path / "vlm", init_from=str(first / "model.safetensors"), language_lr=Schedule(1e-3)
    )
    means.append(load_file(second / "model.safetensors")["projector.mean"])
    assert torch.equal(*means) and means[0].abs().sum() > 0  # measured once, in the first phase
    rows = read_captions(world / "rows.jsonl")
    video_chat, video = VideoChat.load(second), rows.row(0).media[0].path
    answer = video_chat.ask(video, "Which way?", limit=6)
    assert answer == "".join(video_chat.stream(video, "Which way?", limit=6)).strip()
    assert isinstance(video_chat.ask(None, "Which way?", limit=3), str)


def test_an_adapter_is_saved_alone_and_loaded_onto_its_base(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)  # a base named from here is found from anywhere
    adapted = LanguageConfig("language", lora=LoRA(rank=4, alpha=8.0))
    folder = finished(world, tmp_path / "lora", language=adapted, language_lr=Schedule(1e-2))
    monkeypatch.chdir(tmp_path)
    assert (folder / "language/adapter_config.json").exists() and not (
        folder / "language/model.safetensors"
    ).exists()
    rows = [read_captions(world / "rows.jsonl").row(0)]
    from vjepa.language.media import decode_media

    clips = [decode_media(rows[0].media[0], CLIP)]
    assert len(VideoChat.load(folder).option_scores(rows, clips)[0]) == 2
    other = stage(
        world, language=LanguageConfig(lora=LoRA(8, 8.0)), init_from=str(folder), language_lr=Schedule(1e-3)
    )
    with pytest.raises(
        UserError, match=r"an adapter of LoRA\(rank=4, .* not model.language.lora's LoRA\(rank=8"
    ):
        fit(other, data(world), tmp_path, 1)
    whole = stage(world, language=LanguageConfig(), init_from=str(folder), language_lr=Schedule(1e-3))
    with pytest.raises(UserError, match="is an adapter, and only it would be saved"):
        fit(whole, data(world), tmp_path, 1)


def test_words_alone_are_learned_from_and_leave_no_weight_without_a_gradient(world, tmp_path):
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": SIDES[0]}]
    (tmp_path / "rows.jsonl").write_text("\n".join([json.dumps({"conversations": turns})] * 8))
    for changes in ({}, {"language_lr": Schedule(1e-3)}):
        model = stage(world, **changes)
        fit(model, data(tmp_path, val=None), tmp_path, 1)
        inputs = model.video_chat.training_batch([read_captions(tmp_path / "rows.jsonl").row(0)], [])
        model.zero_grad()
        model.model(inputs.ids, inputs.mask, inputs.clips, inputs.labels).loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
        assert all(not parameter.grad.any() for parameter in model.model.projector.parameters())


def test_a_step_in_half_precision_learns(world, tmp_path):
    language = LanguageConfig(str(world / "language"), dtype="bfloat16", lora=LoRA(rank=4, alpha=8.0))
    model = stage(world, language=language, language_lr=Schedule(1e-2), optim=OptimConfig(lr=Schedule(1e-2)))
    trainer = fit(model, data(world), tmp_path, 3, precision="bf16-mixed")
    assert 0 < trainer.callback_metrics["train/loss"].item() < 10
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(torch.isfinite(parameter).all() for parameter in trained)
    assert any(parameter.any() for name, parameter in model.named_parameters() if "lora_B" in name)


def test_pictures_and_several_clips_and_words_alone_in_one_batch(world, tmp_path, clips_manifest):
    from vjepa.language.conversations import Conversation, Media
    from vjepa.language.media import decode_media

    video_chat = VideoChat.load(finished(world, tmp_path / "vlm"))
    paths = [clips_manifest.parent / f"{i:02}.mp4" for i in range(2)]
    media = [Media(path, None, None) for path in paths]
    end = Turn("assistant", ("",))
    rows = [
        Conversation(tuple(media), (Turn("user", (0, "and", 1)), end)),
        Conversation((), (Turn("user", ("Why?",)), end)),
        Conversation((media[0],), (Turn("user", (0,)), end)),
    ]
    still = decode_media(media[1], CLIP)[:1]
    clips = [decode_media(media[0], CLIP), still, still]
    together = video_chat.answers(rows, clips, 4)
    assert together == [
        video_chat.answers([rows[0]], clips[:2], 4)[0],
        video_chat.answers([rows[1]], [], 4)[0],
        video_chat.answers([rows[2]], clips[2:], 4)[0],
    ]
    assert [clip.grid for clip in video_chat.encode_clips(clips)] == [(2, 4, 4), (1, 4, 4), (1, 4, 4)]


def test_what_cannot_be_is_refused_before_training(world, tmp_path):
    with pytest.raises(UserError, match=r"a clip takes 8 tokens, all of model.context=8"):
        fit(stage(world, context=8), data(world), tmp_path, 1)
    with pytest.raises(UserError, match="does not divide a clip"):
        fit(stage(world, projector=ProjectorConfig((1, 3, 3))), data(world), tmp_path, 1)
    with pytest.raises(UserError, match=r"model.language.lora needs model.language_lr"):
        stage(world, language=LanguageConfig(str(world / "language"), lora=LoRA()))
    first = finished(world, tmp_path / "align")
    other = stage(world, encoder=str(world / "other.safetensors"), init_from=str(first / "model.safetensors"))
    with pytest.raises(UserError, match="was aligned with another encoder"):
        fit(other, data(world), tmp_path, 1)
    other = stage(world, projector=ProjectorConfig((2, 2, 2)), init_from=str(first / "model.safetensors"))
    with pytest.raises(UserError, match=r"holds a projector of ProjectorConfig\(window=\(1, 2, 2\)"):
        fit(other, data(world), tmp_path, 1)
    other = stage(
        world, projector=ProjectorConfig((1, 2, 2), "concat"), init_from=str(first / "model.safetensors")
    )
    with pytest.raises(
        UserError, match=r"holds a projector of .*'average'.*, not model.projector's .*'concat'"
    ):
        fit(other, data(world), tmp_path, 1)
    other = stage(world, encoder=str(world / "wide.safetensors"), init_from=str(first / "model.safetensors"))
    with pytest.raises(UserError, match="was aligned with another encoder"):
        fit(other, data(world), tmp_path, 1)
    other = stage(
        world, language=LanguageConfig("Qwen/Qwen2-7B-Instruct"), init_from=str(first / "model.safetensors")
    )
    with pytest.raises(
        UserError,
        match=r"was aligned with .*/language, not with model.language.source=Qwen/Qwen2-7B-Instruct",
    ):
        fit(other, data(world), tmp_path, 1)
    with pytest.raises(UserError, match=r"model.language.source is missing"):
        fit(stage(world, language=LanguageConfig()), data(world), tmp_path, 1)
    with pytest.raises(CheckpointError, match="was aligned with another encoder"):
        VideoChat.load(first, world / "other.safetensors")
    with pytest.raises(CheckpointError, match="give the folder of a finished vlm stage"):
        VideoChat.load(tmp_path)


def test_a_conversation_that_does_not_fit_is_left_out_and_counted(world, tmp_path):
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": SIDES[0]}]
    rows = [json.loads(line) for line in (world / "rows.jsonl").read_text().splitlines()]
    long = [{"video": [row["video"]] * 9, "conversations": turns} for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, long)))
    model, settings = stage(world), {"val": None, "batch_size": 2}
    fit(model, data(tmp_path, **settings), tmp_path, 2)
    assert (model.counts.drawn, model.counts.lost) == (4, 4)
    with pytest.raises(
        DataError, match=r"6 of 6 conversations cannot be learned, .* because clips .* raise context=64"
    ):
        fit(stage(world), data(tmp_path, **settings), tmp_path, 9)


def test_validation_and_samples_reach_tensorboard(world, tmp_path):
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = fit(
        stage(world),
        data(world),
        tmp_path,
        3,
        logger=logger,
        limit_val_batches=1,
        val_check_interval=3,
        callbacks=[SampleAnswers(rows=2, limit=3)],
        log_every_n_steps=1,
    )
    assert {"val/loss", "val/accuracy", "val/accuracy_side"} <= trainer.callback_metrics.keys()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert {"samples/clip_0", "samples/clip_1"} <= set(tags["images"])
    assert "samples/answers/text_summary" in tags["tensors"]
    assert {"train/loss", "data/padding_share", "data/cut_tokens"} <= set(tags["scalars"])


def test_a_held_out_row_beyond_the_context_is_counted_and_left_out(world, tmp_path):
    rows = [json.loads(line) for line in (world / "rows.jsonl").read_text().split("\n")][:8]
    rows[3]["video"] = [rows[3]["video"]] * 9
    rows[3]["conversations"] = [{"from": "human", "value": "Which way?"}, rows[3]["conversations"][1]]
    rows[5]["conversations"][0]["value"] += " So?" * 40
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, rows)))
    held_out = {"val": str(tmp_path / "val.jsonl"), "batch_size": 3}
    metrics = fit(
        stage(world, language_lr=Schedule(1e-3)),
        data(world, **held_out),
        tmp_path,
        2,
        limit_val_batches=None,
        val_check_interval=2,
        callbacks=[SampleAnswers(rows=8, limit=3)],
    ).callback_metrics
    assert metrics["val/lost_share"] == 1 / 8 and metrics["val/cut_tokens"] > 1
    assert round(metrics["val/accuracy"].item() * 7, 4) in range(8)
    assert metrics["optim/language_lr"] == pytest.approx(1e-3)


def test_every_control_is_scored(world, tmp_path):
    video_chat = VideoChat.load(finished(world, tmp_path / "vlm"))
    captions = read_captions(world / "rows.jsonl")
    rows = [captions.row(i) for i in range(8)]
    scores = evaluate(video_chat, rows, "likelihood", list(CONTROLS), random=video_chat)
    table = score_table(scores, "accuracy")
    names = (*CONTROLS, "random encoder", "most frequent answer", "chance", "pairs")
    assert all(name in table for name in names)
    blind = next(score.value for score in scores if score.name == "no video | side pairs")
    assert blind == 0.0  # what sees nothing, sees no order
    for by in ("letter", "open"):
        assert len(list(mark_answers(video_chat, rows, "video", by, batch=3))) == 8


def test_what_cannot_be_asked_is_left_out_and_counted(world, tmp_path, capsys):
    """An undecodable video, clips beyond the context, a question without options, one video for all."""
    video_chat = VideoChat.load(finished(world, tmp_path / "vlm"))
    captions = read_captions(world / "rows.jsonl")
    (tmp_path / "bad.mp4").write_bytes(b"none")
    rows = [captions.row(i) for i in range(6)]
    bad = rows[0]._replace(media=(rows[0].media[0]._replace(path=tmp_path / "bad.mp4"),))
    long = rows[0]._replace(
        media=rows[0].media * 9, turns=(Turn("user", (*range(9), "Which way?")), rows[0].turns[1])
    )
    text = rows[0].without_media()._replace(options=())
    mixed = [bad, *rows, long, text]
    for by, count in (("likelihood", 6), ("letter", 6), ("open", 7)):
        clips = {score.name: score.clips for score in evaluate(video_chat, mixed, by, ["video"])}
        assert clips["video | all"] == count
        assert clips["most frequent answer | all"] == (len(mixed) if by == "open" else len(mixed) - 1)
        assert ("video | unparsed" in clips) == (by == "letter") and clips["chance | all"] == 8
    errors = capsys.readouterr().err
    assert "left out: cannot decode" in errors and "clips and template of a conversation take" in errors
    assert "1 open questions are not answered by letter" in errors
    assert len(list(mark_answers(video_chat, [bad], "no video", "likelihood"))) == 1  # nothing is decoded
    for control, count in (("video", 3), ("another clip", 0)):
        assert len(list(mark_answers(video_chat, mixed[1:2] * 3, control, "likelihood"))) == count
    for wrong, sentence in ((bad, "none of 1 questions could be asked"), (text, "give --by open")):
        with pytest.raises(UserError, match=sentence):
            evaluate(video_chat, [wrong], "letter", ["video"])


def test_another_clip_is_of_another_video(world):
    captions = read_captions(world / "rows.jsonl")
    rows = [captions.row(i // 3) for i in range(12)]  # three questions about every video
    assert all(unrelated_row(rows, i).media[0].path != row.media[0].path for i, row in enumerate(rows))
    assert unrelated_row(rows[:3], 0) is None


def test_every_way_of_answering_has_its_table(world, tmp_path, capsys):
    folder = finished(world, tmp_path / "vlm")
    out = tmp_path / "scores.json"
    evaluation = ["evaluate", "--model", str(folder), "--questions", str(world / "rows.jsonl")]
    evaluation += ["--only", "video", "no video"]
    main([*evaluation, "--by", "likelihood", "letter", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "accuracy by likelihood on 24 questions" in printed
    assert "accuracy by letter on 24 questions" in printed
    scores = json.loads(out.read_text())
    assert {score["by"] for score in scores} == {"likelihood", "letter"}
    assert [score["by"] for score in scores if score["name"] == "video | unparsed"] == ["letter"]
    with pytest.raises(SystemExit, match="2"):
        main([*evaluation, "--device", "cuda:99"])
    assert "error: --device cuda:99 cannot be used" in capsys.readouterr().err
    values = {(score["by"], score["name"]): score["value"] for score in scores}
    assert values["likelihood", "no video | side"] == 0.5


def test_a_question_on_the_terminal(world, tmp_path, capsys, clips_manifest):
    folder = finished(world, tmp_path / "vlm")
    ask = ["ask", "--model", str(folder)]
    main([*ask, "--video", str(clips_manifest.parent / "00.mp4"), "--limit", "3", "Which way?"])
    assert capsys.readouterr().out.endswith("\n")
    (tmp_path / "bad.mp4").write_bytes(b"none")
    with pytest.raises(SystemExit, match="2"):
        main([*ask, "--video", str(tmp_path / "bad.mp4"), "Which way?"])
    assert "error: cannot decode" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*ask, "--device", "cuda:99", "Which way?"])
    assert "error: --device cuda:99 cannot be used" in capsys.readouterr().err
    # A marker in a question is a word. This question is too long.
    main([*ask, "--limit", "1", "Which way? <video> " * 30])
    assert "tokens of the question did not fit and were cut" in capsys.readouterr().err
    with pytest.raises(DecodeError):
        VideoChat.load(folder).ask(tmp_path / "bad.mp4", "Which way?")


def test_a_tiny_language_model_learns_its_texts(world):
    config = TinyLanguageConfig(width=32, depth=1, heads=2, vocabulary=300, steps=30, batch=8, lr=1e-2)
    _, tokenizer, loss = train_tiny_language([read_captions(world / "rows.jsonl")], config)
    assert loss < 1.5 and tokenizer.chat_template


RECIPE = """
model:
  encoder: ENCODER
  language: {source: LANGUAGE}
  projector: {window: [1, 2, 2]}
  optim: {lr: {peak: 0.003}}
  language_lr: {peak: 0.001}
  context: 64
  cache: cache
data:
  train: [{file: ROWS}]
  val: ROWS
  clip: {frames: 4, size: 32}
  batch_size: 4
  workers: 0
trainer: {max_steps: 4, accelerator: cpu, enable_progress_bar: false, log_every_n_steps: 2,
  val_check_interval: 4, check_val_every_n_epoch: null, num_sanity_val_steps: 0,
  callbacks: [{class_path: vjepa.language.sample_answers.SampleAnswers}]}
checkpoint: {every_n_train_steps: 2}
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The real command, from a foreign working directory."""
    program = [sys.executable, "-m", "stages.vlm", "fit", "--config", "recipe.yaml", *arguments]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=600)


def validations(run: Path) -> dict[str, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("val/")]
    return {tag: events.Scalars(tag)[-1].value for tag in tags}


FILES = ("model.safetensors", "language/model.safetensors")
"""What a run with a trained language model leaves."""


@pytest.mark.slow
def test_two_processes_equal_one_and_the_command_leaves_a_folder_that_talks(world, tmp_path):
    """Some batches hold words alone, and no validation has the same kinds of questions in both processes."""
    words = {
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "So."}],
        "options": ["So.", "No."],
    }
    lines = (world / "rows.jsonl").read_text().split("\n") + [
        json.dumps(words | {"kind": f"word{i % 2}"}) for i in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    recipe = RECIPE.replace("ROWS", str(tmp_path / "rows.jsonl"))
    for word, name in (("ENCODER", "encoder.safetensors"), ("LANGUAGE", "language")):
        recipe = recipe.replace(word, str(world / name))
    (tmp_path / "recipe.yaml").write_text(recipe)
    cut = ("--out", "one", "--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "6")
    one = command(tmp_path, *cut)
    assert one.returncode == 0, one.stderr
    spread = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.val_check_interval", "3")
    two = command(tmp_path, "--out", "two", *spread)
    assert two.returncode == 0, two.stderr
    for name in FILES:
        ours, theirs = (load_file(tmp_path / run / name) for run in ("one", "two"))
        for key, value in ours.items():
            torch.testing.assert_close(
                theirs[key], value, atol=2e-5, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
            )
    ours, theirs = validations(tmp_path / "one"), validations(tmp_path / "two")
    assert (
        ours == pytest.approx(theirs, rel=1e-3)
        and {"val/loss", "val/accuracy_side", "val/accuracy_word1"} <= ours.keys()
    )
    assert isinstance(VideoChat.load(tmp_path / "one").ask(None, "Which way?", limit=3), str)
    # A run that was killed after its last step writes what belongs to its end.
    before = {name: load_file(tmp_path / "one" / name) for name in FILES}
    shutil.rmtree(tmp_path / "one/language")
    (tmp_path / "one/model.safetensors").unlink()
    assert command(tmp_path, *cut).returncode == 0
    for name, tensors in before.items():
        torch.testing.assert_close(load_file(tmp_path / "one" / name), tensors, atol=0, rtol=0)
    again = command(tmp_path, *cut)
    assert again.returncode == 0 and "finished, nothing to do" in again.stdout


def test_lmms_eval_asks_and_takes_the_option_of_smallest_loss(world, tmp_path, monkeypatch, clips_manifest):
    """Against a stand-in with lmms-eval's interface of simple models; the real one needs the network."""
    from types import ModuleType, SimpleNamespace

    from PIL import Image

    api = ModuleType("lmms_eval.api.model")
    api.lmms = object
    for name, module in (
        ("lmms_eval", ModuleType("lmms_eval")),
        ("lmms_eval.api", ModuleType("api")),
        (api.__name__, api),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    from vjepa.benchmarks.lmms_eval import VJEPA, Request

    model = VJEPA(str(finished(world, tmp_path / "vlm")), batch_size=2)
    video = str(clips_manifest.parent / "00.mp4")
    model.task_dict = {"t": {"test": [{"seen": video}, {"seen": [Image.new("RGB", (40, 30))]}, {"seen": []}]}}
    settings, seen = {"max_new_tokens": 4, "until": ["\n"]}, lambda document: document["seen"]
    ask_for = [(f"<video>Which way? {i}", settings, seen, i, "t", "test") for i in range(3)]
    requests = [SimpleNamespace(args=args) for args in ask_for]
    assert [isinstance(text, str) for text in model.generate_until(requests)] == [True] * 3
    options = [SimpleNamespace(args=(ask_for[0][0], f" {side}", *ask_for[0][2:])) for side in SIDES]
    losses, generated = zip(*model.loglikelihood(options), strict=True)
    rows, clips = model.conversations([Request(*ask_for[0])])
    likely = model.video_chat.option_scores([rows[0]._replace(options=SIDES)], clips)[0]
    mean = [
        -score / len(model.video_chat.chat.encode_answer(side))
        for score, side in zip(likely, SIDES, strict=True)
    ]
    assert losses == pytest.approx(mean, rel=1e-4) and min(losses) > 0 and not any(generated)
    with pytest.raises(UserError, match="batch_size=auto; give a number"):
        VJEPA(str(tmp_path / "vlm"), batch_size="auto")
