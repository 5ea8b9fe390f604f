"""Pretraining prepares the same batches with `augment.compile` as without, normalisation included."""

import pytest
import torch

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.models import create_model
from ssdet_cli.recipes.pretrain import build_task


@pytest.fixture
def compiled_calls(monkeypatch):
    """What is compiled, without a C++ compiler: functions and the types of their clips."""
    calls, original = [], torch.compile

    def watched(function, **options):
        compiled = original(function, backend="eager", **options)

        def call(*arguments, **more):
            calls.append((function.__name__, next(one.dtype for one in arguments if isinstance(one, torch.Tensor))))
            return compiled(*arguments, **more)

        return call

    monkeypatch.setattr(torch, "compile", watched)
    yield calls
    torch.compiler.reset()


def test_a_compiled_task_prepares_the_same_batches_from_bytes(compiled_calls):
    torch.compiler.reset()
    frames = torch.randint(0, 256, (4, 3, 8, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = VideoBatch(frames=frames, labels=torch.eye(5)[1:, :, None].repeat(1, 1, 8))
    model = create_model("x3d_tiny", num_classes=5)
    with session("cpu") as here:
        eager, compiled = (
            build_task(load_config(PretrainConfig, flags={"augment.compile": on}), model, here, RunLog(None, None))
            for on in (False, True)
        )
        drawn = [None, *(torch.Generator().manual_seed(seed) for seed in range(12))]
        again = [None, *(torch.Generator().manual_seed(seed) for seed in range(12))]
        for first, second in zip(drawn, again, strict=True):
            want, got = eager.prepare(batch, first), compiled.prepare(batch, second)
            assert got.frames.dtype == torch.float32
            torch.testing.assert_close(got.frames, want.frames, atol=1e-5, rtol=0)
            torch.testing.assert_close(got.labels, want.labels, atol=1e-6, rtol=0)
    # Every batch goes to the first compiled function as bytes, so that normalisation is compiled with it.
    assert sum(kind == torch.uint8 for _, kind in compiled_calls) == len(drawn)
    assert {name for name, kind in compiled_calls if kind == torch.uint8} > {"_raw_freeze", "_normalized"}
