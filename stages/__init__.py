"""One LightningModule and one command per file: `python -m stages.<stage> fit --config conf/<stage>.yaml`."""

import vjepa  # noqa: F401  before lightning: see vjepa.torchvision_ops
