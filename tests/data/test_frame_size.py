"""Frames that no memory takes: a file that claims or holds one is refused, in a sentence with their size."""

import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.videos import even_times, stamp, write_video
from vjepa.data import container, frame_size
from vjepa.data.decode import decode_frames, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.stored import Stored


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: Path, width: int, height: int, rows: int, depth: int = 1, colour: int = 0) -> Path:
    """A PNG, by default of one bit a pixel, that holds so many rows of those that it claims."""
    packer = zlib.compressobj(9)
    row = bytes(width * depth * {0: 1, 2: 3, 6: 4}[colour] // 8 + 1)
    body = b"".join([*(packer.compress(row) for _ in range(rows)), packer.flush()])
    start = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def write_jpeg(path: Path, width: int, height: int) -> Path:
    Image.new("RGB", (64, 64)).save(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    path.write_bytes(data)
    return path


def write_gif(path: Path, width: int, height: int) -> Path:
    size = struct.pack("<HH", width, height)
    path.write_bytes(
        b"GIF89a" + size + b"\x80\0\0" + bytes(3) + b"\xff\xff\xff,\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"
    )
    return path


@pytest.mark.parametrize("side", [16_000, 30_000, 65_500])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_an_image_that_claims_too_much_is_refused(tmp_path, kind, side):
    path = tmp_path / f"a.{kind}"
    writers = {"png": lambda: write_png(path, side, side, 10), "jpg": lambda: write_jpeg(path, side, side)}
    writers.get(kind, lambda: write_gif(path, side, side))()
    tracemalloc.start()
    with pytest.raises(
        DecodeError, match=rf"a\.{kind}: frames of {side * side:,} pixels, more than the 134,"
    ):
        decode_frames(path, [0.0])
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_an_image_that_holds_what_it_claims_is_refused_too(tmp_path):
    path = write_png(tmp_path / "a.png", 20_000, 20_000, 20_000)
    assert path.stat().st_size < 10**5
    with pytest.raises(DecodeError, match="frames of 400,000,000 pixels"):
        open_video(path)


def test_the_frames_of_8k_video_and_of_a_panorama_are_decoded():
    assert 7680 * 4320 < 12_000 * 9_000 < 16_000 * 8_000 < frame_size.MOST_PIXELS < 16_384**2


@pytest.mark.parametrize(
    "suffix, codec", [("mp4", "libx264"), ("mp4", "mjpeg"), ("mkv", "libx264"), ("mkv", "ffv1")]
)
def test_a_video_that_is_too_large_is_refused_with_its_size(tmp_path, monkeypatch, suffix, codec):
    path = tmp_path / f"a.{suffix}"
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    write_video(path, even_times(5), codec=codec, pix_fmt=form, pictures=[stamp(0, 640, 480)] * 5)
    assert decode_frames(path, [0.1]).shape == (1, 480, 640, 3)
    # The limit is lowered, because to encode a frame of 134 million pixels takes seconds.
    monkeypatch.setattr(frame_size, "MOST_PIXELS", 10_000)
    limit = {"max_pixels": "10000"}
    monkeypatch.setattr(frame_size, "LIMIT", limit)
    monkeypatch.setattr(container, "LIMIT", limit)
    with pytest.raises(DecodeError, match=r"frames of 307,200 pixels, more than the 10,000"):
        decode_frames(path, [0.1])


GROWTH = """
import resource, sys
from vjepa.data.decode import open_video
from vjepa.errors import UserError
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = most()
try:
    open_video(sys.argv[1])
except UserError as error:
    print(error)
print((most() - before) // 2**10)
"""


def megabytes(path: Path) -> tuple[int, str]:
    """By how much the memory of a process grows at most that opens a file, and what it says."""
    told = subprocess.run([sys.executable, "-c", GROWTH, path], capture_output=True, text=True, check=True)
    *words, grown = told.stdout.splitlines()
    return int(grown), " ".join(words)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_whose_pixels_have_many_bytes_is_refused_before_it_is_decoded(tmp_path, name):
    path = write_png(tmp_path / name, 11_000, 11_000, 1000, depth=16, colour=6)
    grown, words = megabytes(path)
    assert f"{name}: frames of 121,000,000 pixels of 8 bytes, more than the 402,653,184 bytes" in words
    assert grown < 100


def test_an_animation_of_large_frames_is_refused(tmp_path):
    _, words = megabytes(write_gif(tmp_path / "a.gif", 11_500, 11_500))
    assert "a.gif: frames of 132,250,000 pixels of 4 bytes, more than the 402,653,184 bytes" in words


def test_photographs_of_100_megapixels_are_decoded(tmp_path):
    with open_video(write_png(tmp_path / "a.png", 10_000, 10_000, 10_000, depth=8, colour=2)) as video:
        assert (video.width, video.height) == (10_000, 10_000)
    # With transparency too; 8K with four channels of 16 bits; 16K with 10 bits.
    for pixels, bits in ((100_000_000, 32), (7680 * 4320, 64), (15_360 * 8640, 24)):
        assert frame_size.too_heavy(pixels, bits) is None


def test_a_member_of_a_shard_is_looked_at_too(tmp_path):
    path = write_png(tmp_path / "a.png", 11_000, 11_000, 10, depth=16, colour=2)
    small = write_png(tmp_path / "b.png", 64, 64, 64, depth=16, colour=2)
    with pytest.raises(DecodeError, match="pixels of 6 bytes"):
        open_video(Stored(str(path), "a.png", 0, path.stat().st_size))
    with open_video(Stored(str(small), "b.png", 0, small.stat().st_size)) as video:
        assert video.frames([0.0]).shape == (1, 64, 64, 3)
