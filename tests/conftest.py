"""Small real videos for the stages: a bright square that moves one of two ways over noise."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.videos import even_times, write_video
from vjepa import torchvision_ops  # noqa: F401  before lightning imports torchvision

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a name on a hub is never asked for
torch.set_num_threads(1)  # the suite runs in two processes on two cores


def moving_square(label: int, seed: int, frames: int = 30, size: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 120, (size, size, 3), np.uint8)
    row = int(rng.integers(0, size - 8))
    film = []
    for t in range(frames):
        passed = t / (frames - 1)
        column = round((size - 8) * (passed if label else 1 - passed))
        frame = background.copy()
        frame[row : row + 8, column : column + 8] = (250, 240, 60)
        film.append(frame)
    return film


@pytest.fixture(scope="session")
def clips_manifest(tmp_path_factory) -> Path:
    """24 clips of one second, 32 px, labelled 0 (leftwards) and 1 (rightwards)."""
    folder = tmp_path_factory.mktemp("clips")
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for i in range(24):
            film = moving_square(i % 2, i)
            write_video(folder / f"{i:02}.mp4", even_times(30), pictures=film, size=(32, 32))
            rows.writerow([f"{i:02}.mp4", i % 2])
    return folder / "clips.csv"
