"""Weights files: reading them, telling their layout, and saying what did not fit."""

from ssdet_cli.models.weights.load import load_weights
from ssdet_cli.models.weights.report import LoadReport

__all__ = ["LoadReport", "load_weights"]
