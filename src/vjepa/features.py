"""Features of videos and pictures from a frozen encoder, to files; and clips that look alike.

    python -m vjepa.features --encoder vitl16.pt --videos videos.csv --out features

Tokens are bidirectional in time: each has attended to the whole clip, the frames after it too. So the tokens of half a clip
are not a half of the clip's tokens, a token tells of its future, and windows that overlap give different tokens for the same
moment. What must not see ahead needs windows that end at its present.

In Python:

    encoder = load_encoder("vitl16.pt")
    clip = read_clip("video.mp4", ClipConfig(frames=64, fps=4.0, size=256))
    vector = features(encoder, clip, pool="mean")
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from jsonargparse import ArgumentParser, set_parsing_settings
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from vjepa.checkpoint import Weights, checkpoint_in, digest, load_encoder, load_probe
from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.manifest import Manifest, ManifestError, Row, read_manifest
from vjepa.data.transforms import centre_box, crop, normalise
from vjepa.data.views import load_segments
from vjepa.data.windows import Window, WindowClips, windows_of
from vjepa.errors import UserError, refuse_unless
from vjepa.feature_files import Shard, finished, read_features, write_shard
from vjepa.locate import locate
from vjepa.models import Encoder
from vjepa.models.probe import AttentivePool

Pool = Literal["none", "mean", "frame", "attentive"]
__all__ = ["ClipConfig", "features", "load_encoder", "read_clip", "read_features"]


@dataclass(frozen=True)
class FeatureConfig:
    """Which features of which videos."""

    encoder: Path
    """A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory."""
    videos: Path
    """Manifest: a folder of videos, a list, CSV, TSV or Parquet; pictures are videos that stand still."""
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
        refuse_unless(self.overlap is None or 0 <= self.overlap < 1, f"--overlap {self.overlap} is a share: 0 to below 1")
        refuse_unless(0 <= self.part < self.parts, f"--part {self.part} must be from 0 to --parts - 1 = {self.parts - 1}")
        refuse_unless(min(self.shard, self.batch_size) > 0, "--shard and --batch_size must be 1 or more")
        refuse_unless((self.pool == "attentive") == (self.probe is not None), "--pool attentive and --probe go together")

    @property
    def clip(self) -> ClipConfig:
        return ClipConfig(frames=self.frames, fps=self.fps, size=self.size, short="hold")

    def identity(self, encoder: str, videos: str) -> dict:
        """What decides the numbers and the files they are in: the folder may not mix two of them."""
        placed = ("out", "part", "batch_size", "workers", "device")
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        kept = {key: value for key, value in plain.items() if key not in placed}
        return json.loads(json.dumps(kept | {"encoder_digest": encoder, "videos_digest": videos}))


def read_clip(path: str | Path, config: ClipConfig) -> UInt8[Tensor, "t c h w"]:
    """The clip in the middle of a video or of a picture, its centred square. Raises DecodeError."""
    (frames,) = load_segments(Row(Path(path), None, None, None), config, 1)
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False)


@torch.no_grad()
def features(
    encoder: Encoder,
    clip: UInt8[Tensor, "*b t c h w"],
    pool: Pool = "mean",
    layers: tuple[int, ...] = (),
    pooler: AttentivePool | None = None,
) -> Float[Tensor, "*shape"]:
    """Of one clip, or of a batch of them (one more axis in front): with `pool` none l n d, mean l d, frame l T d, attentive
    l d, where l counts the layers and falls away if none are named. Raises UserError if tubelets do not divide the clip."""
    batch = clip if clip.ndim == 5 else clip[None]
    device = next(encoder.parameters()).device
    floats = normalise(batch.to(device))
    encoder = encoder.eval()
    tokens = encoder.layers(floats, layers) if layers else encoder(floats)[:, None]
    found = pooled(tokens, pool, tokens.shape[2] // steps_of(encoder, floats), pooler)
    found = found if layers else found[:, 0]
    return found if clip.ndim == 5 else found[0]


def steps_of(encoder: Encoder, clip: Float[Tensor, "b c t h w"]) -> int:
    """Time steps of the grid; a single frame fills one."""
    return max(clip.shape[2] // encoder.config.tubelet, 1)


def pooled(
    tokens: Float[Tensor, "b l n d"], pool: Pool, per_step: int, pooler: AttentivePool | None
) -> Float[Tensor, "b l *rest"]:
    if pool == "mean":
        return tokens.mean(dim=2)
    if pool == "frame":
        return rearrange(tokens, "b l (T s) d -> b l T s d", s=per_step).mean(dim=3)
    if pool == "attentive":
        refuse_unless(pooler is not None, "attentive pooling reads a trained probe; give its pooler")
        return rearrange(pooler(rearrange(tokens, "b l n d -> (b l) n d")), "(b l) d -> b l d", b=len(tokens))
    return tokens


def extract(config: FeatureConfig) -> Path:
    """Write what is missing in `config.out`, and return it."""
    manifest = read_manifest(locate(config.videos))
    encoder = load_encoder(locate(config.encoder), config.weights).to(device_of(config.device)).eval()
    frames = encoder.config.tubelet if config.frames == 1 else config.frames
    encoder.grid(torch.empty(1, 3, frames, config.size, config.size, device="meta"))  # refuses before anything is decoded
    pooler = load_probe(locate(config.probe)).pool.to(device_of(config.device)).eval() if config.probe else None
    claim(config, manifest)
    windows, bad = windows_of(manifest, config.clip, config.overlap)
    firsts = range(0, len(windows), config.shard)
    shards = [Shard(number, windows[first : first + config.shard]) for number, first in enumerate(firsts)]
    mine = [shard for shard in shards[config.part :: config.parts] if not finished(config.out, shard, config.format)]
    with tqdm(total=sum(len(shard.windows) for shard in mine), unit="clip", disable=not mine) as progress:
        for shard in mine:
            found = encoded(encoder, manifest, shard.windows, config, pooler, progress.update)
            bad += write_shard(config.out, shard, manifest, found, config.format)
    report_bad(config.out, bad)
    return config.out


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


def values(encoder: Encoder, good: list[Sample], config: FeatureConfig, pooler: AttentivePool | None) -> list[np.ndarray]:
    if not good:
        return []
    found = features(encoder, torch.stack([sample.clip for sample in good]), config.pool, config.layers, pooler)
    return list(found.cpu().numpy().astype(config.dtype))


def claim(config: FeatureConfig, manifest: Manifest) -> None:
    """Note what the folder holds, or refuse to mix it with something else."""
    source = checkpoint_in(locate(config.encoder))
    rows = hashlib.sha256(str(manifest.table.to_pydict()).encode()).hexdigest()[:12]
    identity = config.identity("folder" if source.is_dir() else digest(source), rows)
    note = config.out / "features.json"
    if note.exists():
        known = json.loads(note.read_text())
        changed = [f"{key}: {known.get(key)} -> {identity[key]}" for key in identity if known.get(key) != identity[key]]
        refuse_unless(not changed, f"{config.out} holds other features ({'; '.join(changed[:3])}); choose another --out")
        return
    config.out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(identity, indent=1))


def report_bad(out: Path, bad: list[str]) -> None:
    if bad:
        with (out / "bad_files.txt").open("a") as file:
            file.writelines(reason + "\n" for reason in bad)
        print(f"{len(bad)} clips or files could not be decoded and have no features; see {out / 'bad_files.txt'}")


def device_of(name: str) -> torch.device:
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def main(arguments: list[str] | None = None) -> None:
    """A refusal is one sentence and exit status 2."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m vjepa.features", description=FeatureConfig.__doc__)
    parser.add_class_arguments(FeatureConfig)
    try:
        options = parser.parse_args(arguments)
        print(f"features: {extract(FeatureConfig(**options.as_dict()))}")
    except (UserError, ManifestError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
