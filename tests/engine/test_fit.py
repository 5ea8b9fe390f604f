import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine import runlog
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session, pick_device
from ssdet_cli.engine.fit import Monitor, Trainer, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.state import draw_seed
from ssdet_cli.engine.trainer import Meter
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.tasks.pretraining import VolumePretraining

HERE = Session(torch.device("cpu"))


class Small(nn.Module):
    """A convolution, a norm and dropout: everything that resuming can get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv1d(8, 3, 1))

    def forward(self, frames):
        return self.head(self.backbone(frames).mean((3, 4)))


def batch(number: int, size: int = 4) -> VideoBatch:
    generator = torch.Generator().manual_seed(number)
    frames = torch.randint(0, 256, (size, 3, 4, 6, 6), dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, 3, (size,), generator=generator)
    labels = torch.nn.functional.one_hot(classes, 3).float().unsqueeze(2).expand(-1, -1, 4)
    return VideoBatch(frames=frames, labels=labels, video_ids=tuple(f"v{number}-{i}" for i in range(size)))


def trainer(steps: int = 12, **loop) -> Trainer:
    torch.manual_seed(0)
    return Trainer(
        Small(),
        VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
        optim=OptimConfig(name="adamw", lr=1e-2, warmup_steps=2),
        loop=LoopConfig(steps=steps, log_every=1, validate_every=4, save_every=4, **loop),
        session=HERE,
        seed=3,
        meta={"classes": ["a", "b"]},
    )


def train(run: Trainer, folder, first: int = 0, validate=None) -> None:
    numbers = range(first * run.loop.accumulate, run.loop.steps * run.loop.accumulate)
    fit(
        run,
        [batch(number) for number in numbers],
        steps_per_epoch=5,
        validate=validate or (lambda network: {"loss": float(network(batch(99).frames.float()).square().mean())}),
        monitor=Monitor("loss", higher_is_better=False),
        log=RunLog(folder, None),
        title="test",
    )


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    return {**run.model.state_dict(), **{f"ema.{k}": v for k, v in run.evaluated.state_dict().items()}}


@pytest.mark.parametrize("loop", [{}, {"ema": 0.9}, {"accumulate": 2}], ids=["plain", "averaged", "accumulated"])
def test_a_run_continued_from_a_checkpoint_ends_with_the_same_weights_bit_for_bit(tmp_path, loop):
    whole = trainer(**loop)
    train(whole, tmp_path / "whole")
    half = trainer(**loop)
    with pytest.raises(KeyboardInterrupt):
        train(half, tmp_path / "half", validate=stop_at(half, 8))
    again = trainer(**loop)
    again.load(load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt"))
    first = again.progress.step
    assert first == 4
    train(again, tmp_path / "half", first=first)
    for name, value in weights(whole).items():
        assert torch.equal(weights(again)[name], value), name


def stop_at(run: Trainer, step: int):
    def validate(network):
        if run.progress.step == step:
            raise KeyboardInterrupt
        return {"loss": 1.0 / run.progress.step}

    return validate


def test_accumulated_batches_give_the_gradient_of_one_large_batch():
    class Plain(Small):
        def __init__(self) -> None:
            super().__init__()
            self.backbone[1] = nn.Identity()
            self.head[0] = nn.Identity()

    def one_step(parts: list[VideoBatch]) -> nn.Module:
        run = trainer(accumulate=len(parts))
        torch.manual_seed(0)
        run.model = run.network = Plain()
        run.optimizer = torch.optim.SGD([{"params": run.model.parameters(), "base_lr": 0.1}], lr=0.1)
        run.step(iter(parts))
        return run.model

    first, second = batch(1), batch(2)
    joined = VideoBatch(torch.cat([first.frames, second.frames]), torch.cat([first.labels, second.labels]))
    for a, b in zip(one_step([first, second]).parameters(), one_step([joined]).parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_network_is_told_which_frames_are_real():
    class Told(Small):
        def forward(self, frames, lengths=None):
            self.lengths = lengths
            return super().forward(frames)

    run = trainer()
    run.model = run.network = Told()
    lengths = torch.tensor([4, 3, 2, 1])
    run.step(iter([replace(batch(1), lengths=lengths)]))
    assert torch.equal(run.model.lengths, lengths)


def test_metrics_are_one_json_object_per_line_and_best_is_the_best(tmp_path):
    run = trainer()
    scores = iter([0.5, 0.2, 0.9])
    train(run, tmp_path, validate=lambda network: {"loss": next(scores)})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 13))
    assert all({"step", "epoch", "split", "loss", "lr"} <= line.keys() for line in lines)
    rates = {line["step"]: line["lr"] for line in lines if line["split"] == "train"}
    assert [line["lr"] == rates[line["step"]] for line in lines if line["split"] == "val"] == [True] * 3
    assert load_checkpoint(tmp_path / "checkpoints" / "best.pt")["progress"]["best_step"] == 8
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["progress"]["step"] == 12
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_a_loss_that_is_not_finite_stops_with_the_videos_named(tmp_path):
    run = trainer()
    with torch.no_grad():
        run.model.head[1].bias.fill_(torch.nan)
    with pytest.raises(SsdetError, match=r"The loss is nan at step 1 with the videos v0-0, v0-1.*bad_batches.json"):
        train(run, tmp_path)
    (listed,) = json.loads((tmp_path / "bad_batches.json").read_text())
    assert listed == {"step": 1, "rank": 0, "loss": "nan", "video_ids": ["v0-0", "v0-1", "v0-2", "v0-3"]}


def test_averaged_weights_are_those_that_are_validated_and_shipped(tmp_path):
    run = trainer(ema=0.9)
    train(run, tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert torch.equal(saved["model"]["head.1.weight"], run.average.module.head[1].weight)
    assert torch.equal(saved["trained"]["head.1.weight"], run.model.head[1].weight)
    assert not torch.equal(saved["model"]["head.1.weight"], saved["trained"]["head.1.weight"])


def test_bf16_autocast_trains_close_to_fp32():
    exact, rough = trainer(precision="fp32"), trainer(precision="bf16")
    for run in (exact, rough):
        run.step(iter([batch(0)]))
    for a, b in zip(exact.model.parameters(), rough.model.parameters(), strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert torch.allclose(a, b, atol=0.025)
    assert any(not torch.equal(a, b) for a, b in zip(exact.model.parameters(), rough.model.parameters(), strict=True))


def test_the_progress_line_tells_what_a_user_waits_for(capsys):
    log = RunLog(None, Console(force_terminal=False, width=200))
    run = trainer()
    fit(
        run,
        [batch(number) for number in range(12)],
        steps_per_epoch=5,
        validate=lambda network: {"loss": 1.0},
        monitor=Monitor("loss", higher_is_better=False),
        log=log,
        title="test",
    )
    first = capsys.readouterr().out.splitlines()[0]
    for part in ("test: 1/12", "epoch 0.2", "loss", "accuracy", "clips/s", "data wait", " s left"):
        assert part in first


def test_a_validation_prints_counts_as_counts(capsys):
    log = RunLog(None, Console(force_terminal=False, width=200))
    fit(
        trainer(),
        [batch(number) for number in range(12)],
        steps_per_epoch=5,
        validate=lambda network: {"loss": 1.0, "videos": 4},
        monitor=Monitor("loss", higher_is_better=False),
        log=log,
        title="test",
    )
    assert "Step 12: validation loss 1.0000, videos 4\n" in capsys.readouterr().out


def test_the_time_left_is_in_minutes_or_in_seconds_and_nothing_is_said_at_the_end(capsys, monkeypatch):
    clock = iter([1000.0, 1080.0, 1080.0, 1080.0, 1091.0, 1091.0, 1091.0, 1102.0, 1102.0])
    log = RunLog(None, Console(force_terminal=False, width=200))
    with monkeypatch.context() as patch:
        patch.setattr(runlog.time, "monotonic", lambda: next(clock))
        log.start("Generating videos", 0, 28)
        for done, note in ((8, ""), (24, "drawing"), (28, "")):
            log.advance(done, note)
    assert capsys.readouterr().out.splitlines() == [
        "Generating videos: 8/28  3.3 min left",
        "Generating videos: 24/28  drawing  16 s left",
        "Generating videos: 28/28",
    ]


def test_a_gradient_is_clipped_to_the_norm_asked_for():
    run = trainer()
    run.optim = run.optim.model_copy(update={"clip_norm": 1e-3})
    run.step(iter([batch(0)]))
    norm = torch.cat([p.grad.flatten() for p in run.model.parameters()]).norm()
    assert norm <= 1e-3 * 1.001


def test_a_nan_never_becomes_the_best_score():
    assert not Monitor("mAP", True).improves(float("nan"), None)
    assert Monitor("mAP", True).improves(1.0, None)
    assert not Monitor("loss", False).improves(2.0, 1.0)


def test_a_meter_means_over_everything_added():
    meter = Meter()
    meter.add({"loss": torch.tensor([6.0, 2.0], dtype=torch.float64)})
    meter.add({"loss": torch.tensor([1.0, 5.0], dtype=torch.float64)})
    assert meter.means(HERE) == {"loss": 1.0}
    assert meter.totals == {}


def test_draw_seeds_differ_by_every_part():
    seeds = {draw_seed(*parts) for parts in ((0, 1, 2, 3), (0, 1, 2, 4), (0, 1, 3, 3), (0, 2, 2, 3), (1, 1, 2, 3))}
    assert len(seeds) == 5
    assert draw_seed(0, 1, 2, 3) == draw_seed(0, 1, 2, 3)


def test_a_device_that_is_not_there_is_an_error_and_never_the_cpu():
    with pytest.raises(ConfigError, match="cuda:99"):
        pick_device("cuda:99")
    with pytest.raises(ConfigError, match="choose auto, cpu, cuda or cuda:N"):
        pick_device("tpu")
