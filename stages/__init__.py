"""One LightningModule and one command per file: `python -m stages.<stage> fit --config conf/<stage>.yaml`."""

from vjepa import torchvision_ops  # noqa: F401  before lightning imports torchvision
