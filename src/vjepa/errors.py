"""The root of all errors that a command shows as one sentence instead of a traceback.

    require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")

Kinds of files have their own errors below it: ManifestError, DecodeError, TrajectoryError, CheckpointError.
"""


class UserError(ValueError):
    """A mistake in a recipe or in data: what was wrong, where, what was expected, what to do."""


class DataError(UserError):
    """Training data that is not fit to train on."""


def require(condition: bool, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)
