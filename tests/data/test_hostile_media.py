"""Files that end the process, or that make FFmpeg open other files: frames, or one sentence, and at once."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.videos import even_times, stamp, write_video
from vjepa.data.decode import decode_frames, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.storage import StorageConfig
from vjepa.data.stored import Stored

SHOWS = """
import gc, sys
from vjepa.data.decode import decode_frames
print(decode_frames(sys.argv[1], [0.0]).shape)
gc.collect()
"""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "1"])
def test_a_png_with_a_colour_profile_does_not_end_the_process(tmp_path, mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.png"
    image = Image.fromarray(stamp(5)) if mode != "I;16" else Image.new(mode, (96, 64))
    image.convert(mode).save(path, icc_profile=profile)
    told = subprocess.run([sys.executable, "-c", SHOWS, path], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "(1, 64, 96, 3)\n"), told.stderr


def test_a_png_that_exif_turns_comes_upright(tmp_path):
    upright = stamp(5, 64, 96)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees, clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode_frames(tmp_path / "a.png", [0.0])[0], upright)


TEXTS = {
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "hls of a file": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:{folder}/b.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.mp4'\n",
    "concat of a file": "ffconcat version 1.0\nfile b.ts\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="9"><BaseURL>'
    "http://127.0.0.1:{port}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


def write_text(case: str, folder: Path) -> Path:
    write_video(folder / "b.ts", even_times(5))
    path = folder / "a.mp4"
    path.write_text(TEXTS[case].format(port=45_321, folder=folder))
    return path


@pytest.mark.parametrize("way", ["path", "member of a shard"])
@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_names_other_files_is_refused_at_once(tmp_path, case, way):
    path = write_text(case, tmp_path)
    # A member of a shard is read as a file of bytes.
    media = (
        path if way == "path" else Stored(str(path), "a.mp4", 0, path.stat().st_size, config=StorageConfig())
    )
    begin = time.monotonic()
    with pytest.raises(DecodeError, match=r"a text, no video|a web page"):
        open_video(media)
    assert time.monotonic() - begin < 2


SOCKETS = """
import os, sys
from threading import Event, Thread
from vjepa.data.decode import open_video
from vjepa.errors import UserError
seen, done = set(), Event()
def watch():
    while not done.wait(0.002):
        for number in os.listdir("/proc/self/fd"):
            try:
                seen.add(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
            except OSError:
                pass
watcher = Thread(target=watch)
watcher.start()
try:
    open_video(sys.argv[1])
except UserError:
    print("refused", "socket" in seen)
done.set()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks at the open files of a process")
def test_no_socket_is_opened(tmp_path):
    path = write_text("sdp", tmp_path)
    told = subprocess.run([sys.executable, "-c", SOCKETS, path], capture_output=True, text=True)
    assert told.stdout == "refused False\n", told.stderr
