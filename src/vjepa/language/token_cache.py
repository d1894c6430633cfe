"""A cache of the encoder's tokens: each video or image is encoded once, and its tokens are read from disk."""

from dataclasses import asdict

import lightning as L
from einops import rearrange
from tqdm import tqdm

from vjepa.data.latents import LatentCache, latent_key
from vjepa.data.loader import Loader, loader_settings
from vjepa.language.caption_data import CaptionData
from vjepa.language.media import MediaFrames, cached_tokens
from vjepa.language.video_chat import VideoChat


def fill_cache(folder: str, limit_bytes: int, video_chat: VideoChat, trainer: L.Trainer) -> LatentCache:
    """Encode the media of a run that the cache does not hold, each process its share, and return the cache.

    limit_bytes: most that the folder may take. Media that cannot be decoded are left to the loader, which
    counts them.
    """
    data: CaptionData = trainer.datamodule
    key = latent_key(video_chat.encoder.state_dict(), "captions", asdict(data.clip), video_chat.device)
    cache = LatentCache(folder, key, limit_bytes)
    # Shared out before it is known what is missing: by then, other processes may have written files. Files
    # are whole or absent, so all can write into one folder.
    own = data.all_media()[trainer.global_rank :: trainer.world_size]
    # One row is enough to see that a file is there and whole.
    share = [media for media in own if cached_tokens(cache, media, rows=[0]) is None]

    settings = loader_settings(data.workers, data.timeout)
    frames = Loader(MediaFrames(share, data.clip), batch_size=None, **settings)
    for name, clip in tqdm(frames, desc="encoding", disable=not share or None):
        if name:
            [video] = video_chat.encode_clips([clip])
            tokens = rearrange(video.tokens, "(T n) d -> T n d", T=video.grid[0])
            cache.load(name, lambda tokens=tokens: tokens)
    trainer.strategy.barrier()  # until the other processes have encoded their shares
    return cache
