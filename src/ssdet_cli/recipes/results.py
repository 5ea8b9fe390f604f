"""What every evaluation ends with: the truth, the score, the table and the files. No torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoSet, check_labels
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import ranks
from ssdet_cli.evaluation.bootstrap import bootstrap
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult
from ssdet_cli.evaluation.report import print_result, write_results
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.files import write_atomically


def annotated(data: FrameLabelledData, split: str) -> VideoSet:
    """The annotations of a split.

    Raises:
        DataError: They have no labels in seconds, or cannot be read.
    """
    videos = DATASETS.get(data.dataset)(data.videos, data.annotations, split)
    check_labels(videos, "frame", EvaluateConfig.command)
    return videos


def scored(
    cfg: EvaluateConfig,
    protocol: EvaluationProtocol,
    videos: VideoSet,
    predictions: dict[str, np.ndarray],
    seconds: dict[str, np.ndarray] | None,
) -> EvaluationResult:
    """The protocol's score, with confidence intervals where they are asked for.

    Raises:
        ConfigError: They are, and the protocol has none.
        DataError: The predictions do not fit the annotations.
    """
    refuse_bootstrap(cfg, protocol)
    result = protocol.score(videos, predictions, seconds)
    if not cfg.bootstrap:
        return result
    rows = protocol.rows(videos, predictions, seconds)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{cfg.bootstrap:,} draws of the videos", total=len(result.classes))
        intervals = bootstrap(
            rows, cfg.bootstrap, seed=cfg.run.seed, advance=lambda done: bar.update(task, completed=done)
        )
    return replace(result, intervals=intervals)


def refuse_bootstrap(cfg: EvaluateConfig, protocol: EvaluationProtocol) -> None:
    """See that intervals are asked of a protocol that has them, before anything is computed.

    Raises:
        ConfigError: They are not.
    """
    if cfg.bootstrap and getattr(protocol, "rows", None) is None:
        raise ConfigError(f"bootstrap={cfg.bootstrap}: {protocol.name} ranks no rows to draw anew; leave it out.")


def rows_of(
    protocol: EvaluationProtocol,
    videos: VideoSet,
    predictions: dict[str, np.ndarray],
    seconds: dict[str, np.ndarray] | None,
) -> Callable[[], Rows | None]:
    """What makes the rows that a protocol ranks when it is asked to; None where it ranks none."""
    return lambda: protocol.rows(videos, predictions, seconds) if getattr(protocol, "rows", None) else None


def finish(
    cfg: EvaluateConfig,
    result: EvaluationResult,
    submission: Callable[[], bytes],
    rows: Callable[[], Rows | None] = lambda: None,
) -> None:
    """Show the table; where `run.output` is given, write the evaluation's files there."""
    print_result(Console(), result)
    folder = cfg.run.output
    if folder is not None:
        console = Console(stderr=True)
        rundir.prepare(cfg, folder)
        (folder / ranks.FILE).unlink(missing_ok=True)  # an earlier evaluation's would be of other numbers
        write_results(folder, result, submission())
        console.print(f"Wrote {folder}/metrics.json, submission.txt and report.html.", highlight=False)
        if (note := _keep_ranks(folder, result, rows())) is not None:
            console.print(note, highlight=False)


def _keep_ranks(folder: Path, result: EvaluationResult, rows: Rows | None) -> str | None:
    """Write what `--compare` reads; returns why not where the protocol has it and it is not written."""
    if rows is None or not rows.video_ids:
        return None
    if ranks.too_large(rows):
        return (
            f"{rows.scores.size:,} scores are more than the {ranks.LIMIT:,} whose order is kept: "
            "evaluate --compare cannot take this evaluation."
        )
    found = ranks.rank_rows(rows, result.protocol, result.classes, result.annotations_sha256)
    write_atomically(folder / ranks.FILE, found.to_bytes())
    return None
