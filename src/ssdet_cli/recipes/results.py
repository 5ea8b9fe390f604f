"""What every evaluation ends with: the truth, the score, the table and the files. No torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoSet, check_labels
from ssdet_cli.data.frame_splits import read_as_named
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import ranks
from ssdet_cli.evaluation.bootstrap import bootstrap
from ssdet_cli.evaluation.comparison import MIN_VIDEOS
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult
from ssdet_cli.evaluation.report import print_result, write_results
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes.analysis import analysis_of
from ssdet_cli.recipes.members import Gathered
from ssdet_cli.recipes.screen import Screen
from ssdet_cli.viz.evaluation_report import STYLE, analysis_html
from ssdet_cli.viz.evaluation_terminal import print_analysis

#: How a line with a path in it is printed: as it is and in one piece.
_PLAIN = {"highlight": False, "markup": False, "soft_wrap": True}


def annotated(data: FrameLabelledData, split: str, *, named: bool = True) -> VideoSet:
    """The annotations of a split; a file that was `named` for this evaluation is read, and none beside it.

    Raises:
        DataError: They have no labels in seconds, or cannot be read.
    """
    with read_as_named(named):
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
    resampling = protocol.resampling(videos, predictions, seconds)
    with Progress(console=Screen(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{cfg.bootstrap:,} draws of the videos", total=resampling.steps)
        intervals = bootstrap(
            resampling, cfg.bootstrap, seed=cfg.run.seed, advance=lambda done: bar.update(task, completed=done)
        )
    notes = result.notes
    if resampling.videos < MIN_VIDEOS:
        notes += (f"Intervals of {resampling.videos:,} videos say little: draws of so few are too much alike.",)
    return replace(result, intervals=intervals, notes=notes)


def refuse_bootstrap(cfg: EvaluateConfig, protocol: EvaluationProtocol) -> None:
    """See that intervals are asked of a protocol that has them, before anything is computed.

    Raises:
        ConfigError: They are not.
    """
    if cfg.bootstrap and getattr(protocol, "resampling", None) is None:
        raise ConfigError(f"bootstrap={cfg.bootstrap}: {protocol.name} has no intervals; leave it out.")


def finish(
    cfg: EvaluateConfig,
    protocol: EvaluationProtocol,
    videos: VideoSet,
    found: Gathered,
    *,
    trained: VideoSet | None,
    readers: dict[str, int] | None,
    submission: bytes | None = None,
) -> EvaluationResult:
    """Score, show the table, and where `run.output` is given write the evaluation's files there.

    What is behind the score comes after it: it takes seconds, and whatever becomes of it, the score is there.

    Args:
        cfg: Of the evaluation.
        protocol: That scores.
        videos: The annotations.
        found: What is scored.
        trained: Training split of the same annotations, see `analysis.training_split`.
        readers: Video reader -> videos that it read.
        submission: A file of this protocol that holds the scores as they are; None is made.

    Raises:
        ConfigError: Confidence intervals are asked for, and the protocol has none.
        DataError: The predictions do not fit the annotations.
    """
    predictions, seconds = found.averaged.predictions, found.averaged.seconds
    result = scored(cfg, protocol, videos, predictions, seconds)
    notes = (*videos.notes, *result.notes, *found.notes)
    absent = found.averaged.absent_frames
    result = replace(
        result,
        notes=notes,
        videos_read_by=readers,
        scores_from=found.facts,
        missing_frames=result.missing_frames + absent,
        absent_frames=absent,
    )
    screen, console = Screen(), Screen(stderr=True)
    print_result(screen, result)
    folder = cfg.run.output
    if folder is not None:
        replaced = (folder / "metrics.json").exists()
        rundir.prepare(cfg, folder)
        (folder / ranks.FILE).unlink(missing_ok=True)  # an earlier evaluation's would be of other numbers
        submission = submission or protocol.submission_text(videos, predictions, seconds)
        write_results(folder, result, submission)
    rows = protocol.rows(videos, predictions, seconds) if getattr(protocol, "rows", None) is not None else None
    behind = analysis_of(rows, trained, protocol, videos, predictions, seconds, result)
    plain = behind.to_plain()
    print_analysis(screen, plain)
    if folder is not None:
        sections = analysis_html(behind.to_plain(timelines=True), behind.classes, behind.per_class_AP)
        write_results(folder, result, analysis=plain, sections=sections, style=STYLE)
        if (note := _keep_ranks(folder, result, rows)) is not None:
            console.print(note, **_PLAIN)
        instead = " in place of an earlier evaluation's" if replaced else ""
        console.print(f"Wrote {folder}/metrics.json, submission.txt and report.html{instead}.", **_PLAIN)
    return result


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
