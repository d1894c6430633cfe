"""From files to batches: manifests, decoding by time stamp, transforms, clips, and the data modules of clips."""
