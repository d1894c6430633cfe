"""Checkpoints are written beside their place: TMPDIR does not matter, and a full disk loses nothing."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from tests.stage_runs import equal, fit
from tests.stages.test_stages import clip_data, pretrain
from vjepa.errors import UserError
from vjepa.training.checkpoint_files import UNFINISHED, CheckpointFiles
from vjepa.weights.checkpoints import newest_checkpoint

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
def test_a_full_disk_is_one_sentence_and_keeps_the_earlier_checkpoint(name, tmp_path):
    files = CheckpointFiles()
    files.save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    before = (tmp_path / "step=3.ckpt").read_bytes()
    with largest_file(len(before) // 2), pytest.raises(UserError, match=f"{name} cannot be written") as full:
        files.save_checkpoint(CHECKPOINT, tmp_path / name)
    assert "File too large" in str(full.value) and "\n" not in str(full.value)
    assert [file.name for file in tmp_path.iterdir()] == ["step=3.ckpt"]
    assert (tmp_path / "step=3.ckpt").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(UserError, match=r"checkpoints/step=3\.ckpt cannot be written \("):
        CheckpointFiles().save_checkpoint(CHECKPOINT, tmp_path / "checkpoints/step=3.ckpt")


def test_an_error_of_the_program_stays_one(tmp_path):
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        CheckpointFiles().save_checkpoint({"hook": lambda: None}, tmp_path / "step=3.ckpt")


def test_what_a_killed_process_leaves_is_no_checkpoint_and_is_written_over(tmp_path):
    (tmp_path / UNFINISHED).write_bytes(b"the first half")
    assert newest_checkpoint(tmp_path) is None
    CheckpointFiles().save_checkpoint(CHECKPOINT, tmp_path / "step=3.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["step=3.ckpt"]


def test_a_run_goes_on_from_such_a_checkpoint(clips_manifest, tmp_path: Path):
    straight, first, second = (pretrain() for _ in range(3))
    fit(straight, clip_data(clips_manifest), tmp_path, 3)
    ours = {"plugins": [CheckpointFiles()]}
    trainer = fit(first, clip_data(clips_manifest), tmp_path, 2, **ours)
    trainer.save_checkpoint(tmp_path / "step=2.ckpt")
    fit(second, clip_data(clips_manifest), tmp_path, 3, ckpt_path=tmp_path / "step=2.ckpt", **ours)
    assert equal(straight, second)
