"""The base of all errors that a command shows as one sentence instead of a traceback.

    require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")

Each kind of file has its own subclass: ManifestError, DecodeError, TrajectoryError, CheckpointError.
"""


class UserError(ValueError):
    """A mistake in a recipe or in data. Its text says what is wrong, where, what was expected, what to do."""


class DataError(UserError):
    """Training data that is not fit to train on."""


def require(condition: bool, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)
