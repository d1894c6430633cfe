"""How fast this machine records the demo world: frames per second of one process, by size of the image."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vjepa.drawing.film import write_mp4
from vjepa.errors import check_positive, require
from vjepa.sim.recording.dataset_folder import check_size
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.shots import MotionClipConfig
from vjepa.sim.world.env import DemoWorld, WorldConfig


def bench_recording(*, sizes: tuple[int, ...] = (64, 128, 256), pairs: int = 4) -> None:
    """Print how many frames per second this machine renders, and produces with physics, shadows and encoding.

    Args:
        sizes: Heights and widths of the images in pixels.
        pairs: How many pairs of clips to make for each size.
    """
    check_positive(pairs=pairs)
    require(bool(sizes), "--sizes is empty; give heights of images in pixels")
    for size in sizes:
        check_size(size)
    frames = MotionClipConfig().frames
    print("size   render: frames/s  ms cpu/frame   clips: rendered frames/s  s cpu/pair")
    for size in sizes:
        wall, cpu = seconds(partial(render, size, frames))
        wall_all, cpu_all = seconds(partial(produce, size, pairs))
        rates = f"{frames / wall:16.0f}  {1e3 * cpu / frames:12.2f}   {frames * pairs / wall_all:24.0f}"
        print(f"{size:4d} {rates}  {cpu_all / pairs:10.3f}")


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """What some work takes: (wall, process CPU) in seconds."""
    # CPU time too, because other jobs on the machine lengthen the wall time.
    wall = time.perf_counter()
    cpu = time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def render(size: int, frames: int) -> None:
    """Render the same moment again and again."""
    world = DemoWorld(WorldConfig(size=size))
    world.reset(seed=0)
    for _ in range(frames):
        world.renderer(world.simulation.data)


def produce(size: int, pairs: int) -> None:
    """Make pairs of clips, from the drawing of the scene to the MP4 files."""
    config = MotionClipConfig(size=size)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(pairs):
            for number, clip in enumerate(film_pair(index, index % 4, config)):
                write_mp4(Path(folder) / f"{number}.mp4", clip.frames, config.fps)
