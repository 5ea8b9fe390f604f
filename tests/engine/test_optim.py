import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ssdet_cli.config.sections import OptimConfig
from ssdet_cli.engine.optim import build_optimizer, lr_factor, set_lr
from ssdet_cli.errors import ConfigError


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv3d(3, 4, 1, bias=True), nn.BatchNorm3d(4))
        self.head = nn.Linear(4, 2)


def test_norms_and_biases_are_not_decayed_and_the_backbone_has_its_own_rate():
    model = TwoParts()
    optim = OptimConfig(name="adamw", lr=0.1, backbone_lr_scale=0.1, weight_decay=0.01)
    optimizer = build_optimizer(model, optim)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        lr = 0.1 if name.startswith("head") else pytest.approx(0.01)
        decay = 0.01 if parameter.ndim > 1 else 0.0
        assert found[id(parameter)] == (lr, decay), name
    assert len(found) == len(list(model.parameters()))


class TwoStreams(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = TwoParts(), TwoParts()


def test_scales_of_parts_multiply_where_one_is_in_another():
    model = TwoStreams()
    model.fine.head.requires_grad_(False)
    optimizer = build_optimizer(model, OptimConfig(lr=1.0, backbone_lr_scale=0.1, lr_scales={"fine": 0.5, "head": 10}))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    found = {name: rates.get(id(parameter)) for name, parameter in model.named_parameters()}
    assert found.pop("fine.head.weight") is found.pop("fine.head.bias") is None
    expected = {"fine.backbone": 0.05, "coarse.backbone": 0.1, "coarse.head": 10.0}
    assert found == {name: pytest.approx(expected[".".join(name.split(".")[:2])]) for name in found}


def test_a_scale_of_a_part_that_there_is_not_is_told_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"optim.lr_scales.haed: no such part. Did you mean 'head'\? Known: backbone, head"
    ):
        build_optimizer(TwoParts(), OptimConfig(lr_scales={"haed": 2}))


def test_warm_up_keeps_the_ratio_between_backbone_and_head():
    optim = OptimConfig(lr=0.1, backbone_lr_scale=0.1, warmup_steps=10)
    optimizer = build_optimizer(TwoParts(), optim)
    for step in (0, 5, 10, 50):
        set_lr(optimizer, lr_factor(step, 100, optim))
        rates = {group["name"].split(",")[0]: group["lr"] for group in optimizer.param_groups}
        assert rates["backbone"] == pytest.approx(0.1 * rates["head"])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(41, 200), st.sampled_from(["cosine", "step", "constant"]))
def test_the_rate_rises_during_warm_up_and_never_after_it(warmup, total, schedule):
    optim = OptimConfig(warmup_steps=warmup, schedule=schedule)
    assume(schedule != "step" or warmup < 0.6 * total)  # its first milestone
    factors = [lr_factor(step, total, optim) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup] == 1.0
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)


def test_schedules_by_hand():
    cosine = OptimConfig(schedule="cosine", warmup_steps=0)
    assert lr_factor(25, 100, cosine) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    stepped = OptimConfig(schedule="step", milestones=(0.5, 0.8), gamma=0.1)
    assert [lr_factor(step, 10, stepped) for step in (0, 4, 5, 7, 8)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_sgd_takes_momentum_and_nesterov():
    optimizer = build_optimizer(TwoParts(), OptimConfig(name="sgd", momentum=0.8, nesterov=True))
    assert isinstance(optimizer, torch.optim.SGD)
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.8, True)}
