"""What a user can correct is one sentence and status 2; Ctrl-C is one line and status 130."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from vjepa.errors import UserError, is_out_of_memory

EXTRAS = {
    "mujoco": "sim",
    "matplotlib": "plot",
    "transformers": "vlm",
    "peft": "vlm",
    "tokenizers": "vlm",
    "mkdocs": "docs",
}
"""Module that the base installation lacks -> the extra that brings it."""


@contextmanager
def mistakes_as_sentences() -> Iterator[None]:
    """Exit with one sentence where a user can correct what happened; other errors keep their traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack the letters of a file's name
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        status = tell(error)
        if status is None:
            raise
        raise SystemExit(status) from None


def tell(error: BaseException) -> int | None:
    """Print the sentence of a mistake and return the exit status; None for an error that is no mistake."""
    if isinstance(error, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # `vjepa features --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    sentence = sentence_of(error)
    if sentence is None:
        return None
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def sentence_of(error: BaseException) -> str | None:
    """What a user can do about an error, if anything."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(module)
        return f"this needs {module}; pip install 'vjepa[{extra}]'" if extra else None
    # A file that cannot be read or written is the user's to mend, whichever command met it.
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if repr(error).startswith("SafetensorError") and "I/O error" in str(error):
        return f"weights cannot be written or read: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}: free some disk, and run the same again"
    if is_out_of_memory(error) or "Storage size calculation overflowed" in str(error):
        first = str(error).partition("\n")[0]
        return f"too little memory ({first or 'no more is left'}); make sizes, batches or workers smaller"
    # Lightning's word for settings that do not fit; looked up, since importing it takes seconds.
    known = sys.modules.get("lightning.fabric.utilities.exceptions")
    is_setting = known is not None and isinstance(error, known.MisconfigurationException)
    return str(error) if is_setting else None


def tell_at_exit() -> None:
    """The same for a whole program, its imports included, where no `with` can be around them."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        status = tell(error)
        if status is None:
            sys.__excepthook__(kind, error, trace)
        else:
            raise SystemExit(status)

    sys.excepthook = hook
