"""Ask a model about a video on the terminal. The answer appears as it is generated.

vjepa ask --model runs/demo/vlm --video clip.mp4 "Which way does the hand move?"
"""

import sys
from pathlib import Path

from vjepa.errors import check_positive
from vjepa.language.video_chat import VideoChat


def ask(
    question: str,
    *,
    model: Path,
    video: Path | None = None,
    encoder: Path | None = None,
    device: str = "cpu",
    limit: int = 128,
) -> None:
    """Ask a finished vlm stage a question about a video, and print the answer as it is generated.

    Args:
        question: The question.
        model: Folder of a finished vlm stage.
        video: Video or image; without one, the question is text alone.
        encoder: File or folder of the encoder, if it has moved since the alignment.
        device: Device of torch, such as cuda.
        limit: Most tokens of the answer.
    """
    check_positive(limit=limit)
    video_chat = VideoChat.load(model, encoder).to(device)
    for text in video_chat.stream(video, question, limit):
        print(text, end="", flush=True)
    print()

    if video_chat.cut:
        print(f"note: {video_chat.cut} tokens of the question did not fit and were cut", file=sys.stderr)
