"""From files to batches: manifests, decoding by timestamp, clips, data modules, the demo world."""

from vjepa.data.decode import DecodeError, decode_frames, open_video

__all__ = ["DecodeError", "decode_frames", "open_video"]
