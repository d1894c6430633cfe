"""What a frozen encoder is worth: read-outs, predictions, recall, rollout error, collapse, tables."""
