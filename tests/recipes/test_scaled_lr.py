"""`optim.scale_lr`: the rate follows the batch, says so, and is scaled once."""

import pytest
from tiny_runs import configured

from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes import pretrain
from ssdet_cli.recipes.scaled_lr import scaled

LINEAR = ["optim.lr=0.05", "optim.scale_lr=linear", "optim.base_batch=16"]


def scale(*words, ranks=1, batch=16):
    said = []
    cfg = load_config(PretrainConfig, None, [*LINEAR, f"loop.batch_size={batch}", *words])
    optim = scaled(cfg, ranks, 20.0, said.append)
    return optim.lr, said


def test_the_rate_grows_with_the_clips_of_a_step_and_says_of_what():
    lr, (said,) = scale("loop.accumulate=2", "optim.warmup_steps=10", ranks=2)
    assert lr == pytest.approx(0.2)
    assert (
        said == "Learning rate 0.05 x 64/16 = 0.2 (optim.scale_lr=linear; 16 clips x 2 processes x 2 passes in a step)."
    )


def test_a_raised_rate_without_a_warm_up_is_advised_one():
    assert scale(ranks=4)[1][0].endswith("A rate that was raised wants a warm-up, such as optim.warmup_steps=100.")
    assert "warm-up" not in scale(ranks=1)[1][0]
    assert "warm-up" not in scale(batch=8)[1][0]


def test_passes_that_follow_a_plan_are_counted_by_it():
    """As a multigrid training has them: a function of the step, and not steps in a pass."""
    advised = []
    cfg = load_config(PretrainConfig, None, [*LINEAR, "loop.batch_size=32", "loop.steps=1000"])
    for passes in (lambda step: step / 8, lambda step: step / 30, lambda step: 9.0):
        scaled(cfg, 1, passes, advised.append)
    assert [line.rpartition("=")[2] for line in advised] == ["40.", "100.", "1."]


def test_a_rate_is_left_alone_where_nothing_is_said():
    said = []
    assert scaled(load_config(PretrainConfig, None, ["optim.lr=0.3"]), 8, 1.0, said.append).lr == 0.3
    assert said == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optim.scale_lr=linear"], "optim.scale_lr=linear needs optim.base_batch"),
        (["optim.base_batch=64"], "optim.base_batch=64 is for optim.scale_lr=linear"),
        (
            ["model.sync_bn=true", "model.norm_splits=2"],
            "model.sync_bn .* model.norm_splits=2 .*; give one of them",
        ),
    ],
)
def test_halves_of_an_option_are_told_in_terms_of_keys(words, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(PretrainConfig, None, words)


def test_a_run_from_a_written_configuration_is_not_scaled_twice(data, tmp_path, capfd):
    words = ["optim.lr=0.01", "optim.scale_lr=linear", "optim.base_batch=2", "optim.schedule=constant"]
    pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "one", *words, "loop.steps=2"))
    again = load_config(PretrainConfig, str(tmp_path / "one/config.yaml"), [], {"run.output": tmp_path / "two"})
    pretrain.run(again)
    states = [load_checkpoint(tmp_path / name / "checkpoints/last.pt") for name in ("one", "two")]
    rates = [[group["base_lr"] for group in state["optimizer"]["param_groups"]] for state in states]
    assert rates[0] == rates[1] and max(rates[0]) == pytest.approx(0.02)
    assert (
        capfd.readouterr().err.count("Learning rate 0.01 x 4/2 = 0.02 (optim.scale_lr=linear; 4 clips in a step).") == 2
    )
