"""Draws the pictures of docs/pictures anew, each from what a finished run left.

    python -m scripts.pictures                      # all that can be drawn; says what is left out, and why
    python -m scripts.pictures --run runs/demo --data data

`make demo ac decode plan evidence` makes everything that the pictures are drawn from. A picture is left as it
is if its source is missing, so docs/pictures never shows something else than its caption says. Three pictures
show videos that are not part of this repository: look.gif and look_page.jpg (`vjepa look`), surprise.png
(`vjepa predict --surprise`). The film is that of `vjepa plan --film`, too.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.evidence import ENCODERS, READ_OUTS, Summaries, draw_evidence, summarise
from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.command.parser import call, parser_of_settings
from vjepa.data.clips import ClipConfig
from vjepa.data.loose_files import read_videos
from vjepa.drawing.film import write_png
from vjepa.drawing.outputs import check_outputs
from vjepa.errors import UserError, require
from vjepa.evaluation.rollout_figure import save_error_figure
from vjepa.features.config import FeatureConfig
from vjepa.features.contact_sheet import contact_sheet
from vjepa.features.extraction import extract
from vjepa.features.files import read_features
from vjepa.features.nearest import nearest_clips
from vjepa.planning.landscape import LandscapeConfig
from vjepa.planning.landscape_figure import plot_landscape, swept_axes
from vjepa.planning.load import load_world_model
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.sim.closed_loop.held_out_steps import StepsConfig, frame_pairs, moving_steps, step_landscape
from vjepa.sim.recording.gallery import gallery

CLIP = ClipConfig(frames=10, fps=5.0, size=64)
"""A clip of the demo's cooldown."""
SWEEP = LandscapeConfig(span=(0.075, 0.075), points=41)
"""Finer than what `plan` counts with, because it is looked at."""


def existing(path: Path) -> Path:
    """The path. Raises UserError if nothing is there."""
    require(path.exists(), f"{path} does not exist")
    return path


def draw_neighbours(run: Path, data: Path, out: Path) -> None:
    encoder = existing(run / "cooldown/model.safetensors")
    videos = existing(data / "demo/val.csv")
    with TemporaryDirectory() as folder:
        features = Path(folder) / "features"
        clip = {"frames": CLIP.frames, "fps": CLIP.fps, "size": CLIP.size}
        extract(FeatureConfig(encoder=encoder, videos=videos, out=features, **clip))
        values = read_features(features)
    manifest = read_videos(videos)
    found = nearest_clips(manifest, values, queries=6, neighbours=5)
    write_png(out / "neighbours.png", contact_sheet(manifest, values, found, pixels=128))


def draw_horizons(run: Path, data: Path, out: Path) -> None:
    report = json.loads(existing(run / "ac/horizons.json").read_text())
    title = f"How far ahead is the prediction right? {report['windows']} held-out windows"
    save_error_figure(report["errors"], title, out / "horizons.png")


def draw_landscape(run: Path, data: Path, out: Path) -> None:
    """The energy of the first held-out step that `plan` counts, whatever it looks like."""
    encoder, ac = (existing(run / stage / "model.safetensors") for stage in ("cooldown", "ac"))
    world = load_world_model(encoder, ac)
    windows = frame_pairs(load_lerobot(existing(data / "robot/test"), world.schema), world.size or CLIP.size)
    step = moving_steps(windows, StepsConfig(steps=1))[0]
    axes = swept_axes(world.schema, SWEEP)
    plot_landscape(step_landscape(world, windows, step, SWEEP), axes, out / "landscape.png")


def draw_evidence_bars(run: Path, data: Path, out: Path) -> None:
    """From evidence.json, or from the table in docs/pretraining.md where that file is gone."""
    scores = run.parent / "evidence/evidence.json"
    if scores.exists():
        summaries = summarise(json.loads(scores.read_text()))
    else:
        summaries = table_of_the_docs(Path("docs/pretraining.md").read_text())
    draw_evidence(summaries, out / "evidence.png")


def table_of_the_docs(page: str) -> Summaries:
    """The scores in the page's table, whose cells are `mean ± standard deviation`."""
    cells = re.findall(r"(0\.\d+) ± (0\.\d+)", page)
    require(
        len(cells) == len(READ_OUTS) * len(ENCODERS),
        f"docs/pretraining.md has {len(cells)} scores; expected {len(READ_OUTS)} rows of {len(ENCODERS)}",
    )
    # Rows are read-outs, columns encoders.
    pairs = iter((float(mean), float(spread)) for mean, spread in cells)
    summaries: Summaries = {name: {} for name in ENCODERS}
    for key in READ_OUTS:
        for name in ENCODERS:
            summaries[name][key] = next(pairs)
    return summaries


def copy_of(source: str) -> Callable[[Path, Path, Path], None]:
    """A picture that a stage has drawn already."""

    def copy(run: Path, data: Path, out: Path) -> None:
        shutil.copyfile(existing(run / source), out / Path(source).name)

    return copy


PICTURES: dict[str, Callable[[Path, Path, Path], None]] = {
    "demo_world": lambda run, data, out: gallery(out=out / "demo_world.png"),
    "neighbours": draw_neighbours,
    "confusion": copy_of("probe/confusion.png"),
    "evidence": draw_evidence_bars,
    "horizons": draw_horizons,
    "landscape": draw_landscape,
    "decoding": copy_of("decode/decoding.png"),
}
"""Name of a file in docs/pictures -> what draws it from a run's folder and the data's."""


def main(
    run: Path = Path("runs/demo"),
    data: Path = Path("data"),
    out: Path = Path("docs/pictures"),
    only: tuple[str, ...] = tuple(PICTURES),
) -> None:
    """Draw every picture whose source is there.

    Args:
        run: Folder of cooldown, probe, ac, decode and plan-quick.
        data: Folder of demo/ and robot/.
        out: Folder of the pictures.
        only: Which pictures.
    """
    for name in only:
        require(name in PICTURES, f"--only {name}: expected {', '.join(PICTURES)}")
    check_outputs([out / f"{name}.png" for name in only])
    for name in only:
        try:
            PICTURES[name](run, data, out)
            print(f"{name}: drawn")
        except UserError as error:
            print(f"{name}: left as it is, because {error}")


if __name__ == "__main__":
    with mistakes_as_sentences():
        # With the parser of the commands, which takes `--only film horizons` for a list.
        call(main, parser_of_settings(main, "python -m scripts.pictures").parse_args(sys.argv[1:]))
