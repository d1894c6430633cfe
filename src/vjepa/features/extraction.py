"""Features of videos and images from a frozen encoder, written to a folder of Parquet files.

    vjepa features --encoder vitl16.pt --videos videos.csv --out features

The folder is read with `vjepa.features.files.read_features`. A run that was interrupted is continued by the
same command, and several processes can fill one folder (`--part`, `--parts`). Features of single clips in
Python: `vjepa.features.clip_features`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from vjepa.data.clips import Sample
from vjepa.data.loader import Loader, loader_settings
from vjepa.data.loose_files import read_videos
from vjepa.data.manifest import Manifest
from vjepa.data.windows import Window, WindowClips, windows_of
from vjepa.errors import counted, require
from vjepa.features.clip_features import clip_features
from vjepa.features.config import FeatureConfig
from vjepa.features.files import FORMAT, NOTE, Shard, is_empty, read_note, write_note, write_shard
from vjepa.models.device import find_device
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentivePool
from vjepa.weights.card import read_card
from vjepa.weights.export import part_description
from vjepa.weights.facts import ClipFacts
from vjepa.weights.files import check_same_encoder
from vjepa.weights.load import load_encoder, load_probe
from vjepa.weights.source import is_export


def extract(config: FeatureConfig) -> Path:
    """Write the features of every clip to the folder `out`, and return the folder.

    Files that the folder has already are kept. Raises UserError if the folder holds other features, or gets
    them from another process meanwhile, or if no clip can be decoded.
    """
    manifest = read_videos(config.videos)
    extractor = load_extractor(config)  # refuses bad settings before the folder is touched
    identity = config.identity(manifest)
    check_same_features(config.out, identity)

    windows, bad = windows_of(manifest, config.clip, config.overlap)
    shards = shards_of(windows, config.shard)
    # Before any shard, so that an interrupted folder says what it holds and how many files it lacks.
    shown = {"card": read_card(config.encoder).name, "sources": config.sources}
    write_note(config.out, identity | {"format": FORMAT, "shards": len(shards)} | shown)
    if config.part == 0:  # all processes find the same bad files
        report_bad(config.out, bad)

    # Every parts-th shard, so that all processes are busy until the end.
    own = shards[config.part :: config.parts]
    write_missing(extractor, manifest, own, identity)
    if own or not shards:  # a process without a shard does not know whether there are features
        reasons = config.out / "bad_files.txt"
        nothing = all(is_empty(shard.file(config.out)) for shard in own)
        require(not nothing, f"no clip of {config.videos} could be decoded; {reasons} says why")
    clip = config.clip
    facts = ClipFacts(clip.frames, clip.fps, clip.size)
    print(f"features: {config.out} ({facts}; weights: {read_card(config.encoder).name})")
    return config.out


def shards_of(windows: Sequence[Window], size: int) -> list[Shard]:
    """The windows in shards: the same for every process and run, so that others can continue a run."""
    firsts = range(0, len(windows), size)
    return [Shard(number, windows[first : first + size]) for number, first in enumerate(firsts)]


@dataclass(frozen=True)
class Extractor:
    """The networks on their device, with the settings that say what is computed."""

    config: FeatureConfig
    encoder: Encoder
    pooler: AttentivePool | None

    def __call__(self, clips: UInt8[Tensor, "b t c h w"]) -> list[np.ndarray]:
        """The features of each clip, of the type that files hold."""
        config = self.config
        features = clip_features(self.encoder, clips, config.pool, config.layers, self.pooler)
        return list(features.cpu().numpy().astype(config.dtype))


def load_extractor(config: FeatureConfig) -> Extractor:
    """Load the networks to their device.

    Raises UserError if the settings do not fit the encoder or the probe, or if there is no such device.
    """
    device = find_device(config.device)
    encoder = load_encoder(config.encoder, config.weights).to(device).eval()
    # Sizes that tubelets do not divide are refused before anything is decoded.
    clip = config.clip
    encoder.grid_of_size(clip.frames, clip.size, clip.size)
    pooler = None
    if config.probe:
        pooler = load_pooler(config.probe, encoder, config.encoder).to(device).eval()
    return Extractor(config, encoder, pooler)


def load_pooler(probe: Path, encoder: Encoder, source: Path) -> AttentivePool:
    """A probe's attentive pooling. Raises UserError if it has none, or reads tokens of another width."""
    pooler = load_probe(probe).pool
    attentive = isinstance(pooler, AttentivePool)
    require(attentive, f"{probe} is a linear probe, without attention; use --pool mean")
    expected = pooler.query.shape[-1]
    width = encoder.config.width
    require(width == expected, f"{probe} reads tokens of width {expected}, not the {width} of {source}")
    check_same_encoder(encoder, probe_encoder_digest(probe), str(probe))
    return pooler


