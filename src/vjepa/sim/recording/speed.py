"""python -m vjepa bench-recording: frames per second of one process on this machine, by size of the picture."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vjepa.data.video_files import write_video
from vjepa.sim.recording.motion_clips import MotionClipConfig, film_pair
from vjepa.sim.world.env import DemoWorld, WorldConfig


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """What some work takes: (wall, process CPU)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def render(size: int, frames: int) -> None:
    """Render the same moment again and again."""
    world = DemoWorld(WorldConfig(size=size))
    world.reset(seed=0)
    for _ in range(frames):
        world.renderer(world.simulation.data)


def produce(size: int, pairs: int) -> None:
    """Make clips from nothing to two MP4 files per pair."""
    config = MotionClipConfig(size=size)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(pairs):
            for number, clip in enumerate(film_pair(index, index % 4, config)):
                write_video(Path(folder) / f"{number}.mp4", clip.frames, config.fps)


def bench_recording(*, sizes: tuple[int, ...] = (64, 128, 256), pairs: int = 4) -> None:
    """Print how many frames per second this machine renders, and produces with physics, shadows and encoding.

    Args:
        sizes: Heights and widths of the pictures in pixels.
        pairs: How many pairs of clips to make for each size.
    """
    frames = MotionClipConfig().frames
    print("size   render: frames/s  ms cpu/frame   clips: rendered frames/s  s cpu/pair")
    for size in sizes:
        (wall, cpu), (wall_all, cpu_all) = (
            seconds(lambda: render(size, frames)),
            seconds(lambda: produce(size, pairs)),
        )
        rates = f"{frames / wall:16.0f}  {1e3 * cpu / frames:12.2f}   {frames * pairs / wall_all:24.0f}"
        print(f"{size:4d} {rates}  {cpu_all / pairs:10.3f}")
