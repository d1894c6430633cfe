"""The device of torch that a command's `--device` names."""

import torch

from vjepa.errors import UserError


def find_device(name: str) -> torch.device:
    """The device of that name. Raises UserError if it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    # torch raises different errors for unknown names, missing drivers and builds without CUDA.
    try:
        device = torch.empty(0, device=name).device
        torch.empty(1, device=device).cpu()  # the device `meta` has a name and no numbers
        return device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--device {name} cannot be used ({reason}); give cpu, cuda, cuda:1, mps or auto"
        ) from error
