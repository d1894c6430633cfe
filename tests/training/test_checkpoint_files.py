"""Checkpoints are written beside their place: TMPDIR does not matter, and a full disk loses nothing."""

import errno
import os
import resource
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.stage_runs import RESUMABLE, equal, fit
from tests.stages.test_stages import clip_data, pretrain
from vjepa.errors import UserError
from vjepa.training import checkpoint_files
from vjepa.training.checkpoint_files import UNFINISHED, CheckpointFiles
from vjepa.training.kept_checkpoints import KeptCheckpoints, best_names, save_now
from vjepa.training.loggers import usual_logger
from vjepa.weights.checkpoints import newest_checkpoint
from vjepa.weights.files import CheckpointError
from vjepa.weights.pickles import read_pickle

CHECKPOINT = {"global_step": 3, "state_dict": {"weight": torch.arange(50_000.0)}}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def test_a_checkpoint_reads_back_as_plain_values(tmp_path):
    path = tmp_path / "deep/folder/step=3.ckpt"
    CheckpointFiles().save_checkpoint(CHECKPOINT, path)
    read = CheckpointFiles().load_checkpoint(path, weights_only=True)
    assert read["global_step"] == 3 and torch.equal(
        read["state_dict"]["weight"], CHECKPOINT["state_dict"]["weight"]
    )
    CheckpointFiles().remove_checkpoint(path)
    assert not list(path.parent.iterdir())


def test_the_temporary_folder_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    with pytest.raises(FileNotFoundError):  # the way of Lightning's own
        TorchCheckpointIO().save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    CheckpointFiles().save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    assert (tmp_path / "step=3.ckpt").exists()


