"""Whole networks, frames to logits."""
