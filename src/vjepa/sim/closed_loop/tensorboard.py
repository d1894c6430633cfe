"""What the closed-loop evaluation shows in TensorBoard: tables, a film of an episode, an energy landscape."""

from pathlib import Path
from textwrap import indent

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vjepa.drawing.event_writers import add_film
from vjepa.planning.landscape_figure import plot_landscape, swept_axes
from vjepa.robots.windows import Windows
from vjepa.sim.closed_loop.episodes import EpisodeRunner
from vjepa.sim.closed_loop.evaluation import Tables
from vjepa.sim.closed_loop.film import film_episode
from vjepa.sim.closed_loop.held_out_steps import Step, StepsConfig, step_landscape, summarise
from vjepa.sim.closed_loop.results import results_table
from vjepa.sim.closed_loop.setting import Setting
from vjepa.sim.closed_loop.tasks import TaskName


def show_tables(writer: SummaryWriter, tables: Tables) -> None:
    """Show every table as text. Its values belong to no training step, so a curve would be a single point."""
    for name, rows in tables.items():
        # Markdown shows indented text in a fixed-width font, which keeps the columns of the table.
        writer.add_text(name, indent(results_table(rows, name.replace("_", " ")), "    "))


def show_film(writer: SummaryWriter, setting: Setting, task: TaskName, seed: int, out: Path) -> None:
    """Play one episode of the model, write its film, and show it, moving and as a strip of moments."""
    # As the processes that play the episodes: sums depend on the number of threads, and the film should show
    # the episode that was counted.
    torch.set_num_threads(1)
    strip = film_episode(EpisodeRunner(setting), task, "model", seed, out)
    writer.add_image("film/strip", strip, dataformats="HWC")
    add_film(writer, "film/moving", (out / "film.gif").read_bytes(), step=0)


def show_landscapes(
    writer: SummaryWriter,
    setting: Setting,
    windows: Windows,
    steps: list[Step],
    config: StepsConfig,
    out: Path,
) -> dict:
    """Print and return how well the minima of the energy agree with the true actions.

    The landscape of the first step is written as `landscape.npz` and `landscape.png`, and shown.
    """
    world = EpisodeRunner(setting).world_model("model")
    landscapes = [
        step_landscape(world, windows, step, config.sweep) for step in tqdm(steps, "energy landscapes")
    ]
    landscapes[0].save(out / "landscape.npz")
    plot_landscape(landscapes[0], swept_axes(world.schema, config.sweep), out / "landscape.png")
    image = np.asarray(Image.open(out / "landscape.png").convert("RGB"))
    writer.add_image("landscape", image, dataformats="HWC")

    summary = summarise(landscapes)
    print(
        f"energy landscapes of {summary.steps} held-out steps: minimum in the true action's quadrant in "
        f"{summary.quadrant:.0%}, angle between them {summary.median_angle:.0f} degrees (median), "
        f"{summary.mean_angle:.0f} (mean)"
    )
    return summary._asdict()
