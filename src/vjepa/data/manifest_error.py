"""The one error of a file that lists data: a manifest, a map of labels, a file of conversations."""

from vjepa.errors import UserError


class ManifestError(UserError):
    """A manifest that cannot be read. One sentence: which file and line, what is wrong, what to do."""
