"""How far a run is, and what resuming needs."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Progress:
    """Counters of a run, saved with every checkpoint.

    Attributes:
        step: Optimiser steps done.
        best: Best validation score so far; None before the first.
        best_step: Step of that score.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0


def draw_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers.

    Every draw of a step is seeded by (run seed, purpose, step, rank), so a resumed run draws what an uninterrupted one
    would, without stored generator states.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
