"""The three steps of Coarse-Fine networks on tiny generated video: fine stream, its features, coarse stream, scores."""

import pytest
import torch
from tiny_runs import configured

from ssdet_cli.config.commands import EvaluateConfig, ExtractFeaturesConfig, TrainCoarseFineConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.recipes import evaluate, extract_features, train_coarse_fine


@pytest.fixture(scope="module")
def features(data, tuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "fine"
    flags = {"checkpoint": tuned, "data.videos": data.dense / "videos", "run.output": folder, "run.device": "cpu"}
    extract_features.run(load_config(ExtractFeaturesConfig, None, ["data.workers=0"], flags))
    return folder


@pytest.fixture(scope="module")
def trained(data, tuned, features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "coarse"
    words = [f"model.init={tuned}", f"fine.features={features}"]
    train_coarse_fine.run(configured(TrainCoarseFineConfig, data.dense, folder, *words))
    return folder


def scored(run, **flags):
    given = {"checkpoints": (run,), "protocol": "frame-map", "run.device": "cpu", "data.workers": 0, **flags}
    return evaluate.run(load_config(EvaluateConfig, flags=given))


def test_stored_features_and_the_fine_stream_itself_give_the_same_scores(trained, features, tuned):
    stored, computed = scored(trained, **{"fine.features": features}), scored(trained)
    assert stored.per_class_AP == pytest.approx(computed.per_class_AP, abs=1e-3)
    assert load_checkpoint(trained)["meta"]["fine"]["weights"] == str(tuned)
