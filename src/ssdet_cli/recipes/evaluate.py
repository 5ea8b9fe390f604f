"""`ssdet evaluate`: score prediction files or checkpoints. Scoring files imports no torch."""

from dataclasses import replace

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.interface import EvaluationResult
from ssdet_cli.recipes.analysis import analysis_of, training_split
from ssdet_cli.recipes.results import annotated, average, finish, scored


def run(cfg: EvaluateConfig) -> EvaluationResult:
    """Score what the configuration names, show the table, write the files of `run.output` (if given).

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    if cfg.run.output is not None:
        rundir.check_folder(cfg, cfg.run.output)
    if cfg.checkpoints:
        from ssdet_cli.recipes.evaluate_checkpoints import run as run_checkpoints

        return run_checkpoints(cfg)
    if not cfg.predictions:
        raise ConfigError("evaluate needs checkpoints (--checkpoint RUN) or prediction files (--predictions FILE).")
    if cfg.data is None or cfg.data.annotations is None:
        raise ConfigError("--predictions needs --annotations FILE: the truth to compare with.")
    protocol = PROTOCOLS.get(cfg.protocol)()
    videos = annotated(cfg.data, cfg.split)
    parts = [protocol.read_submission(path, videos) for path in cfg.predictions]
    predictions = average([part.predictions for part in parts])
    result = scored(cfg, protocol, videos, predictions, parts[0].seconds)
    result = replace(result, notes=(*videos.notes, *result.notes, *(note for part in parts for note in part.notes)))
    one_file = cfg.predictions[0].read_bytes() if len(parts) == 1 else None
    finish(
        cfg,
        result,
        lambda: one_file or protocol.submission_text(videos, predictions, parts[0].seconds),
        lambda: analysis_of(training_split(cfg.data), protocol, videos, predictions, parts[0].seconds, result),
    )
    return result
