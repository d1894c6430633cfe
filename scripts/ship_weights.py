"""Make the weights in the box: one run's encoder, predictors and probe, in half precision, with their card.

    make demo ac && python -m scripts.ship_weights

Writes `src/vjepa/weights/demo.safetensors` from the stages cooldown, ac and probe of a run, and prints the
scores in float32 beside those in float16. The card holds a digest of the recipes, so that a test can say when
the file is older than they are.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import nn

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.data.manifest import read_manifest
from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.evaluation.rollout_error import rollout_errors
from vjepa.loading import load
from vjepa.models.encoder import Encoder, encode_frames
from vjepa.models.frozen import freeze
from vjepa.planning.load import schema_of
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.window_datasets import EvaluationTrajectories
from vjepa.robots.windows import TrajectoryConfig
from vjepa.training.run_folder import commit
from vjepa.weights.box import BOX, box_path
from vjepa.weights.card import Card, read_card
from vjepa.weights.export import Part, export, part_description
from vjepa.weights.files import weights_digest
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe

RECIPES = ("pretrain.yaml", "cooldown.yaml", "probe.yaml", "ac.yaml", "encoder/tiny-levels.yaml")
LARGEST = 5_000_000
"""Bytes that the file may have, since every installation carries it."""


def recipe_digest(conf: Path) -> str:
    """A digest of the recipes that make these weights."""
    texts = b"".join((conf / name).read_bytes() for name in RECIPES)
    return hashlib.sha256(texts).hexdigest()[:12]


def half(network: nn.Module) -> nn.Module:
    """The network with its weights rounded to half precision, as they are read back from the file."""
    return network.half().float()


def box_parts(run: Path) -> dict[str, Part]:
    """The parts of the file. Predictor and probe name the encoder as it is there, rounded."""
    cooldown, ac, probe = (run / stage / "model.safetensors" for stage in ("cooldown", "ac", "probe"))
    encoder = half(load_encoder(cooldown))
    belongs = {"encoder_digest": weights_digest(encoder)}
    acting = part_description(ac, "ac_predictor") | belongs | {"encoder_source": BOX}
    reading = part_description(probe, "probe")
    reading |= {"schema": reading["schema"] | belongs | {"encoder": BOX}}
    return {
        "ema": Part(encoder, part_description(cooldown, "ema")),
        # The predictor was trained on what this encoder makes of the seen half.
        "student": Part(load_encoder(cooldown, "student"), part_description(cooldown, "student")),
        "predictor": Part(load_predictor(cooldown), part_description(cooldown, "predictor")),
        "ac_predictor": Part(load_ac_predictor(ac), acting),
        "probe": Part(load_probe(probe), reading),
    }


def box_info(run: Path, conf: Path, licence: str | None) -> dict:
    """What the file's card says: the encoder's training, the scores of all, and how it was made."""
    cards = {stage: read_card(run / stage / "model.safetensors") for stage in ("cooldown", "ac", "probe")}
    encoder = cards["cooldown"]
    check_one_code(cards)
    notes = (
        "made by `make demo ac` and `python -m scripts.ship_weights`, in half precision",
        "a simulated robot arm (MuJoCo), 64 px: these weights show how things work, not how well",
    )
    return {
        **{key: getattr(encoder, key) for key in ("stage", "steps", "seed", "data")},
        "clip": vars(encoder.clip) if encoder.clip else None,
        "licence": licence,
        "commit": encoder.commit or commit(),
        "scores": {**cards["probe"].scores, **cards["ac"].scores},
        "notes": notes,
        "recipe": recipe_digest(conf),
    }


def check_one_code(cards: dict[str, Card]) -> None:
    """Raise UserError unless one version of the code trained all stages."""
    commits = {card.commit for card in cards.values()}
    require(len(commits) == 1, f"the stages were trained by several versions of the code: {commits}")


def probe_accuracy(source: Path, encoder: Path, manifest: Path) -> float:
    """The share of test clips whose class the probe names."""
    model = load(source, encoder=encoder)
    table = read_manifest(manifest)
    rows = [table.row(i) for i in range(len(table))]
    names = model.probe_schema["names"]
    right = [next(iter(model.predict(row.path))) == names[row.label_number] for row in rows]
    return sum(right) / len(right)


@torch.no_grad()
def rollout_error(source: Path, encoder: Encoder, episodes: Path) -> tuple[float, float]:
    """The predictor's error one and eight actions ahead, on one window of every test episode."""
    acting = read_card(source).acting
    predictor = freeze(load_ac_predictor(source))
    schema = schema_of(acting)
    config = TrajectoryConfig(frames=9, fps=acting.fps or 4.0, size=acting.size)
    errors = []
    for window in windows(load_lerobot(episodes, schema), config):
        tokens = encode_frames(encoder, normalise(window.clip[None]))
        found = rollout_errors(predictor, tokens, window.actions[None], window.states[None], schema)
        errors.append(found["model"][0])
    mean = torch.stack(errors).mean(dim=0)
    return float(mean[0]), float(mean[-1])


def windows(data, config: TrajectoryConfig) -> Iterator:
    """The evaluation windows that can be decoded."""
    samples = EvaluationTrajectories(data, config)
    yield from (window for window in map(samples.__getitem__, range(len(samples))) if not window.bad)


def ship_weights(
    run: Path = Path("runs/demo"),
    conf: Path = Path("conf"),
    test: Path = Path("data/demo/test.csv"),
    episodes: Path = Path("data/robot/test"),
    out: Path = box_path(),
    licence: str | None = None,
) -> None:
    """Write the file, and print its card and its scores in both precisions.

    Args:
        run: Folder of the finished stages cooldown, ac and probe.
        conf: The recipes.
        test: Manifest of the probe's test clips.
        episodes: Robot episodes of the AC predictor's test.
        out: File to write.
        licence: Licence of the weights.
    """
    for path in (test, episodes):
        require(path.exists(), f"{path} does not exist; the scores are measured on it")
    export(out, box_parts(run), box_info(run, conf, licence), dtype="float16")
    size = out.stat().st_size
    require(size <= LARGEST, f"{out} has {size:,} bytes; at most {LARGEST:,} are shipped")
    print(f"{out}: {size:,} bytes\n\n{read_card(out)}\n")

    cooldown, ac, probe = (run / stage / "model.safetensors" for stage in ("cooldown", "ac", "probe"))
    print(f"{'':<10} probe accuracy   AC error 1 ahead   8 ahead")
    for name, sources in {"float32": (cooldown, ac, probe), "float16": (out, out, out)}.items():
        accuracy = probe_accuracy(sources[2], sources[0], test)
        first, last = rollout_error(sources[1], freeze(load_encoder(sources[0])), episodes)
        print(f"{name:<10} {accuracy:>14.4f} {first:>18.5f} {last:>9.5f}")


if __name__ == "__main__":
    with mistakes_as_sentences():
        auto_cli(ship_weights, as_positional=False)
