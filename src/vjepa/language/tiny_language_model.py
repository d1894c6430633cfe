"""A language model small enough to train in a minute: a tokenizer and a few layers.

    vjepa weights tiny-language-model --texts data/demo/train.jsonl --out runs/demo/language

It reads the conversations without their clips, so it learns their words and nothing that only a clip shows.
The result is a folder like that of any other language model of transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import trange

from vjepa.drawing.folder_lock import owned
from vjepa.drawing.outputs import check_folder
from vjepa.errors import check_positive, check_seed
from vjepa.language.chat import Chat
from vjepa.language.conversation_files import Captions, read_captions
from vjepa.language.language_model import new_language, new_tokenizer, save_language
from vjepa.language.model import IGNORE, pad


@dataclass(frozen=True)
class TinyLanguageConfig:
    """Size and training of a tiny language model."""

    width: int = 96
    """Width of its tokens."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads per block."""
    vocabulary: int = 512
    """Most tokens that the tokenizer learns; 256 of them are bytes."""
    steps: int = 150
    """Steps of AdamW."""
    batch: int = 32
    """Conversations per step."""
    lr: float = 3e-3
    """Peak learning rate; it falls to zero along a cosine."""
    context: int = 512
    """Most tokens of a conversation."""
    seed: int = 0
    """Decides the weights and the order."""


def train_tiny_language(
    files: Sequence[Captions], config: TinyLanguageConfig
) -> tuple[nn.Module, Any, float]:
    """(model, tokenizer, loss of the last batch). The model learns to write both questions and answers."""
    # Clips are left out, and no token takes their place.
    rows = [captions.row(i).without_media() for captions in files for i in range(len(captions))]
    texts = (text for row in rows for turn in row.turns for text in turn.parts)
    tokenizer = new_tokenizer(texts, config.vocabulary)
    chat = Chat(tokenizer, config.context)

    torch.manual_seed(config.seed)
    model = new_language(len(tokenizer), config.width, config.depth, config.heads)
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    # A generator of its own, so that batches do not depend on how many numbers the weights took.
    order = np.random.default_rng(config.seed)
    for _ in trange(config.steps, desc="language model", disable=None):
        drawn = order.integers(0, len(rows), config.batch)
        ids, mask = pad([chat.encode(rows[i].turns, []).ids for i in drawn], chat.padding, "right")
        # All tokens are learned, not only answers: the model has to learn the language itself. transformers
        # shifts the labels by one token.
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, IGNORE)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval(), tokenizer, loss.item()


def train_on_files(
    *,
    texts: list[Path],
    out: Path,
    steps: int = TinyLanguageConfig.steps,
    seed: int = TinyLanguageConfig.seed,
) -> None:
    """Train a small language model and its tokenizer on conversations.

    Args:
        texts: Files of conversations: .json, .jsonl or .parquet.
        out: Folder to write.
        steps: Optimiser steps.
        seed: Decides the initial weights and the batches.
    """
    check_positive(steps=steps)
    check_seed(seed)
    check_folder(out)
    captions = [read_captions(file) for file in texts]
    with owned(out):
        model, tokenizer, loss = train_tiny_language(captions, TinyLanguageConfig(steps=steps, seed=seed))
        save_language(model, tokenizer, out)
    print(f"{out} is written: {len(tokenizer)} tokens, last loss {loss:.2f}")
