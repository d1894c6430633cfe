"""The command `weights info`: what a file of weights holds.

    vjepa weights info demo runs/demo/ac/model.safetensors

Only headers are read, so it takes no time for files of any size.
"""

from pathlib import Path

from vjepa.weights.card import Card, read_card
from vjepa.weights.files import CheckpointError


def info(files: list[Path]) -> None:
    """Print the card of each file: its networks, what they were trained on, and their scores.

    For a file that cannot be loaded, one line says what it is; the exit status is then 2.

    Args:
        files: Stages' exports, files of Meta's, Hugging Face directories, or `demo`.
    """
    told = [card_or_error(file) for file in files]
    print("\n\n".join(map(str, told)))
    if any(isinstance(card, Exception) for card in told):
        raise SystemExit(2)


def card_or_error(file: Path) -> Card | Exception:
    """What a file holds, or the error that says why it cannot be loaded."""
    try:
        return read_card(file)
    except (CheckpointError, OSError) as error:
        return error
