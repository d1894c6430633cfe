"""The command `weights info`: what a file of weights holds.

    vjepa weights info demo runs/demo/ac/model.safetensors

Only headers are read, so it takes no time for files of any size.
"""

from pathlib import Path

from vjepa.weights.card import read_card


def info(files: list[Path]) -> None:
    """Print the card of each file: its networks, what they were trained on, and their scores.

    Args:
        files: Stages' exports, files of Meta's, Hugging Face directories, or `demo`.
    """
    print("\n\n".join(str(read_card(file)) for file in files))
