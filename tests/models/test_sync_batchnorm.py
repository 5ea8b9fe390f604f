"""Batch norms become norms over all ranks; that they then compute what one rank would is in
`tests/engine/test_divided_batch.py`."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.layers.sync_batchnorm import SyncBatchNorm, SyncBatchNormOnGpu, synchronise_norms

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def norms(module):
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.parametrize("name", ["x3d_tiny", "torchvision/r3d_18", "timm/efficientnet_lite0"])
def test_every_norm_is_replaced_and_nothing_else_changes(name, device):
    torch.manual_seed(0)
    model = create_model(name, 3).eval()
    for norm in norms(model):
        norm.running_mean.normal_()
    clips = torch.randn(1, 3, 2, 32, 32)
    with torch.no_grad():
        before = model(clips)
    state, count = {key: value.clone() for key, value in model.state_dict().items()}, len(norms(model))
    parameters = {id(parameter) for parameter in model.parameters()}
    assert synchronise_norms(model, device) == count > 0
    kind = SyncBatchNorm if device == CPU else SyncBatchNormOnGpu
    assert all(type(norm) is kind and not norm.training for norm in norms(model))
    with torch.no_grad():
        assert torch.equal(model(clips), before)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert {id(parameter) for parameter in model.parameters()} == parameters


def test_alone_it_trains_as_batch_norm_does():
    values = torch.randn(4, 5, 2, 3, 3)
    plain, synchronised = nn.Sequential(nn.BatchNorm3d(5)), nn.Sequential(nn.BatchNorm3d(5))
    synchronise_norms(synchronised, CPU)
    assert torch.equal(plain(values), synchronised(values))
    assert torch.equal(plain[0].running_var, synchronised[0].running_var)


def test_split_norms_and_unknown_ones_are_refused():
    with pytest.raises(ConfigError, match=r"model.sync_bn .* model.norm_splits=2 .*; give one of them"):
        synchronise_norms(create_model("x3d_tiny", 3, norm_splits=2), CPU)

    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="model.sync_bn: Own is a batch norm that cannot be made one of all ranks"):
        synchronise_norms(nn.Sequential(Own(3)), CPU)
