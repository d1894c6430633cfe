"""Ask a model about a video, on the terminal; the answer appears as it is found.

python -m vjepa ask --model runs/demo/vlm --video clip.mp4 "Which way does the hand move?"
"""

import sys
from pathlib import Path

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
        video: Video or picture; without one the question is only text.
        encoder: Where the encoder is now, if not where it was.
        device: Such as cuda.
        limit: Most tokens of the answer.
    """
    chat = VideoChat.load(model, encoder).to(device)
    for text in chat.stream(video, question, limit):
        print(text, end="", flush=True)
    print()
    if chat.cut:
        print(f"note: {chat.cut} tokens of the question did not fit and were cut", file=sys.stderr)
