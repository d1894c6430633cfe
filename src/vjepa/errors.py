"""The one kind of exception that a command shows as a sentence instead of a traceback."""


class UserError(ValueError):
    """A mistake in a recipe or in data: what was wrong, where, what was expected, what to do."""


def require(condition: bool, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)


class DataError(UserError):
    """Training data that is not fit to train on."""
