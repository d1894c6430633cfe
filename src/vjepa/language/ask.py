"""Ask a model about a video, on the terminal; the answer appears as it is found.

    python -m vjepa.language.ask --model runs/demo/vlm --video clip.mp4 "Which way does the hand move?"
"""

import argparse
import sys
from collections.abc import Sequence

from vjepa.data.decode import DecodeError
from vjepa.errors import UserError
from vjepa.language.video_chat import VLM


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vjepa.language.ask", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a finished vlm stage")
    parser.add_argument("--video", help="video or picture; without one the question is only text")
    parser.add_argument("--encoder", help="where the encoder is now, if not where it was")
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--limit", type=int, default=128, help="most tokens of the answer")
    parser.add_argument("question")
    options = parser.parse_args(arguments)
    try:
        talker = VLM.load(options.model, options.encoder).to(options.device)
        for text in talker.stream(options.video, options.question, options.limit):
            print(text, end="", flush=True)
        if talker.cut:
            print(f"\nnote: {talker.cut} tokens of the question did not fit and were cut", end="", file=sys.stderr)
    except (UserError, DecodeError) as error:
        sys.exit(f"error: {error}")
    print()


if __name__ == "__main__":
    main()
