"""Precision, bad batches, memory and compilation of a training step."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_fit import HERE, batch, train, trainer, weights
from torch import nn

from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.numbers import deterministic, precision, told_once
from ssdet_cli.engine.out_of_memory import advice, is_out_of_memory
from ssdet_cli.engine.predict import in_batches
from ssdet_cli.errors import SsdetError
from ssdet_cli.recipes.batch_size import largest


@pytest.fixture
def spoilt(monkeypatch):
    """The batches of steps 3 and 6 give a loss that is not a number, through running statistics and all."""
    plain = batch

    def some(number, size=4):
        made = plain(number, size)
        if number in (2, 5):
            return replace(made, frames=made.frames.float() * torch.nan)
        return made

    monkeypatch.setattr("test_fit.batch", some)


def test_a_bad_batch_is_skipped_and_leaves_no_trace_but_in_the_list(tmp_path, spoilt, capsys):
    run = trainer(skip_bad_batches=2)
    seen = []
    step = run.step

    def watched(batches):
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        done = step(batches)
        seen.append(all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items()))
        return done

    run.step = watched
    train(run, tmp_path)
    assert [number for number, unchanged in enumerate(seen, start=1) if unchanged] == [3, 6]
    assert (run.progress.step, run.progress.skipped) == (12, 2)
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    listed = json.loads((tmp_path / "bad_batches.json").read_text())
    assert [(bad["step"], bad["video_ids"][0]) for bad in listed] == [(3, "v2-0"), (6, "v5-0")]
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["progress"]["skipped"] == 2
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()


def test_one_bad_batch_more_than_allowed_stops_the_run(tmp_path, spoilt):
    with pytest.raises(
        SsdetError, match=r"The loss is nan at step 6 with the videos v5-0.*1 such batches were skipped"
    ):
        train(trainer(skip_bad_batches=1), tmp_path)


def test_a_bad_batch_long_before_the_next_line_of_the_log_is_the_one_that_is_named(tmp_path, spoilt):
    run = trainer()
    run.loop = run.loop.model_copy(update={"log_every": 100})
    with pytest.raises(SsdetError, match="at step 3 with the videos v2-0"):
        train(run, tmp_path)
    assert not (tmp_path / "checkpoints").exists()  # the first one would have come at step 4


def test_the_norm_of_the_gradient_is_logged(tmp_path):
    run = trainer()
    train(run, tmp_path)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    again = trainer()
    again.step(iter([batch(0)]))
    norm = torch.cat([each.grad.flatten() for each in again.model.parameters()]).norm()
    assert first["grad_norm"] == pytest.approx(float(norm), rel=1e-5)


def test_fp16_scales_its_loss_and_trains_close_to_fp32():
    exact, rough = trainer(precision="fp32"), trainer(precision="fp16")
    for run in (exact, rough):
        run.step(iter([batch(0)]))
    for a, b in zip(exact.model.parameters(), rough.model.parameters(), strict=True):
        assert b.dtype == torch.float32 and torch.allclose(a, b, atol=0.025)
    assert rough.state()["scaler"]["_growth_tracker"] == 1 and exact.state()["scaler"] == {}


def test_a_gradient_that_fp16_cannot_hold_lowers_the_scale_and_is_no_bad_batch(tmp_path):
    run = trainer(precision="fp16", skip_bad_batches=1)
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**40})
    train(run, tmp_path)
    assert run.progress.skipped == 0 and run.scaler.get_scale() < 2.0**40
    assert not (tmp_path / "bad_batches.json").exists()


def test_a_run_whose_gradients_overflow_at_every_scale_stops_and_says_so(tmp_path):
    run = trainer(precision="fp16")
    run.model.head[1].weight.register_hook(lambda gradient: gradient + torch.inf)
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**-8})
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    with pytest.raises(SsdetError, match="gradients of fp16 overflow at step 6 however small .*--precision bf16"):
        train(run, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in run.model.named_parameters())
    run = trainer(precision="fp16")
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**-8})
    train(run, tmp_path / "small")  # a small scale alone is no fault


def test_tf32_and_fp32_say_how_a_gpu_multiplies():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        precision("tf32", HERE.device)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
        precision("fp32", HERE.device)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def one_step(**options):
    torch.manual_seed(0)
    plain, said = trainer(), []
    run = type(plain)(
        plain.model,
        plain.task,
        optim=plain.optim,
        loop=plain.loop,
        session=HERE,
        seed=3,
        meta={},
        say=said.append,
        **options,
    )
    run.step(iter([batch(0)]))
    return run, said


def test_channels_last_keeps_weights_and_clips_that_way_and_trains_the_same():
    plain, _ = one_step()
    run, _ = one_step(channels_last=True)
    weight = run.model.backbone[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) and not weight.is_contiguous()
    for name, value in plain.model.named_parameters():
        if name != "backbone.0.bias":  # its gradient, before a norm, is rounding alone
            assert torch.allclose(value, run.model.get_parameter(name), atol=1e-5), name


def test_a_compiler_that_does_not_work_is_given_up_aloud_and_nothing_else_changes(monkeypatch):
    def broken(graph, inputs):
        raise OSError("no C++ compiler here")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compiler(network, backend=broken))
    torch._dynamo.reset()
    run, said = one_step(compiled=True)
    plain, _ = one_step()
    assert len(said) == 2 and said[1].startswith("The network runs uncompiled, torch.compile does not work here: ")
    assert run.network is run.replica
    for name, value in weights(plain).items():
        assert torch.equal(weights(run)[name], value), name


def test_a_compiled_network_trains_as_the_plain_one_and_is_saved_under_the_same_names(monkeypatch):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compiler(network, backend="aot_eager"))
    torch._dynamo.reset()
    run, said = one_step(compiled=True)
    plain, _ = one_step()
    assert said == ["torch.compile compiles the network in the first step; that may take minutes."]
    assert run.network is not run.replica
    assert run.state()["model"].keys() == plain.state()["model"].keys()
    for a, b in zip(plain.model.parameters(), run.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_what_cannot_be_deterministic_is_named_once():
    said = []
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    with deterministic(True), told_once(said.append):
        assert torch.are_deterministic_algorithms_enabled()
        for _ in range(2):
            unpool(*pool(torch.rand(1, 1, 4, 4)))
    assert len(said) == 1 and re.match(r"Not deterministic: max_unpool.* has no deterministic implementation.", said[0])
    assert not torch.are_deterministic_algorithms_enabled()


def test_advice_on_memory_comes_in_order_and_in_keys_that_can_be_given():
    cfg = load_config(PretrainConfig, None, ["loop.batch_size=12", "loop.precision=fp32"])
    told = str(advice(cfg, torch.device("cuda", 1), 1))
    assert "Out of memory on cuda:1 at step 1, with 12 clips of 16 x 224 x 224" in told
    keys = ["model.checkpoint_activations=true", "loop.batch_size=6 loop.accumulate=2", "clip.frames=8"]
    keys += ["clip.size=160", "loop.precision=bf16"]
    assert sorted(keys, key=told.index) == keys
    load_config(PretrainConfig, None, " ".join(keys).split())
    small = load_config(PretrainConfig, None, ["loop.batch_size=1", "model.checkpoint_activations=true"])
    assert "batch_size" not in str(advice(small, HERE.device, 1))
    assert "checkpoint_activations" not in str(advice(small, HERE.device, 1))


def test_memory_that_does_not_suffice_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as huge:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(huge.value) and is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_whole_videos_that_do_not_fit_go_in_smaller_passes_and_then_say_which_keys_to_lower(caplog):
    from ssdet_cli.data.clips import VideoFacts, VideoWindow

    limit, asked = 2, []

    def network(frames):
        asked.append(len(frames))
        if len(frames) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"mean": frames.float().mean((1, 3, 4))}

    windows = [
        VideoWindow(VideoFacts(f"v{number}"), frames=torch.full((3, 8, 4, 4), number, dtype=torch.uint8))
        for number in range(7)
    ]
    how = {"normalize": lambda frames: frames, "device": HERE.device, "autocast": torch.no_grad}
    found = list(in_batches(network, batch_size=5, **how)(windows))
    assert [window for window, _ in found] == windows
    assert [float(out["mean"].mean()) for _, out in found] == list(range(7))
    assert asked == [5, 2, 2, 1, 2]
    assert "with 5 windows of 8 frames in a pass; going on with 2 (inference.batch_size)" in caplog.text
    # A limit in frames, as a measurement gives it, counts for windows of any length.
    asked.clear()
    list(in_batches(network, batch_size=5, most_frames=17, **how)(windows))
    assert asked == [2, 2, 2, 1]
    limit = 0
    with pytest.raises(SsdetError, match="1 windows of up to 8 frames .* Reduce, in this order: 1. inference.window=4"):
        list(in_batches(network, batch_size=2, **how)(windows))
    load_config(FinetuneConfig, None, ["inference.window=4"])


@given(st.integers(0, 300), st.integers(1, 300), st.sampled_from([1, 2, 4, 8]))
def test_the_largest_batch_that_fits_is_found_to_an_eighth(limit, most, unit):
    asked = []

    def fits(size):
        asked.append(size)
        return size <= limit

    found = largest(fits, most, unit)
    best = min(limit, most) // unit * unit
    assert found <= best and found % unit == 0
    assert best - found <= max(0, found // 8)
    assert len(asked) <= 20 and all(0 < size <= most for size in asked)
