"""python -m vjepa.sim.recording --out DIR [--clips 1600 --size 64 --workers 2 ...]; see --help."""

import sys

from jsonargparse import ArgumentParser, set_parsing_settings

from vjepa.sim.recording.record import RecordConfig, record


def main(arguments: list[str] | None = None) -> None:
    """Record what the command line asks for; a refusal is one sentence and exit status 1."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m vjepa.sim.recording", description=RecordConfig.__doc__)
    parser.add_class_arguments(RecordConfig)
    options = parser.parse_args(arguments)
    try:
        record(RecordConfig(**options.as_dict()))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
