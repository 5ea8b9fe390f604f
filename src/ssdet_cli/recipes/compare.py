"""`ssdet evaluate --compare A B`: two evaluations side by side. No torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation import ranks
from ssdet_cli.evaluation.comparison import Comparison, Scored, compare, missing_remark
from ssdet_cli.evaluation.comparison_report import print_comparison, write_comparison
from ssdet_cli.recipes.screen import Screen

#: Draws where `bootstrap` says none.
SAMPLES = 1000


def run(cfg: EvaluateConfig) -> Comparison:
    """Compare the two evaluations of `compare`, show it, write the files of `run.output` (if given).

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    folder = cfg.run.output
    if folder is not None:
        _refuse_evaluation(folder)
        rundir.check_folder(cfg, folder)
    (metrics_a, a), (metrics_b, b) = (_evaluation(path) for path in cfg.compare)
    if "protocol" in cfg.model_fields_set and cfg.protocol != a.protocol:
        raise ConfigError(f"protocol={cfg.protocol}, but {cfg.compare[0]} was scored under {a.protocol}; leave it out.")
    names = str(cfg.compare[0]), str(cfg.compare[1])
    samples = cfg.bootstrap or SAMPLES
    console = Screen(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{samples:,} draws of the videos", total=len(a.classes))
        found = compare(
            a,
            b,
            names,
            samples=samples,
            seed=cfg.run.seed,
            annotations=metrics_a["annotations"],
            notes=missing_remark(metrics_a, metrics_b),
            scored=(Scored.of(metrics_a), Scored.of(metrics_b)),
            advance=lambda done: bar.update(task, completed=done),
        )
    print_comparison(Screen(), found)
    if folder is not None:
        cfg = cfg.model_copy(update={"protocol": a.protocol, "bootstrap": samples})
        write_comparison(rundir.prepare(cfg, folder), found)
        console.print(f"Wrote {folder}/compare.json and report.html.", highlight=False, markup=False, soft_wrap=True)
    return found


def _refuse_evaluation(folder: Path) -> None:
    if (folder / "metrics.json").is_file():
        raise ConfigError(
            f"run.output={folder} holds an evaluation, whose report.html would be lost; give another --output."
        )


def _evaluation(folder: Path) -> tuple[dict[str, Any], ranks.Ranks]:
    """What an evaluation left: `metrics.json` and `ranks.npz`, which must belong together.

    Raises:
        DataError: It is no evaluation, or of a version that kept no ranks, or damaged.
    """
    if not folder.is_dir():
        raise DataError(f"--compare (compare): {folder} is a file; give the folder of an evaluation.")
    file = folder / "metrics.json"
    if not file.is_file():
        if rundir.is_begun(folder):
            raise DataError(
                f"{folder} is a training run; evaluate it first (ssdet evaluate --checkpoint {folder} --output DIR) "
                "and compare DIR."
            )
        raise DataError(f"{folder} is no evaluation: it holds no metrics.json.")
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        protocol, aps = metrics["protocol"], metrics["per_class_AP"]
        metrics["members"] = [dict(member) for member in metrics.get("members") or ()]
        metrics["missing_videos"], metrics["annotations"] = list(metrics["missing_videos"]), str(metrics["annotations"])
        metrics["missing_frames"] = int(metrics["missing_frames"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read as the result of an evaluation: evaluate again.") from error
    if not (folder / ranks.FILE).is_file():
        raise DataError(f"{folder} holds no {ranks.FILE}, {_why(folder, protocol)}")
    found = ranks.read_ranks(folder / ranks.FILE)
    here = np.array([np.nan if ap is None else ap for ap in aps], dtype=float)
    mine = found.average_precision()
    if protocol != found.protocol or len(here) != len(mine) or not np.allclose(here, mine, 0, 1e-9, equal_nan=True):
        raise DataError(f"{folder / ranks.FILE} and metrics.json are not of the same evaluation: evaluate again.")
    return metrics, found


def _why(folder: Path, protocol: str) -> str:
    if protocol == "segment-map":
        return "since segment-map ranks no rows; its evaluations cannot be compared."
    return (
        "which an earlier version did not write, nor does this one of very large sets; evaluate again: "
        f"ssdet evaluate --config {folder / 'config.yaml'}."
    )
