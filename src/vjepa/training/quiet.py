"""Warnings of Lightning and torch that do not apply to this project's runs."""

import logging
import threading
import warnings

# Parts of warnings that do not apply here.
MOOT = (
    "does not have many workers",
    "in eval mode at the start of training",  # the frozen encoders, on purpose
    "isinstance.treespec, LeafSpec",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed",  # of a run's folder that was moved, or of another run's checkpoint
    "smaller than the logging interval",  # our monitors write the first step themselves
    "Total length of `list` across ranks is zero",  # a recipe without validation
    "Unable to serialize instance",  # jsonargparse, of a default that is a settings object
    "returned a view tensor",  # under FSDP2; nobody changes the output of a network in place
)


def quiet() -> None:
    """Silence Lightning's advertisements, and warnings about what this project does on purpose."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = tell_of_thread
    for message in MOOT:
        warnings.filterwarnings("ignore", message=f"(?s).*{message}")


def tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """As Python does, but for a file that TensorBoard's thread cannot write: the main thread says it too."""
    if not (isinstance(failed.exc_value, OSError) and "_AsyncWriterThread" in repr(type(failed.thread))):
        threading.__excepthook__(failed)
