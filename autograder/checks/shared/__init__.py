"""What the visible and the hidden checks of a lesson share: models, probes, expected values."""
