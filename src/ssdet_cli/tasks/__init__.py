"""What a network is trained for: losses and their metrics."""
