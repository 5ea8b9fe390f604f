"""Pictures and videos of labels over time."""
