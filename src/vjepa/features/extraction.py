"""Features of videos and pictures from a frozen encoder, to files; and clips that look alike.

    python -m vjepa features --encoder vitl16.pt --videos videos.csv --out features

Tokens are bidirectional in time: each has attended to the whole clip, the frames after it too. So the tokens of half a clip
are not a half of the clip's tokens, a token tells of its future, and windows that overlap give different tokens for the same
moment. What must not see ahead needs windows that end at its present.

In Python:

    encoder = load_encoder("vitl16.pt")
    clip = read_clip("video.mp4", ClipConfig(frames=64, fps=4.0, size=256))
    vector = clip_features(encoder, clip, pool="mean")

The answer of a probe stage's export to a clip, as it was trained (`told["names"]` are its classes; of regression, its numbers):

    encoder, probe, told = load_encoder("vitl16.pt"), load_probe("probe.safetensors"), read_schema("probe.safetensors", "probe")
    tokens = clip_features(encoder, read_clip("video.mp4", ClipConfig(**told["clip"])), layers=tuple(told["layers"]), pool="none")
    answer = told["names"][int(probe(tokens.reshape(1, -1, tokens.shape[-1])).argmax())]
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.manifest_files import PICTURES, VIDEOS
from vjepa.data.windows import Window, WindowClips, windows_of
from vjepa.errors import UserError, require
from vjepa.features.clip_features import Pool, clip_features, read_clip
from vjepa.features.files import NOTE, Shard, finished, is_empty, read_features, write_note, write_shard
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentivePool
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.export import read_schema
from vjepa.weights.files import digest
from vjepa.weights.load import Weights, load_encoder, load_probe

__all__ = [
    "ClipConfig",
    "features",
    "load_encoder",
    "load_probe",
    "read_clip",
    "read_features",
    "read_schema",
]


@dataclass(frozen=True)
class FeatureConfig:
    """Which features of which videos."""

    encoder: Path
    """A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory."""
    videos: Path
    """Manifest: a folder of videos, a list, CSV, TSV or Parquet; or one video; or a picture, or a folder of pictures alone:
    videos that stand still."""
    out: Path
    """Folder for the files; one that is not finished is continued."""
    frames: int = 16
    """Frames per clip, a multiple of the encoder's tubelet."""
    fps: float = 4.0
    """Frames per second of video time."""
    size: int = 256
    """Height and width in pixels of the centred square, a multiple of the encoder's patch."""
    overlap: float | None = None
    """Share by which windows that slide over the whole video overlap, from 0 to below 1; without it, the middle clip alone."""
    layers: tuple[int, ...] = ()
    """Blocks whose tokens are kept, counted from 0, -1 the last; the last one's alone if empty."""
    pool: Pool = "mean"
    """none: every token. mean: one vector a clip. frame: one a time step of the grid. attentive: the probe's pooler."""
    probe: Path | None = None
    """Probe stage's export or upstream classifier, for attentive pooling."""
    weights: Weights = "ema"
    """Which of the source's encoders is read."""
    dtype: Literal["float16", "float32"] = "float16"
    """Of the numbers in the files."""
    format: Literal["parquet", "safetensors"] = "parquet"
    """Parquet: a row a clip, values flat beside their shape. Safetensors: one tensor `features`, and an index in JSON."""
    shard: int = 512
    """Clips per file; what is interrupted is repeated from the last whole file."""
    batch_size: int = 8
    """Clips encoded at once."""
    workers: int = 2
    """Processes that decode."""
    part: int = 0
    """Which of `parts` this process is: several can fill one folder, on as many devices."""
    parts: int = 1
    """Processes among which the clips are dealt out."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        require(
            self.overlap is None or 0 <= self.overlap < 1,
            f"--overlap {self.overlap} is a share: 0 to below 1",
        )
        require(
            0 <= self.part < self.parts,
            f"--part {self.part} must be from 0 to --parts - 1 = {self.parts - 1}",
        )
        require(min(self.shard, self.batch_size) > 0, "--shard and --batch_size must be 1 or more")
        require(self.workers >= 0, f"--workers {self.workers} must be 0 or more")
        require(
            (self.pool == "attentive") == (self.probe is not None), "--pool attentive and --probe go together"
        )

    @property
    def clip(self) -> ClipConfig:
        return ClipConfig(frames=self.frames, fps=self.fps, size=self.size, short="hold")

    def identity(self, manifest: Manifest) -> dict:
        """What decides the numbers and the files they are in: the folder may not mix two of them. The encoder and the probe are
        known by what they hold, wherever they lie; the videos by their list and its place."""
        moot = ("encoder", "videos", "probe", "out", "part", "parts", "batch_size", "workers", "device")
        kept = {key: value for key, value in asdict(self).items() if key not in moot}
        kept |= {
            "encoder_digest": digest_of(self.encoder),
            "probe_digest": self.probe and digest_of(self.probe),
        }
        rows = f"{Path(self.videos).resolve()} {manifest.table.to_pydict()}"
        return json.loads(
            json.dumps(kept | {"videos_digest": hashlib.sha256(rows.encode()).hexdigest()[:12]})
        )


def extract(config: FeatureConfig) -> Path:
    """Write what is missing in `config.out`, and return it. Raises UserError if no clip can be decoded."""
    manifest = listed(config.videos)
    encoder = load_encoder(config.encoder, config.weights).to(device_of(config.device)).eval()
    frames = encoder.config.tubelet if config.frames == 1 else config.frames
    encoder.grid(
        torch.empty(1, 3, frames, config.size, config.size, device="meta")
    )  # refuses before anything is decoded
    pooler = pooler_of(config, encoder) if config.probe else None
    identity = config.identity(manifest)
    check_same_features(config.out, identity)
    windows, bad = windows_of(manifest, config.clip, config.overlap)
    firsts = range(0, len(windows), config.shard)
    shards = [Shard(number, windows[first : first + config.shard]) for number, first in enumerate(firsts)]
    claim(config, identity, len(shards))
    mine = shards[config.part :: config.parts]
    report_bad(config.out, bad if config.part == 0 else [])
    missing = [shard for shard in mine if not finished(config.out, shard, config.format)]
    write_missing(config, manifest, encoder, pooler, missing)
    if (mine or not shards) and all(is_empty(shard.file(config.out, config.format)) for shard in mine):
        raise UserError(
            f"no clip of {config.videos} could be decoded; {config.out / 'bad_files.txt'} says why"
        )
    print(f"features: {config.out}")
    return config.out


def write_missing(
    config: FeatureConfig,
    manifest: Manifest,
    encoder: Encoder,
    pooler: AttentivePool | None,
    shards: list[Shard],
) -> None:
    with tqdm(total=sum(len(shard.windows) for shard in shards), unit="clip", disable=not shards) as progress:
        for shard in shards:
            found = encoded(encoder, manifest, shard.windows, config, pooler, progress.update)
            report_bad(config.out, write_shard(config.out, shard, manifest, found, config.format))


def listed(videos: Path) -> Manifest:
    """What the path says, as a manifest; one file, and a folder that holds pictures alone, without being asked for a list."""
    files = [videos] if videos.is_file() and videos.suffix.lower() in VIDEOS + PICTURES else []
    if videos.is_dir() and not any(path.suffix.lower() in VIDEOS for path in videos.rglob("*")):
        files = sorted(path for path in videos.rglob("*") if path.suffix.lower() in PICTURES)
    if not files:
        return read_manifest(videos)
    paths, empty = [str(path.resolve()) for path in files], pa.nulls(len(files), pa.float64())
    return Manifest(
        videos, pa.table({"path": paths, "label": [-1] * len(files), "start": empty, "end": empty})
    )


def pooler_of(config: FeatureConfig, encoder: Encoder) -> AttentivePool:
    """The probe's, on the device. Raises UserError if it averages, or reads another width of tokens."""
    pool = load_probe(config.probe).pool
    require(
        isinstance(pool, AttentivePool),
        f"{config.probe} is a linear probe, without attention; use --pool mean",
    )
    width, ours = pool.query.shape[-1], encoder.config.width
    require(
        width == ours, f"{config.probe} reads tokens of width {width}, not the {ours} of {config.encoder}"
    )
    return pool.to(device_of(config.device)).eval()


