"""Average precision of frames: ours against torchmetrics, scikit-learn and a plain loop over the classes.

    python benchmarks/evaluation.py                                  # small, well under a minute
    python benchmarks/evaluation.py --rows 1300000 --classes 157     # MultiTHUMOS-sized frames, Charades' classes

All take turns in every round, so that whatever else the machine does hits them alike; medians are compared, by the
clock and by the processor time of all threads. Memory is what the process grows by at most while one of them runs, read
every few milliseconds (Linux), in sizes of the scores. Scores are sigmoids of normal numbers in float32, 3 % positive.
"""

import argparse
import gc
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_average_precision

from ssdet_cli.evaluation import average_precision

Call = Callable[[np.ndarray, np.ndarray], np.ndarray]
_STATM = Path("/proc/self/statm")


def plain_loop(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    found = []
    for label in range(scores.shape[1]):
        hits = targets[np.argsort(-scores[:, label], kind="stable"), label]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        found.append(precision[hits].mean())
    return np.array(found)


def with_torchmetrics(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return multilabel_average_precision(
        torch.from_numpy(scores),
        torch.from_numpy(targets).long(),
        num_labels=scores.shape[1],
        average="none",
        validate_args=False,
    ).numpy()


def with_scikit_learn(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return average_precision_score(targets, scores, average=None)


CALLS: dict[str, Call] = {
    "ssdet": average_precision,
    "plain loop": plain_loop,
    "scikit-learn": with_scikit_learn,
    "torchmetrics": with_torchmetrics,
}


@dataclass
class Cost:
    """What calls took: seconds of the clock and of the processor, and bytes that the process grew by."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def resident() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if _STATM.exists() else 0


class Peak:
    """The most memory that the process has while it is entered, beyond what it had before."""

    def __enter__(self) -> "Peak":
        gc.collect()
        self._before = self._most = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.003):
            self._most = max(self._most, resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.grown = max(self._most, resident()) - self._before


def make_rows(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = np.empty((rows, classes), dtype=bool)
    scores = np.empty((rows, classes), dtype=np.float32)
    for label in range(classes):
        targets[:, label] = rng.random(rows) < 0.03
        logits = rng.standard_normal(rows, dtype=np.float32) - 3 + targets[:, label]
        scores[:, label] = 1 / (1 + np.exp(-logits))
    return scores, targets


def measure(scores: np.ndarray, targets: np.ndarray, rounds: int) -> tuple[dict[str, Cost], dict[str, float]]:
    costs, apart = {name: Cost() for name in CALLS}, {}
    ours = average_precision(scores, targets)
    for _ in range(rounds):
        for name, call in CALLS.items():
            with Peak() as peak:
                clock, processor = time.perf_counter(), time.process_time()
                found = call(scores, targets)
                costs[name].clock.append(time.perf_counter() - clock)
                costs[name].processor.append(time.process_time() - processor)
            costs[name].memory.append(peak.grown)
            apart[name] = float(np.abs(found - ours).max())
    return costs, apart


def show(costs: dict[str, Cost], apart: dict[str, float], scores: np.ndarray) -> None:
    table = Table(title=f"Average precision of {scores.shape[0]:,} rows, {scores.shape[1]} classes, float32")
    for heading in ("", "s", "times ssdet", "processor s", "times ssdet", "memory / scores", "AP differs by"):
        table.add_column(heading, justify="right" if heading else "left")
    ours = costs["ssdet"]
    for name, cost in costs.items():
        clock, processor = statistics.median(cost.clock), statistics.median(cost.processor)
        table.add_row(
            name,
            f"{clock:.2f}",
            f"{clock / statistics.median(ours.clock):.1f}",
            f"{processor:.2f}",
            f"{processor / statistics.median(ours.processor):.1f}",
            f"{max(cost.memory) / scores.nbytes:.2f}",
            f"{apart[name]:.0e}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="repeats, the median of which counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores, targets = make_rows(options.rows, options.classes)
    show(*measure(scores, targets, options.rounds), scores)


if __name__ == "__main__":
    main()