def probe_encoder_digest(probe: Path) -> str | None:
    """The digest of the encoder that a probe was trained on; None for files that do not say."""
    if not is_export(probe):
        return None
    return part_description(probe, "probe").get("schema", {}).get("encoder_digest")


def write_missing(extractor: Extractor, manifest: Manifest, shards: Sequence[Shard], identity: dict) -> None:
    """Compute and write the shards that the folder does not have yet.

    Raises UserError if the note does not say `identity`, since a process that began meanwhile has changed it.
    """
    out = extractor.config.out
    # A file that exists is complete, because files are moved into place.
    missing = [shard for shard in shards if not shard.file(out).exists()]
    windows = [window for shard in missing for window in shard.windows]
    # A batch for each part of a shard, so that a shard's features do not depend on which others are missing.
    shares = [batches_of(len(shard.windows), extractor.config.batch_size) for shard in missing]
    batches = read_batches(extractor.config, manifest, windows, shares)
    with tqdm(total=len(windows), unit="clip", disable=not missing) as progress:
        first = 0
        for shard, share in zip(missing, shares, strict=True):
            features = list(shard_features(extractor, islice(batches, len(share)), first, progress))
            check_same_note(out, identity)
            bad = write_shard(out, shard, manifest, features)
            report_bad(out, bad)
            first += len(shard.windows)


def batches_of(windows: int, size: int) -> list[range]:
    """The places of a shard's windows, in batches."""
    return [range(first, min(first + size, windows)) for first in range(0, windows, size)]


def read_batches(
    config: FeatureConfig, manifest: Manifest, windows: Sequence[Window], shares: Sequence[list[range]]
) -> Iterator[list[Sample]]:
    """The clips of all shards, batch by batch, from one loader: a video of several shards is decoded once."""
    firsts = accumulate((share[-1].stop for share in shares), initial=0)
    order = [
        range(first + batch.start, first + batch.stop)
        for first, share in zip(firsts, shares, strict=False)
        for batch in share
    ]
    clips = WindowClips(manifest, windows, config.clip)
    # Collated into a list, because samples that could not be decoded have no clip to stack.
    settings = loader_settings(config.workers, config.timeout)
    return iter(Loader(clips, batch_sampler=order, collate_fn=list, **settings))


def shard_features(
    extractor: Extractor, batches: Iterable[list[Sample]], first: int, progress: tqdm
) -> Iterator[tuple[int, np.ndarray | str]]:
    """For every window its place in the shard, and its features or the reason why there are none."""
    for samples in batches:
        good = [sample for sample in samples if sample.clip is not None]
        yield from ((sample.index - first, sample.bad[0]) for sample in samples if sample.clip is None)
        if good:
            features = extractor(torch.stack([sample.clip for sample in good]))
            yield from zip((sample.index - first for sample in good), features, strict=True)
        progress.update(len(samples))


def check_same_features(out: Path, identity: dict) -> None:
    """Raise UserError if the folder holds other features, or a format that is no longer written."""
    # A run that failed before its first file leaves a note that binds nobody.
    if not (out / NOTE).exists() or not any(out.glob("[0-9]*.*")):
        return
    check_same_note(out, identity)
    old = read_note(out)["format"]
    sentence = f"{out} holds {old} files, which are read but no longer written; choose another --out"
    require(old == FORMAT, sentence)


def check_same_note(out: Path, identity: dict) -> None:
    """Raise UserError if the note of the folder says that other features are written there."""
    known = read_note(out)
    changed = [f"{key}: {known.get(key)} -> {new}" for key, new in identity.items() if known.get(key) != new]
    require(not changed, f"{out} holds other features ({'; '.join(changed[:3])}); choose another --out")


def report_bad(out: Path, bad: list[str]) -> None:
    """Add reasons to bad_files.txt, each only once, however many windows, processes and runs meet it."""
    file = out / "bad_files.txt"
    known = set(file.read_text().splitlines()) if file.exists() else set()
    new = [reason for reason in dict.fromkeys(bad) if reason not in known]
    if not new:
        return
    with file.open("a") as lines:
        lines.writelines(reason + "\n" for reason in new)
    print(f"{counted(len(new), 'clip')} could not be decoded and got no features; see {file}")