@pytest.mark.parametrize("name", ["step=3.ckpt", "step=4.ckpt"])
def test_a_full_disk_is_one_warning_and_keeps_the_earlier_checkpoint(name, tmp_path, capsys):
    files = CheckpointFiles()
    files.save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    before = (tmp_path / "step=3.ckpt").read_bytes()
    with largest_file(len(before) // 2):
        files.save_checkpoint(CHECKPOINT, tmp_path / name)
    told = capsys.readouterr().err
    assert told.startswith("warning:") and f"{name} cannot be written (File too large)" in told
    assert "tries again at its next save" in told and told.count("\n") == 1
    files.remove_checkpoint(tmp_path / "step=3.ckpt")  # what should replace it is not there
    assert [file.name for file in tmp_path.iterdir()] == ["step=3.ckpt"]
    assert (tmp_path / "step=3.ckpt").read_bytes() == before
    files.save_checkpoint(CHECKPOINT, tmp_path / name)
    assert files.failure is None and (tmp_path / name).exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE])
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.mkdir"])
def test_whatever_the_system_refuses_is_one_warning(number, call, tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    files = CheckpointFiles()
    files.save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    with monkeypatch.context() as patched:
        patched.setattr(call, refuse)
        files.save_checkpoint(CHECKPOINT, tmp_path / "step=4.ckpt")
    assert f"step=4.ckpt cannot be written ({os.strerror(number)})" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["step=3.ckpt"]


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_its_name_after_that(tmp_path, monkeypatch):
    file = tmp_path / "step=3.ckpt"
    synced = []
    for name in ("sync", "sync_folder"):
        monkeypatch.setattr(checkpoint_files, name, lambda path: synced.append((path.suffix, file.exists())))
    CheckpointFiles().save_checkpoint(CHECKPOINT, file)
    assert synced == [(UNFINISHED, False), ("", True)]


def test_a_folder_that_is_a_file_or_gone_is_one_warning_and_is_not_made_anew(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").touch()
    CheckpointFiles().save_checkpoint(CHECKPOINT, tmp_path / "run/checkpoints/step=3.ckpt")
    CheckpointFiles().save_checkpoint(CHECKPOINT, tmp_path / "gone/checkpoints/step=3.ckpt")
    first, second = capsys.readouterr().err.splitlines()
    assert "run/checkpoints/step=3.ckpt cannot be written (File exists)" in first
    assert f"cannot be written (the folder {tmp_path / 'gone'} is gone)" in second
    assert not (tmp_path / "gone").exists()


def test_an_error_of_the_program_stays_one(tmp_path):
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        CheckpointFiles().save_checkpoint({"hook": lambda: None}, tmp_path / "step=3.ckpt")


def test_what_killed_processes_leave_is_no_checkpoint_and_is_removed(tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "step=1-val").mkdir(parents=True)
    for name in (UNFINISHED, f".step=2.1a2b3c4d{UNFINISHED}", f"step=1-val/.loss=3.11{UNFINISHED}"):
        (folder / name).write_bytes(b"the first half")
    assert newest_checkpoint(folder) is None
    CheckpointFiles().save_checkpoint(CHECKPOINT, folder / "step=3.ckpt")
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["step=3.ckpt"]


def test_a_run_goes_on_from_such_a_checkpoint(clips_manifest, tmp_path: Path):
    straight, first, second = (pretrain() for _ in range(3))
    fit(straight, clip_data(clips_manifest), tmp_path, 3)
    ours = {"plugins": [CheckpointFiles()]}
    trainer = fit(first, clip_data(clips_manifest), tmp_path, 2, **ours)
    trainer.save_checkpoint(tmp_path / "step=2.ckpt")
    fit(second, clip_data(clips_manifest), tmp_path, 3, ckpt_path=tmp_path / "step=2.ckpt", **ours)
    assert equal(straight, second)


def damaged_files(folder: Path) -> dict[str, str]:
    """Files from which no run continues, by name, and a word of why."""
    whole = RESUMABLE | {"weight": torch.arange(5_000.0)}
    torch.save({"global_step": 9} | whole, folder / "cut.ckpt")
    content = (folder / "cut.ckpt").read_bytes()
    (folder / "cut.ckpt").write_bytes(content[: len(content) // 2])
    middle = content.index(torch.arange(5_000.0).numpy().tobytes()) + 4_000
    (folder / "zeros.ckpt").write_bytes(content[:middle] + bytes(400) + content[middle + 400 :])
    (folder / "letters.ckpt").write_bytes(content.replace(b"data.pkl", b"dat\xff.pkl"))
    (folder / "text.ckpt").write_text("hello")
    (folder / "empty.ckpt").touch()
    (folder / "folder.ckpt").mkdir()
    (folder / "dangling.ckpt").symlink_to("nowhere")
    (folder / "loop.ckpt").symlink_to("loop.ckpt")
    os.mkfifo(folder / "pipe.ckpt")
    for name, step in {"word": "9", "tensor": torch.tensor(9), "minus": -9, "truth": True}.items():
        torch.save({"global_step": step} | whole, folder / f"{name}.ckpt")
    torch.save([9], folder / "list.ckpt")
    torch.save({"global_step": 9}, folder / "weights.ckpt")
    torch.save({"global_step": 9} | whole | {"optimizer_states": [{"state": {}}]}, folder / "moments.ckpt")
    torch.save({"global_step": 9, "optimizer_states": whole["optimizer_states"]}, folder / "bare.ckpt")
    plain = dict.fromkeys(("folder", "dangling", "loop", "pipe"), "no plain file")
    steps = dict.fromkeys(("word", "tensor", "minus", "truth"), "no number of steps")
    cut = {
        "cut": "cut off",
        "text": "text",
        "empty": "empty",
        "letters": "damaged",
        "zeros": "damaged inside",
    }
    parts = {
        "weights": "without the state of an optimiser",
        "moments": "is empty",
        "bare": "lacks state_dict",
    }
    return plain | steps | cut | parts | {"list": "holds a list"}


def test_what_cannot_be_continued_from_is_passed_over_and_named(tmp_path, capsys):
    expected = damaged_files(tmp_path)
    torch.save({"global_step": 3} | RESUMABLE, tmp_path / "good.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "good.ckpt"
    lines = capsys.readouterr().err.splitlines()
    told = {name: [line for line in lines if f"/{name}.ckpt" in line] for name in expected}
    assert {name: len(lines) for name, lines in told.items()} == dict.fromkeys(expected, 1)
    assert [name for name in expected if expected[name] not in told[name][0]] == []
    (tmp_path / "good.ckpt").unlink()
    with pytest.raises(CheckpointError, match="none of the checkpoints in"):
        newest_checkpoint(tmp_path)


def test_a_disk_that_fails_while_it_is_read_is_named(tmp_path, monkeypatch, capsys):
    for step in (3, 9):
        torch.save({"global_step": step} | RESUMABLE, tmp_path / f"step={step}.ckpt")

    def fail(archive: zipfile.ZipFile) -> None:
        if archive.filename.endswith("step=9.ckpt"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(zipfile.ZipFile, "testzip", fail)
    assert newest_checkpoint(tmp_path) == tmp_path / "step=3.ckpt"
    assert "step=9.ckpt: it cannot be read (Input/output error)" in capsys.readouterr().err


def test_only_the_newest_file_is_read_to_its_end(tmp_path, monkeypatch):
    for step in (3, 6, 9):
        torch.save({"global_step": step} | RESUMABLE, tmp_path / f"step={step}.ckpt")
    read = []
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: read.append(archive.filename))
    for _ in range(3):
        assert newest_checkpoint(tmp_path) == tmp_path / "step=9.ckpt"
    assert newest_checkpoint(tmp_path, up_to=8) == tmp_path / "step=6.ckpt"
    assert newest_checkpoint(tmp_path, up_to=2) is None
    assert [Path(name).name for name in read] == ["step=9.ckpt", "step=6.ckpt"]


def run(manifest: Path, out: Path, steps: int, ckpt_path: Path | None = None, **settings) -> L.Trainer:
    """A run that saves every two steps, with our callback and our plugin."""
    ours = {"enable_version_counter": False, "every_n_train_steps": 2, "filename": "{step}"}
    callbacks = [*settings.pop("callbacks", []), KeptCheckpoints(out / "checkpoints", **ours | settings)]
    more = {"callbacks": callbacks, "plugins": [CheckpointFiles()], "enable_checkpointing": True}
    return fit(pretrain(), clip_data(manifest), out, steps, ckpt_path, **more)


def names(out: Path) -> list[str]:
    return sorted(str(file.relative_to(out / "checkpoints")) for file in out.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, ["step=4.ckpt", "step=6.ckpt"]),
        ({"save_top_k": -1}, ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]),
        ({"save_top_k": 0}, []),
        ({"save_last": True}, ["last.ckpt", "step=4.ckpt", "step=6.ckpt"]),
        ({"monitor": "step", "mode": "max", "save_top_k": 3}, ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]),
        # The best is the first, and the others are not among the best.
        ({"monitor": "step", "filename": "best"}, ["best.ckpt", "step=4.ckpt", "step=6.ckpt"]),
        ({"filename": "a/{epoch}-{step}"}, ["a/epoch=1-step=4.ckpt", "a/epoch=1-step=6.ckpt"]),
    ],
)
def test_the_newest_two_stay_beside_the_best(settings, kept, clips_manifest, tmp_path):
    run(clips_manifest, tmp_path, 6, **settings)
    assert names(tmp_path) == kept


def test_a_run_that_was_moved_keeps_its_best(clips_manifest, tmp_path):
    best = {"monitor": "step", "mode": "min"}
    (tmp_path / "here").mkdir()
    run(clips_manifest, tmp_path / "here", 6, **best)
    assert names(tmp_path / "here") == ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]
    there = (tmp_path / "here").rename(tmp_path / "there")
    run(clips_manifest, there, 10, there / "checkpoints/step=6.ckpt", **best)
    assert names(there) == ["step=10.ckpt", "step=2.ckpt", "step=8.ckpt"]
    newest = there / "checkpoints/step=10.ckpt"
    assert best_names(newest) == [("step", "step=2.ckpt")]


