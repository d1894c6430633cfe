"""One LightningModule and one command per file: `python -m stages.<stage> fit --config conf/<stage>.yaml`."""

from vjepa.command.program import begin_stage

# Before anything imports torch, which takes seconds that a help page need not take.
begin_stage()

from vjepa import torchvision_ops  # noqa: E402, F401  before lightning imports torchvision
