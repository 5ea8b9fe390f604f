"""What every evaluation ends with: the truth, the mean over an ensemble, the table and the files. No torch."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoSet, check_labels
from ssdet_cli.data.frame_splits import read_as_named
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation.bootstrap import bootstrap
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult
from ssdet_cli.evaluation.report import print_result, write_results


def annotated(data: FrameLabelledData, split: str, *, named: bool = True) -> VideoSet:
    """The annotations of a split; a file that was `named` for this evaluation is read, and none beside it.

    Raises:
        DataError: They have no labels in seconds, or cannot be read.
    """
    with read_as_named(named):
        videos = DATASETS.get(data.dataset)(data.videos, data.annotations, split)
    check_labels(videos, "frame", EvaluateConfig.command)
    return videos


def average(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean scores of an ensemble.

    Raises:
        ConfigError: The members do not hold the same videos and times.
    """
    if len(parts) == 1:
        return parts[0]
    for number, part in enumerate(parts[1:], start=2):
        if part.keys() != parts[0].keys():
            odd = sorted(part.keys() ^ parts[0].keys())[0]
            raise ConfigError(f"Ensemble members 1 and {number} hold different videos ({odd} is only in one of them).")
        for video_id, scores in part.items():
            if scores.shape != parts[0][video_id].shape:
                raise ConfigError(f"Ensemble members 1 and {number} hold {video_id} at different numbers of times.")
    return {video_id: np.mean([part[video_id] for part in parts], axis=0) for video_id in parts[0]}


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


def finish(cfg: EvaluateConfig, result: EvaluationResult, submission: Callable[[], bytes]) -> None:
    """Show the table; where `run.output` is given, write the evaluation's files there."""
    print_result(Console(), result)
    folder = cfg.run.output
    if folder is not None:
        write_results(rundir.prepare(cfg, folder), result, submission())
        Console(stderr=True).print(f"Wrote {folder}/metrics.json, submission.txt and report.html.", highlight=False)