def encoded(
    encoder: Encoder,
    manifest: Manifest,
    windows: list[Window],
    config: FeatureConfig,
    pooler: AttentivePool | None,
    tick: Callable[[int], object],
) -> Iterator[tuple[int, np.ndarray | str]]:
    """(place in the shard, features) of every window, or the reason why there are none."""
    clips = WindowClips(manifest, windows, config.clip)
    for samples in DataLoader(clips, config.batch_size, num_workers=config.workers, collate_fn=list):
        good = [sample for sample in samples if sample.clip is not None]
        yield from ((sample.index, sample.bad[0]) for sample in samples if sample.clip is None)
        yield from zip((sample.index for sample in good), values(encoder, good, config, pooler), strict=True)
        tick(len(samples))


def values(
    encoder: Encoder, good: list[Sample], config: FeatureConfig, pooler: AttentivePool | None
) -> list[np.ndarray]:
    if not good:
        return []
    found = clip_features(
        encoder, torch.stack([sample.clip for sample in good]), config.pool, config.layers, pooler
    )
    return list(found.cpu().numpy().astype(config.dtype))


def check_same_features(out: Path, identity: dict) -> None:
    """Raise UserError if the folder holds something else."""
    if (out / NOTE).exists():
        known = json.loads((out / NOTE).read_text())
        changed = [
            f"{key}: {known.get(key)} -> {identity[key]}"
            for key in identity
            if known.get(key) != identity[key]
        ]
        require(not changed, f"{out} holds other features ({'; '.join(changed[:3])}); choose another --out")


def claim(config: FeatureConfig, identity: dict, shards: int) -> None:
    """Note what the folder is to hold."""
    config.out.mkdir(parents=True, exist_ok=True)
    sources = {name: str(getattr(config, name)) for name in ("encoder", "videos", "probe")}
    write_note(config.out, identity | {"shards": shards, "sources": sources})


def digest_of(source: Path) -> str:
    """Of the file that is read; of a Hugging Face directory, of its config and weights."""
    path = checkpoint_in(source)
    if path.is_file():
        return digest(path)
    files = [path / "config.json", *sorted(path.glob("model*.safetensors"))]
    return hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()[:12]


def report_bad(out: Path, bad: list[str]) -> None:
    """Each reason once, however many windows, parts and resumed runs meet it."""
    file = out / "bad_files.txt"
    known = set(file.read_text().splitlines()) if file.exists() else set()
    new = [reason for reason in dict.fromkeys(bad) if reason not in known]
    if new:
        with file.open("a") as lines:
            lines.writelines(reason + "\n" for reason in new)
        print(f"{len(new)} clips or files could not be decoded and have no features; see {file}")


def device_of(name: str) -> torch.device:
    """Raises UserError for one that is not there."""
    chosen = name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        words = str(error).partition("\n")[0]
        raise UserError(
            f"--device {name} cannot be used ({words}); give cpu, cuda, cuda:1, mps or auto"
        ) from error
