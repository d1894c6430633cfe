"""Tokens of a frozen encoder, kept on disk: frames are encoded once, however often they are trained on.

    key = latent_key(encoder.state_dict(), data.fingerprint, asdict(config), device)
    cache = LatentCache("data/latents", key, limit_bytes=20 * 2**30)
    make = lambda: encode_in_fixed_batches(frames(), encode, batch=8)
    tokens = cache.load(f"{episode:06d}.{camera}", make, rows)

There is one safetensors file per name, in a folder per key. A file is written under another name and then
renamed, so that no file is ever incomplete. What comes from the cache is bit for bit what `make` returned.
`encode_in_fixed_batches` returns the same bits for the same frames of an episode in whatever order episodes
are encoded, because it always makes the same batches.
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from einops import repeat
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vjepa.errors import UserError

HOUR = 3600
"""Seconds after which an unfinished file counts as interrupted."""


def latent_key(
    weights: Mapping[str, Tensor], data: str, transform: Mapping, device: torch.device | str
) -> str:
    """SHA-256 of all that decides a token's bits.

    That is the encoder's weights, the data's fingerprint, `transform` (how frames are cropped, scaled and put
    into batches, in anything that JSON can say), the kind of device, the precision that autocast sets now,
    and torch's version."""
    kind = torch.device(device).type
    precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "as the weights"
    settings = {
        "data": data,
        "transform": transform,
        "device": kind,
        "precision": precision,
        "torch": torch.__version__,
    }
    # Sorted, as the weights are: the order of a dict must not change the key.
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        # As bytes, because NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def encode_in_fixed_batches(
    frames: UInt8[Tensor, "t c h w"],
    encode: Callable[[UInt8[Tensor, "batch c h w"]], Float[Tensor, "batch n d"]],
    batch: int,
) -> Float[Tensor, "t n d"]:
    """Tokens of all frames of an episode, on the CPU.

    Frame k is always in place k % batch of batch k // batch; the last batch is filled up with copies of its
    last frame. Matrix products may round differently for another batch size or another place in the batch, so
    this gives the same bits every time. They may differ in the last bits from those of a batch of windows.
    With `batch` 1 each frame is alone, and its place in the episode does not matter either.
    """
    tokens = []
    for part in frames.split(batch):
        missing = batch - len(part)
        full = torch.cat([part, repeat(part[-1], "c h w -> m c h w", m=missing)]) if missing else part
        tokens.append(encode(full)[: len(part)].cpu())
    return torch.cat(tokens)


class LatentCache:
    """Tensors on disk by name, for one key, in a folder of bounded size.

    A tensor that would make the folder (all keys together) larger than `limit_bytes` is not kept, and is made
    again every time. Nothing is ever evicted: epochs load everything in turn, and evicting would throw each
    tensor away just before it is needed again. Delete folders of old keys to make room.

    hits    tensors that were read from disk by this process
    misses  tensors that it had to make

    Args:
        folder: Where the keys' folders are; created if it does not exist.
        key: What the tensors depend on, from `latent_key`.
        limit_bytes: Most that all files below `folder` may take.
        dtype: What is kept. With float16, files are half as large and tensors are rounded, the first
            time too, so that every epoch sees the same.

    Raises UserError if `folder` cannot be a folder.
    """

    def __init__(
        self, folder: str | Path, key: str, limit_bytes: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.root = Path(folder)
        self.limit = limit_bytes
        self.dtype = dtype
        suffix = "" if dtype == torch.float32 else f"-{str(dtype).removeprefix('torch.')}"
        self.folder = self.root / (key + suffix)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"latents.folder={folder} cannot be a folder: {error.strerror}; name another one"
            ) from error

        self.hits = 0
        self.misses = 0
        self._warned = False
        # The folder's size when it was last looked through, and what this process has written since.
        self._size = self.bytes
        self._written = 0
        self._remove_unfinished()

    def load(
        self, name: str, make: Callable[[], Float[Tensor, "t n d"]], rows: Sequence[int] | None = None
    ) -> Tensor:
        """The tensor of that name, or some of its rows, as float32: read from disk, or made and then kept.

        Of a large file only the rows from the smallest to the greatest of `rows` are read. A damaged file is
        made again.
        """
        file = self.folder / f"{name}.safetensors"
        try:
            tensor = read_rows(file, rows)
        except (FileNotFoundError, SafetensorError, IndexError):
            # Rounded before its first use, so that every epoch sees the same numbers.
            tensor = make().cpu().contiguous().to(self.dtype)
            self.misses += 1
            # All rows are kept, because other windows of the episode want the others.
            self._keep(file, tensor)
            tensor = tensor if rows is None else tensor[list(rows)]
        else:
            self.hits += 1
        return tensor.float()

    @property
    def bytes(self) -> int:
        """What all keys take on disk now, unfinished files of other processes included."""
        return sum(status.st_size for _, status in self._files())

    def _keep(self, file: Path, tensor: Tensor) -> None:
        """Write a tensor completely or not at all. Two processes that do so at once write the same bytes."""
        if not self._has_room(tensor.nbytes):
            return
        # The dot marks an unfinished file, and the process id keeps two writers of one name apart.
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            save_file({"tokens": tensor}, temporary)
            # Others may have written meanwhile, and all see each other's unfinished files.
            if self._has_room(0):
                os.replace(temporary, file)
                self._written += tensor.nbytes
        finally:
            temporary.unlink(missing_ok=True)

    def _has_room(self, more: int) -> bool:
        """Whether so many bytes more are allowed. Warns the first time when they are not."""
        # A folder of many files is slow to look through. So this happens only once this process has written a
        # sixteenth of the room that it saw there last.
        if self._written + more > (self.limit - self._size) / 16:
            self._size = self.bytes
            self._written = 0
        has_room = self._size + self._written + more <= self.limit
        if not has_room and not self._warned:
            self._warned = True
            message = f"{self.root}: {self.limit} bytes are full; other clips are encoded every time"
            warnings.warn(message, stacklevel=4)  # shown at the caller of `load`
        return has_room

    def _remove_unfinished(self) -> None:
        """Remove what a killed process has left; a young file may still be being written."""
        for path, status in list(self._files()):
            if path.name.startswith(".") and time.time() - status.st_mtime > HOUR:
                path.unlink(missing_ok=True)

    def _files(self) -> Iterable[tuple[Path, os.stat_result]]:
        """The files of all keys."""
        for folder in filter(Path.is_dir, self.root.iterdir()):
            for entry in os.scandir(folder):
                try:
                    status = entry.stat()
                except FileNotFoundError:  # renamed by another process just now
                    continue
                yield Path(entry.path), status


def read_rows(file: Path, rows: Sequence[int] | None) -> Tensor:
    """The tensor of a file, or some of its rows.

    Raises FileNotFoundError, SafetensorError for a damaged file, or IndexError for one with too few rows."""
    with safe_open(file, framework="pt") as tensors:
        if rows is None:
            return tensors.get_tensor("tokens")
        # A slice of the file is one range of rows; the wanted ones are picked from it in memory.
        first = min(rows)
        part = tensors.get_slice("tokens")[first : max(rows) + 1]
        return part[[row - first for row in rows]]
