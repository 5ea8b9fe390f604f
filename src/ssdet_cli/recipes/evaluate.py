"""`ssdet evaluate`: score prediction files or checkpoints, or compare two evaluations. Only checkpoints need torch."""

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.data.info import INFO
from ssdet_cli.data.lengths import decoded_lengths
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.comparison import Comparison
from ssdet_cli.evaluation.comparison_report import FILE as COMPARISON
from ssdet_cli.evaluation.interface import EvaluationResult
from ssdet_cli.evaluation.score_files import is_score_file
from ssdet_cli.recipes import members
from ssdet_cli.recipes.analysis import training_split
from ssdet_cli.recipes.results import annotated, finish


def run(cfg: EvaluateConfig) -> EvaluationResult | Comparison:
    """Score or compare what the configuration names, show the table, write the files of `run.output` (if given).

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    if cfg.compare:
        from ssdet_cli.recipes.compare import run as run_comparison

        return run_comparison(cfg)
    members.check_files(cfg)
    if cfg.run.output is not None:
        rundir.check_folder(cfg, cfg.run.output)
        if (cfg.run.output / COMPARISON).is_file():
            raise ConfigError(
                f"run.output={cfg.run.output} holds a comparison, whose report.html would be lost; give another "
                "--output."
            )
        members.check_output(cfg)
    members.check_save(cfg)
    if cfg.checkpoints:
        from ssdet_cli.recipes.evaluate_checkpoints import run as run_checkpoints

        return run_checkpoints(cfg)
    if not cfg.predictions:
        raise ConfigError("evaluate needs checkpoints (--checkpoint RUN) or prediction files (--predictions FILE).")
    _refuse_no_truth(cfg.data)
    protocol = PROTOCOLS.get(cfg.protocol)()
    with decoded_lengths(any(map(is_score_file, cfg.predictions))):
        videos = annotated(cfg.data, cfg.split, named=cfg.data.annotations is not None)
    sources = members.read_files(cfg.predictions, videos)
    members.save(cfg, videos, sources)
    videos = members.with_lengths(videos, sources)
    found = members.gathered(cfg, protocol, videos, sources)
    return finish(
        cfg,
        protocol,
        videos,
        found,
        trained=training_split(cfg.data),
        readers=members.all_readers(sources),
        submission=cfg.predictions[0].read_bytes() if members.as_it_is(cfg) else None,
    )


def _refuse_no_truth(data: FrameLabelledData | None) -> None:
    """See that there is something to compare predictions with; a dataset that brings its labels needs its videos only.

    Raises:
        ConfigError: There is not.
    """
    row = INFO.get(data.dataset) if data is not None else None
    brings_labels = row is None or not row.needs_annotations
    if data is not None and (data.annotations is not None or (data.videos is not None and brings_labels)):
        return
    if row is not None and row.labels == "either":
        raise ConfigError(f"--predictions needs --videos DIR, or --annotations FILE, of the dataset '{data.dataset}'.")
    raise ConfigError("--predictions needs --annotations FILE: the truth to compare with.")
