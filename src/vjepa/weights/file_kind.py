"""What kind of file it is, by its first bytes, since an ending says little: `.pt`, `.pth.tar`, `.ckpt`, none.

check_kind(Path("vitl.pt"))     # "torch"; for a web page, a Git LFS pointer or a text one sentence
"""

import os
import zipfile
from pathlib import Path
from typing import Literal

from vjepa.errors import not_downloaded
from vjepa.weights.files import CheckpointError

FileKind = Literal["torch", "safetensors"]

HEAD = 512
"""Bytes that are looked at."""
MOST_HEADER = 1 << 25
"""Bytes of a safetensors header. A network of 2,000 tensors takes 0.3 million of them."""
AGAIN = "copy or download it again"
OTHER = "expected a file of torch or safetensors"
BEGINNINGS = {
    b"\x1f\x8b": ("is compressed (gzip)", "unpack it first"),
    b"\xfd7zXZ": ("is compressed (xz)", "unpack it first"),
    b"(\xb5/\xfd": ("is compressed (zstd)", "unpack it first"),
    b"BZh": ("is compressed (bzip2)", "unpack it first"),
    b"7z\xbc\xaf": ("is a 7z archive", "unpack it first"),
    b"Rar!": ("is a RAR archive", "unpack it first"),
    b"\x89HDF": ("is an HDF5 file, as Keras writes", OTHER),
    b"GGUF": ("is a GGUF file, a quantised model", OTHER),
    b"\x93NUMPY": ("is a NumPy array", OTHER),
    b"\x89PNG": ("is an image", OTHER),
    b"\xff\xd8\xff": ("is an image", OTHER),
    bytes(64): ("begins with zeros: its download is not finished", AGAIN),
    # The first fields of an ONNX model: its version, then who wrote it.
    **{bytes((8, n, 18)): ("is an ONNX model", "give the weights that it was made from") for n in range(16)},
}
"""First bytes -> what such a file is, and what to do."""
PLACES = {
    257: (b"ustar", "is a tar archive", "unpack it and give the file in it"),
    4: (b"ftyp", "is a video", OTHER),
}
"""The same for bytes at another place."""


def check_kind(path: Path) -> FileKind:
    """Whether torch or safetensors reads the file. Raises CheckpointError that says what it is instead."""
    # Opening a pipe would wait for ever.
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is a folder, a device or a pipe, and no file; {AGAIN}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give another file") from error
    if head.startswith(b"PK"):
        check_archive(path)
        return "torch"
    # The length of a header of JSON, and its first brace.
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < 1 << 32:
        if length > MOST_HEADER:
            raise CheckpointError(f"{path} has a header of {length:,} bytes, more than any network; {AGAIN}")
        return "safetensors"
    if left := not_downloaded(head):
        raise CheckpointError(f"{path} is {left}")
    found = other_kind(head)
    if found:
        raise CheckpointError(f"{path} {found[0]}; {found[1]}")
    if head[:1] != b"\x80":  # every pickle begins so, and files of old versions of torch are pickles
        raise CheckpointError(f"{path} holds no weights that are known here; {OTHER}")
    return "torch"


def other_kind(head: bytes) -> tuple[str, str] | None:
    """What a file that is no weights is by its first bytes, and what to do; None if that is not known."""
    if not head:
        return "is empty", AGAIN
    for beginning, found in BEGINNINGS.items():
        if head.startswith(beginning):
            return found
    for place, (mark, *found) in PLACES.items():
        if head[place : place + len(mark)] == mark:
            return tuple(found)
    if is_text(head):
        what = "a text (JSON)" if head.lstrip()[:1] in (b"{", b"[") else "a text"
        return f"is {what} and no weights", "give the file of tensors, or the folder that holds it"
    return None


def is_text(head: bytes) -> bool:
    """Whether these bytes are printable UTF-8; a letter may be cut off at their end."""
    text = head.decode("utf-8", errors="ignore")
    lost = len(head) - len(text.encode())
    return lost < 4 and all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)


def check_archive(path: Path) -> None:
    """Raise CheckpointError unless a zip file is whole and torch's."""
    if not zipfile.is_zipfile(path):  # the list of its members is at its end
        raise CheckpointError(f"{path} is cut off: the end of its archive is missing; {AGAIN}")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = {name.rpartition("/")[2] for name in names}
    if inside & {"constants.pkl", "archive_format"}:
        raise CheckpointError(
            f"{path} is a program of TorchScript or torch.export; give the weights that it was made from"
        )
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path} is an archive of NumPy arrays (.npz); {OTHER}")
    if "data.pkl" not in inside:
        first = names[0] if names else "nothing"
        raise CheckpointError(f"{path} is a zip archive (of {first[:80]}) and not torch's; unpack it first")
    with zipfile.ZipFile(path) as archive:
        check_members(path, archive)
        check_structure(path, archive)


def check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise CheckpointError for members that claim to be larger than their file, as packed ones can be."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path} is compressed, which torch's files are not; unpack it first")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: it claims to hold more bytes than it has; {AGAIN}")


def check_structure(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise CheckpointError if the part of a file that says where its tensors are has been damaged."""
    described = [
        member for member in archive.infolist() if member.filename.endswith("data.pkl") and member.CRC
    ]
    try:
        for member in described:
            archive.read(member)  # compares it with its checksum
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path} is damaged ({error}); {AGAIN}") from error
