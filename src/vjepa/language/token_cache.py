"""A cache of the encoder's tokens: each video or image is encoded once, and its tokens are read from disk."""

from dataclasses import asdict

from einops import rearrange
from torch.utils.data import DataLoader
from tqdm import tqdm

from vjepa.data.latents import LatentCache, latent_key
from vjepa.language.caption_data import CaptionData
from vjepa.language.media import MediaFrames, cached_tokens
from vjepa.language.video_chat import VideoChat


def fill_cache(
    folder: str, limit_bytes: int, video_chat: VideoChat, data: CaptionData, rank: int, world: int
) -> LatentCache:
    """Encode this process's share of the media that the cache does not hold, and return the cache.

    limit_bytes: most that the folder may take. Media that cannot be decoded are left to the loader, which
    counts them.
    """
    key = latent_key(video_chat.encoder.state_dict(), "captions", asdict(data.clip), video_chat.device)
    cache = LatentCache(folder, key, limit_bytes)
    # One row is enough to see that a file is there and whole.
    missing = [media for media in data.all_media() if cached_tokens(cache, media, rows=[0]) is None]
    # Files are whole or absent, so processes can write into one folder.
    share = missing[rank::world]

    frames = DataLoader(MediaFrames(share, data.clip), batch_size=None, num_workers=data.workers)
    for name, clip in tqdm(frames, desc="encoding", disable=not share or None):
        if name:
            [video] = video_chat.encode_clips([clip])
            tokens = rearrange(video.tokens, "(T n) d -> T n d", T=video.grid[0])
            cache.load(name, lambda tokens=tokens: tokens)
    return cache
