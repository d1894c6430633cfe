"""One reader for each recording format; all return the episodes of `vjepa.robots.episodes`."""
