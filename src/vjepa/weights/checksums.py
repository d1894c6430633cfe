"""The numbers in torch's files, compared with the checksums beside them, which torch writes but never reads.

    check_numbers(path, state)

Only the given tensors are read, and not an optimiser's state in the same file. Safetensors files and those
of old versions of torch hold no checksums.
"""

import zipfile
from pathlib import Path
from zlib import crc32

import torch
from torch import UntypedStorage

from vjepa.weights.files import CheckpointError, State

UNKNOWN = {0}
"""The checksums in a file that was written with `torch.serialization.set_crc32_options(False)`."""


def check_numbers(path: Path, state: State) -> None:
    """Raise CheckpointError if a tensor that was read from a file is not as it was written.

    On torch's `meta` device, where networks have no numbers, none is read.
    """
    if torch.get_default_device().type == "meta" or not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        written = {member.CRC for member in archive.infolist()}
    storages = {key: value.untyped_storage() for key, value in state.items()}
    # Many tensors may be views of one storage, which is read once.
    once = {storage.data_ptr(): storage for storage in storages.values()}
    sums = {place: crc32(bytes_of(storage)) for place, storage in once.items()}
    damaged = [key for key, storage in storages.items() if sums[storage.data_ptr()] not in written]
    if damaged and written != UNKNOWN:
        raise CheckpointError(
            f"{path} is damaged: {len(damaged)} of {len(state)} tensors do not agree with their checksums, "
            f"first {damaged[0]}; copy or download it again"
        )


def bytes_of(storage: UntypedStorage) -> memoryview:
    """The bytes of a storage, as they are in its file."""
    return memoryview(torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy())
