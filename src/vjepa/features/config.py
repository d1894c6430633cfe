"""What a folder of features holds: settings, videos, and the identity by which a folder is continued."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Manifest
from vjepa.errors import check_positive, check_workers, require
from vjepa.features.clip_features import Pool, clip_of
from vjepa.weights.card import read_card
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.files import digest
from vjepa.weights.load import Weights

WITHOUT_EFFECT = {"out", "part", "parts", "batch_size", "workers", "timeout", "device"}
"""Settings that change neither the numbers nor the files."""
SOURCES = ("encoder", "videos", "probe")
"""Settings that are paths. `FeatureConfig.identity` has digests in their place."""


@dataclass(frozen=True)
class FeatureConfig:
    """Which features of which videos."""

    encoder: Path
    """A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`."""
    videos: Path
    """Manifest: a folder of videos, a list, CSV, TSV or Parquet; or a single video or image; or a folder that
    holds images only. An image is a video that stands still."""
    out: Path
    """Folder for the files; one that is not finished is continued."""
    frames: int | None = None
    """Frames per clip, a multiple of the encoder's tubelet. Not given: as the encoder was trained."""
    fps: float | None = None
    """Frames per second of video time. Not given: as the encoder was trained."""
    size: int | None = None
    """Height and width in pixels of the centred square, a multiple of the encoder's patch. Not given: as the
    encoder was trained."""
    overlap: float | None = None
    """Share by which windows over the whole video overlap, from 0 to below 1; without it, the middle clip."""
    layers: tuple[int, ...] = ()
    """Blocks whose tokens are kept, counted from 0, -1 the last; if empty, the output of the last one."""
    pool: Pool = "mean"
    """none: every token. mean: one vector a clip. frame: one a time step. attentive: the probe's pooling."""
    probe: Path | None = None
    """Probe stage's export or Meta's classifier, for attentive pooling."""
    weights: Weights = "ema"
    """Which of the source's encoders is read."""
    dtype: Literal["float16", "float32"] = "float16"
    """Type of the numbers in the files."""
    shard: int = 512
    """Clips per file; an interrupted run goes on after its last complete file."""
    batch_size: int = 8
    """Clips encoded at once."""
    workers: int = 2
    """Processes that decode."""
    timeout: float = 300.0
    """Seconds that a batch may take to decode before the command ends with the name of its file."""
    part: int = 0
    """Number of this process, from 0 to `parts` - 1: several can fill one folder, on as many devices."""
    parts: int = 1
    """Processes that share the clips."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        require(not Path(self.out).is_file(), f"--out {self.out} is a file; name a folder")
        check_positive(frames=self.frames, fps=self.fps, size=self.size, parts=self.parts)
        check_positive(shard=self.shard, batch_size=self.batch_size, timeout=self.timeout)
        known_overlap = self.overlap is None or 0 <= self.overlap < 1
        require(known_overlap, f"--overlap {self.overlap} is a share: 0 to below 1")
        known_part = 0 <= self.part < self.parts
        require(known_part, f"--part {self.part} must be from 0 to --parts - 1 = {self.parts - 1}")
        check_workers(self.workers)
        attentive = self.pool == "attentive"
        require(attentive == (self.probe is not None), "--pool attentive and --probe go together")

    @cached_property
    def clip(self) -> ClipConfig:
        """The clip that features are of: what is given, and for the rest what the weights say."""
        # A probe's pooling was trained on clips of its own.
        reader = self.probe if self.probe and read_card(self.probe).clip else self.encoder
        return clip_of(reader, self.frames, self.fps, self.size)

    @property
    def sources(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in SOURCES}

    def identity(self, manifest: Manifest) -> dict:
        """All that decides the numbers and their division into files: a folder must not mix two identities.

        Encoder and probe are known by the digest of their files, the videos by the place and the rows of
        their manifest.
        """
        dropped = {*WITHOUT_EFFECT, *SOURCES}
        clip = {name: getattr(self.clip, name) for name in ("frames", "fps", "size")}
        settings = {key: value for key, value in asdict(self).items() if key not in dropped} | clip
        # The place counts too, because the paths in a manifest are relative to it.
        rows = f"{Path(self.videos).resolve()} {manifest.table.to_pydict()}"
        digests = {
            "encoder_digest": source_digest(self.encoder),
            "probe_digest": source_digest(self.probe) if self.probe else None,
            "videos_digest": hashlib.sha256(rows.encode()).hexdigest()[:12],
            "class_numbers": numbers_text(manifest.classes),
        }
        # Through JSON, as it is compared with what was read from a file: tuples become lists.
        return json.loads(json.dumps(settings | digests))


def numbers_text(classes: Mapping[str, int] | None) -> str | None:
    """What tells whether two lists of named classes number them alike."""
    return classes and f"{len(classes)} names, {hashlib.sha256(repr(classes).encode()).hexdigest()[:6]}"


def source_digest(source: Path) -> str:
    """Digest of a file of weights; for a Hugging Face directory, of its config and weights."""
    path = checkpoint_in(source)
    if path.is_file():
        return digest(path)
    # A directory may hold other files, such as a README, which change nothing.
    files = [path / "config.json", *sorted(path.glob("model*.safetensors"))]
    return hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()[:12]
