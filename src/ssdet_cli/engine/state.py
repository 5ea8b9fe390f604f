"""How far a run is, and what resuming needs."""

import random
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Progress:
    """Counters of a run, saved with every checkpoint.

    Attributes:
        step: Optimiser steps done.
        best: Best validation score so far; None before the first.
        best_step: Step of that score.
        due: The validation of `step` is still to be done.
        skipped: Batches whose loss was not finite.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    due: bool = False
    skipped: int = 0


def draw_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers.

    Every draw of a step is seeded by (run seed, purpose, step, rank), so a resumed run draws what an uninterrupted one
    would, without stored generator states.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int) -> None:
    """Seed the global generators of torch (all devices), numpy and Python: somebody's network may draw from any."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
