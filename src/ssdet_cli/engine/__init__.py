"""One training loop, one prediction loop, and what they stand on."""
