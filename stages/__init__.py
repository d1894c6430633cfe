"""One LightningModule and one command per file: `python -m stages.<stage> fit --config conf/<stage>.yaml`."""
