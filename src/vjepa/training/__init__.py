"""What the stages share: their command line, the frozen encoder, optimisers, monitors, sweeps."""
