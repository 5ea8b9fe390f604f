"""One tiny generated set and one run of each kind, made once for all tests of the recipes."""

import pytest
from tiny_runs import configured

from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig
from ssdet_cli.data.generated import GenerateSettings, generate
from ssdet_cli.recipes import finetune, pretrain


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    settings = GenerateSettings(
        size=40,
        classes=4,
        novel_classes=1,
        weak_videos=12,
        weak_val_videos=5,
        dense_train=5,
        dense_test=4,
        dense_val=3,
        seconds=1.5,
    )
    return generate(folder / "data", settings)


@pytest.fixture(scope="session")
def pretrained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    pretrain.run(configured(PretrainConfig, data.weak, folder))
    return folder


@pytest.fixture(scope="session")
def tuned(data, pretrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    finetune.run(configured(FinetuneConfig, data.dense, folder, f"model.init={pretrained}"))
    return folder
