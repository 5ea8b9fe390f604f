"""Two ranks and fewer videos than they could share, for `test_few_videos.py`: `python few_videos.py DATA FOLDER`."""

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # what every optimiser imports, in some seconds
import torch.distributed as dist

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from forked_ranks import run_ranks
from tiny_runs import configured

from ssdet_cli.config.commands import EvaluateConfig, ExtractFeaturesConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.recipes import evaluate, extract_features, finetune, pretrain


def few(videos: Path, annotations: Path | None, split: str) -> VideoSet:
    """So many videos of the generated set; reading them is no time for a process group, which has a time limit."""
    assert not dist.is_initialized()
    whole = DATASETS.get("generated")(videos, annotations, split)
    return replace(whole, records=whole.records[: int(os.environ["FEW"])])


def train(kind: type, recipe, videos: Path, output: Path) -> None:
    recipe(configured(kind, videos, output, "data.dataset=few_videos:few", "loop.steps=2", "optim.warmup_steps=0"))


def evaluated(videos: Path, checkpoint: Path, output: Path) -> None:
    flags = {"data.dataset": "few_videos:few", "data.videos": videos, "checkpoints": (checkpoint,)}
    flags |= {"run.output": output, "run.device": "cpu", "data.workers": 0, "protocol": "frame-map"}
    evaluate.run(load_config(EvaluateConfig, flags=flags))


def extracted(videos: Path, checkpoint: Path, output: Path) -> None:
    flags = {"data.dataset": "few_videos:few", "data.videos": videos, "checkpoint": checkpoint, "split": "test"}
    flags |= {"run.output": output, "run.device": "cpu", "data.workers": 0}
    extract_features.run(load_config(ExtractFeaturesConfig, flags=flags))


def main(data: Path, place: Path) -> None:
    """Every command with one video; with three, what shares videos out."""
    torch.set_num_threads(1)
    outcome = {}
    for count, names in ((1, ("pretrain", "finetune", "evaluate", "extract")), (3, ("finetune", "extract"))):
        os.environ["FEW"] = str(count)
        tuned = place / f"finetune {count}"
        works = {
            "pretrain": partial(train, PretrainConfig, pretrain.run, data / "weak", place / f"pretrain {count}"),
            "finetune": partial(train, FinetuneConfig, finetune.run, data / "dense", tuned),
            "evaluate": partial(evaluated, data / "dense", tuned, place / f"evaluate {count}"),
            "extract": partial(extracted, data / "dense", tuned, place / f"extract {count}"),
        }
        for name in names:
            ends = run_ranks(works[name], place / "said", limit=60)
            outcome[f"{name} {count}"] = [(end.code, end.said[-500:]) for end in ends]
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
