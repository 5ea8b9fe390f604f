"""Two ranks and fewer videos than they could share, for `test_few_videos.py`: `python few_videos.py DATA FOLDER`."""

import json
import os
import sys
import time
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
from ssdet_cli.recipes import evaluate, extract_features, finetune, members, pretrain


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


def one_broken(videos: Path, annotations: Path | None, split: str) -> VideoSet:
    """The first of few videos is no video."""
    found = few(videos, annotations, split)
    return replace(found, records=(replace(found.records[0], path=os.environ["BROKEN"]), *found.records[1:]))


def refused(videos: Path, checkpoint: Path, output: Path) -> None:
    """An evaluation that fails behind the pass, and keeps what it has; many videos take as long to be written."""
    write = members.write_scores
    members.write_scores = lambda *words: (time.sleep(1), write(*words))
    flags = {"data.dataset": "few_videos:one_broken", "data.videos": videos, "checkpoints": (checkpoint,)}
    flags |= {"run.output": output, "run.device": "cpu", "data.workers": 0, "save_predictions": f"{output}.npz"}
    evaluate.run(load_config(EvaluateConfig, flags=flags))


def extracted(videos: Path, checkpoint: Path, output: Path) -> None:
    flags = {"data.dataset": "few_videos:few", "data.videos": videos, "checkpoint": checkpoint, "split": "test"}
    flags |= {"run.output": output, "run.device": "cpu", "data.workers": 0}
    extract_features.run(load_config(ExtractFeaturesConfig, flags=flags))


def main(data: Path, place: Path) -> None:
    """Every command with one video; with three, what shares videos out."""
    torch.set_num_threads(1)
    outcome = {}
    os.environ["BROKEN"] = str(place / "broken.mp4")
    (place / "broken.mp4").write_bytes(b"no video")
    for count, names in ((1, ("pretrain", "finetune", "evaluate", "extract")), (3, ("finetune", "extract", "refused"))):
        os.environ["FEW"] = str(count)
        tuned = place / f"finetune {count}"
        works = {
            "pretrain": partial(train, PretrainConfig, pretrain.run, data / "weak", place / f"pretrain {count}"),
            "finetune": partial(train, FinetuneConfig, finetune.run, data / "dense", tuned),
            "evaluate": partial(evaluated, data / "dense", tuned, place / f"evaluate {count}"),
            "refused": partial(refused, data / "dense", tuned, place / f"refused {count}"),
            "extract": partial(extracted, data / "dense", tuned, place / f"extract {count}"),
        }
        for name in names:
            ends = run_ranks(works[name], place / "said", limit=60)
            outcome[f"{name} {count}"] = [(end.code, end.said[-500:]) for end in ends]
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