def test_starts_and_stops_do_not_pile_checkpoints_up(clips_manifest, tmp_path):
    newest = None
    for stop in (3, 5, 7):
        trainer = run(clips_manifest, tmp_path, stop, newest)
        save_now(trainer, tmp_path / f"checkpoints/step={stop}.ckpt")
        newest = newest_checkpoint(tmp_path / "checkpoints")
        assert newest.name == f"step={stop}.ckpt"
    assert names(tmp_path) == ["step=6.ckpt", "step=7.ckpt"]


class FullDisk(L.Callback):
    """Fails every write of a checkpoint while a step of `steps` is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]) -> None:
        self.monkeypatch = monkeypatch
        self.steps = steps
        self.write = checkpoint_files.write

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        is_full = trainer.global_step in self.steps
        self.monkeypatch.setattr(checkpoint_files, "write", self.fail if is_full else self.write)

    def fail(self, checkpoint: dict, target: Path) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("monitor", [None, "step"])
def test_a_run_goes_on_while_the_disk_is_full(monitor, clips_manifest, tmp_path, monkeypatch, capsys):
    full = FullDisk(monkeypatch, (4, 6))
    run(clips_manifest, tmp_path, 8, callbacks=[full], monitor=monitor, mode="max")
    assert names(tmp_path) == ["step=2.ckpt", "step=8.ckpt"]
    warnings = [line for line in capsys.readouterr().err.splitlines() if "Disk quota exceeded" in line]
    assert [line.partition("step=")[2][0] for line in warnings] == ["4", "6"]
    state = read_pickle(tmp_path / "checkpoints/step=8.ckpt")["callbacks"]
    (kept,) = [value for key, value in state.items() if key.startswith("ModelCheckpoint")]
    assert Path(kept["best_model_path"]).name == "step=8.ckpt"
    straight = pretrain()
    fit(straight, clip_data(clips_manifest), tmp_path, 8)
    resumed = pretrain()
    fit(resumed, clip_data(clips_manifest), tmp_path, 8, ckpt_path=tmp_path / "checkpoints/step=2.ckpt")
    assert equal(straight, resumed)


def test_a_last_save_that_fails_is_an_error(clips_manifest, tmp_path, monkeypatch, capsys):
    trainer = run(clips_manifest, tmp_path, 3, callbacks=[FullDisk(monkeypatch, (3,))])
    with pytest.raises(UserError, match=r"step=3\.ckpt cannot be written .*; once this is mended, the same"):
        save_now(trainer, tmp_path / "checkpoints/step=3.ckpt")
    assert names(tmp_path) == ["step=2.ckpt"] and "warning" not in capsys.readouterr().err


def test_a_full_disk_costs_curves_and_not_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vjepa.training.loggers.PAUSE", 0.0)
    logger = usual_logger(tmp_path, None)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.experiment.flush()
    with largest_file(0):
        for step in range(2, 40):
            logger.log_metrics({"loss": 1.0}, step=step)
        logger.experiment.flush()
    assert capsys.readouterr().err.count("cannot be written (File too large)") >= 1
    for step in range(40, 44):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.finalize("success")
    steps = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert {1, 43} <= {event.step for event in steps}
