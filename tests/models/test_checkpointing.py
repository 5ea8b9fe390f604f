"""Blocks that run again in the backward pass: same numbers, less kept."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones.x3d import Stage
from ssdet_cli.models.layers.checkpoint import recompute
from ssdet_cli.recipes.training import Run, build_detector


def kept_bytes(model, clips):
    """Bytes that a forward pass keeps for the backward one, counting shared memory once."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(clips)
    return sum(size for address, size in storages.items() if address not in weights), output


def pair(name="x3d_tiny", **options):
    models = []
    for checkpoint_activations in (False, True):
        torch.manual_seed(0)
        models.append(create_model(name, 4, dropout=0.0, checkpoint_activations=checkpoint_activations, **options))
    return [model.double().train() for model in models]


@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(training):
    plain, checkpointed = pair()
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    for _ in range(2):
        outputs = [model.train(training)(clips) for model in (plain, checkpointed)]
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.square().mean().backward()
    for (name, expected), found in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)
    for (name, expected), found in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(found, expected), name


def test_far_less_is_kept_for_the_backward_pass():
    clips = torch.randn(1, 3, 4, 64, 64, dtype=torch.float64)
    (plain, _), (checkpointed, output) = (kept_bytes(model, clips) for model in pair())
    assert checkpointed < 0.5 * plain
    output.sum().backward()


def test_the_statistics_come_back_after_a_backward_pass_that_failed():
    block = nn.Sequential(nn.BatchNorm2d(2), Failing())
    mean = block[0].running_mean
    with pytest.raises(RuntimeError, match="second run"):
        recompute(block, torch.randn(2, 2, 3, 3, requires_grad=True)).sum().backward()
    assert block[0].running_mean is mean and mean.all()
    assert block[0].num_batches_tracked == 1


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, frames):
        self.runs += 1
        if self.runs == 2:
            raise RuntimeError("second run")
        return frames.sin()


def test_compiles_as_one_graph_with_the_same_gradients_and_statistics():
    torch.manual_seed(0)
    plain = Stage(4, 8, 1, momentum=0.1, zero_last=False).double()
    checkpointed = copy.deepcopy(plain)
    checkpointed.checkpointing = True
    frames = torch.randn(4, 4, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    torch.compile(checkpointed, fullgraph=True, backend="aot_eager")(frames, 2).square().mean().backward()
    torch._dynamo.reset()
    plain(frames, 2).square().mean().backward()
    for expected, found in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    torch.testing.assert_close(dict(checkpointed.named_buffers()), dict(plain.named_buffers()))


def test_a_backbone_that_cannot_is_named():
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match="'torchvision/mc3_18' cannot recompute its activations"),
    ):
        create_model("torchvision/mc3_18", 4, checkpoint_activations=True)


def test_the_configuration_key_reaches_the_backbone():
    new_run = Run(Session(torch.device("cpu")), RunLog(None, None))
    for wanted in (False, True):
        cfg = PretrainConfig.model_validate({"model": {"backbone": "x3d_tiny", "checkpoint_activations": wanted}})
        assert build_detector(cfg, 4, (), new_run).backbone.layer2.checkpointing is wanted
