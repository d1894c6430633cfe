"""The data module of clips: manifests in, batches out."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vjepa.data.clips import ClipConfig, EvaluationClips, TrainingClips, WithImages, collate_clips
from vjepa.data.digest import DataDigest, joint_digest, manifest_digest, rows_digest
from vjepa.data.loose_files import read_videos
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.module import ResumableData, check_sources
from vjepa.data.storage import StorageConfig, is_address
from vjepa.errors import require


@dataclass(frozen=True)
class Source:
    """One manifest of a mixture."""

    manifest: str
    """Folder of videos, `path label` file, CSV or TSV with a header, Parquet; or the address of one."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


@dataclass(frozen=True)
class ImageSources:
    """Single images beside the clips of a batch: image files, or random frames of videos."""

    train: tuple[Source, ...]
    """Manifests to draw them from; a folder that holds images only is one too."""
    size: int | None = None
    """Height and width, pixels; null for those of the clips. All other settings are those of the clips."""
    per_clip: int = 3
    """Images for each clip of a batch."""

    def __post_init__(self) -> None:
        check_sources(self.train, "one manifest", "data.images.train")
        counts = f"size={self.size} and per_clip={self.per_clip}"
        positive = min(self.per_clip, 1 if self.size is None else self.size) > 0
        require(positive, f"data.images: {counts} must both be positive")

    def frame(self, clip: ClipConfig) -> ClipConfig:
        """What one image is, beside such clips."""
        return replace(clip, frames=1, size=self.size or clip.size)


def read_images(source: str, storage: StorageConfig) -> Manifest:
    """The manifest of images, which may be a folder that holds images only."""
    return (
        read_manifest(source, storage=storage) if is_address(source) else read_videos(Path(source), storage)
    )


class ClipData(ResumableData):
    """Unlabelled or labelled video for training, and optionally for validation."""

    collate = staticmethod(collate_clips)

    def __init__(
        self,
        train: list[Source],
        val: str | None = None,
        clip: ClipConfig = ClipConfig(),
        batch_size: int = 24,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
        timeout: float = 300.0,
        storage: StorageConfig = StorageConfig(),
        images: ImageSources | None = None,
    ) -> None:
        """
        Args:
            train: Manifests to draw training clips from.
            val: Manifest of validation clips, each seen once, from its middle moment.
            clip: What one clip is.
            batch_size: Clips per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order of files, the moments and the crops.
            timeout: Seconds that a batch, or a single file, may take before the run ends with its name.
            storage: How files at addresses, such as s3://bucket/a.mp4, are read.
            images: Single images that join the clips of each batch.
        """
        super().__init__(batch_size, workers, max_bad_share, seed, timeout)
        check_sources(train, "one manifest")
        self.sources = train
        self.val = val
        self.clip = clip
        self.storage = storage
        self.images = images

    @cached_property
    def train_manifests(self) -> list[Manifest]:
        return [read_manifest(source.manifest, storage=self.storage) for source in self.sources]

    @cached_property
    def image_manifests(self) -> list[Manifest]:
        sources = self.images.train if self.images else ()
        return [read_images(source.manifest, self.storage) for source in sources]

    # None or "" means no validation.
    @cached_property
    def val_manifest(self) -> Manifest | None:
        return self.val and read_manifest(self.val, storage=self.storage)

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a malformed manifest stops the run before it starts."""
        # The properties are cached, so that the loaders read nothing again.
        if stage == "fit":
            _ = self.train_manifests, self.image_manifests
        if stage in ("fit", "validate"):
            _ = self.val_manifest

    def trained_on(self) -> dict:
        clip = {"frames": self.clip.frames, "fps": self.clip.fps, "size": self.clip.size}
        manifests = [*self.train_manifests, *self.image_manifests]
        return {"clip": clip, "data": joint_digest(map(rows_digest, manifests))}

    def data_digests(self) -> dict[str, DataDigest]:
        digests = {f"train.{i}": manifest_digest(each) for i, each in enumerate(self.train_manifests)}
        digests |= {f"images.train.{i}": manifest_digest(each) for i, each in enumerate(self.image_manifests)}
        return digests | ({"val": manifest_digest(self.val_manifest)} if self.val_manifest else {})

    def training_samples(self) -> TrainingClips | WithImages:
        weights = [source.weight for source in self.sources]
        clips = TrainingClips(self.train_manifests, weights, self.clip, self.seed)
        if self.images is None:
            return clips
        weights = [source.weight for source in self.images.train]
        frame = self.images.frame(self.clip)
        images = TrainingClips(self.image_manifests, weights, frame, self.seed)
        return WithImages(clips, images, self.images.per_clip)

    def validation_samples(self) -> EvaluationClips | None:
        manifest = self.val_manifest
        return None if manifest is None else EvaluationClips(manifest, self.clip)
