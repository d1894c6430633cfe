"""From files to batches: manifests, decoding by timestamp, clips, data modules."""
