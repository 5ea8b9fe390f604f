"""A run killed at any moment: what it leaves agrees with itself, and resuming ends as if nothing had happened."""

import contextlib
import json
import math
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_fit import HERE, Small, batch

from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine import fit as fit_module
from ssdet_cli.engine.checkpoint import latest_checkpoint, load_checkpoint
from ssdet_cli.engine.fit import Interrupted, Monitor, Trainer, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.stop import StopAsked
from ssdet_cli.tasks.pretraining import VolumePretraining

#: Validation loss by step: best at 4, then at 6; saving is rarer than validating.
LOSSES = {2: 0.9, 4: 0.3, 6: 0.2, 8: 0.5, 9: 0.4}
UNTIMED = {"time": 0, "clips_per_second": 0, "data_wait": 0}
LOOP = LoopConfig(steps=9, log_every=1, validate_every=2, save_every=3, ema=0.9)


class Killed(BaseException):
    """The process ends here."""


class Countdown:
    """Ends the process before the given one of all writes."""

    def __init__(self, left: float) -> None:
        self.left = left

    def __call__(self) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1


class MortalTrainer(Trainer):
    countdown: Countdown

    def state(self):
        self.countdown()  # asked for right before a checkpoint is written
        return super().state()


class MortalLog(RunLog):
    countdown: Countdown

    def record(self, **values):
        self.countdown()
        super().record(**values)


def score(step: int) -> dict[str, float]:
    """The validation of a step."""
    return {"loss": LOSSES[step]}


def run(folder: Path, writes: float = math.inf, loop: LoopConfig = LOOP, validate=score) -> MortalTrainer:
    """Train in `folder`, from its checkpoint where there is one, as the recipes do; dies after so many writes."""
    torch.manual_seed(0)
    task = VolumePretraining(lambda frames: frames.float() / 255, None, "frame")
    optim = OptimConfig(name="adamw", lr=1e-2, warmup_steps=2)
    trainer = MortalTrainer(Small(), task, optim=optim, loop=loop, session=HERE, seed=3, meta={})
    state = latest_checkpoint(folder)
    if state is not None:
        trainer.load(state)
    log = MortalLog(None, None)
    resumed = trainer.progress.step if folder.exists() else None
    log.keep_in(folder, resumed, validated=not trainer.progress.due)
    trainer.countdown = log.countdown = Countdown(writes)
    try:
        fit(
            trainer,
            [batch(number) for number in range(trainer.progress.step, LOOP.steps)],
            steps_per_epoch=5,
            validate=lambda network: validate(trainer.progress.step),
            monitor=Monitor("loss", higher_is_better=False),
            log=log,
            title="test",
        )
    finally:
        log.close()
    return trainer


def steps(folder: Path, split: str) -> list[int]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["split"] == split]


def check_checkpoints(folder: Path) -> None:
    """best.pt holds the state of the best step, no checkpoint knows a better one, and the log has its line."""
    files = {path.name: load_checkpoint(path)["progress"] for path in (folder / "checkpoints").glob("*.pt")}
    if "best.pt" in files:
        best = files["best.pt"]
        assert best["step"] == best["best_step"] and best["best"] == LOSSES[best["step"]]
        assert best["step"] in steps(folder, "val")
    if "last.pt" in files and files["last.pt"]["best"] is not None:
        assert files["best.pt"]["best"] <= files["last.pt"]["best"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run never killed, and the number of its writes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return 1000 - run(folder, 1000).countdown.left, folder


def test_a_run_killed_before_any_write_resumes_to_the_same_end(whole, tmp_path):
    writes, uninterrupted = whole
    assert writes == 9 + 5 + 3 + 3  # lines of training and validation, best.pt, last.pt
    end = load_checkpoint(uninterrupted / "checkpoints" / "last.pt")
    for number in range(writes):
        folder = tmp_path / str(number)
        with pytest.raises(Killed):
            run(folder, number)
        check_checkpoints(folder)
        run(folder)
        check_checkpoints(folder)
        again = load_checkpoint(folder / "checkpoints" / "last.pt")
        assert again["progress"] == end["progress"], f"killed before write {number}"
        for kind in ("model", "trained"):
            assert all(torch.equal(value, again[kind][name]) for name, value in end[kind].items()), number
        assert load_checkpoint(folder)["progress"]["step"] == 6
        assert steps(folder, "train") == list(range(1, 10)) and steps(folder, "val") == list(LOSSES), number


def test_a_run_that_is_resumed_with_other_checkpoints_ends_the_same(whole, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "run", 9)
    run(tmp_path / "run", loop=LOOP.model_copy(update={"save_every": 2, "keep_every": 4}))
    assert (tmp_path / "run" / "checkpoints" / "step-00000008.pt").exists()
    end, again = (load_checkpoint(place / "checkpoints" / "last.pt") for place in (whole[1], tmp_path / "run"))
    assert again["progress"] == end["progress"]
    for kind in ("model", "trained"):
        assert all(torch.equal(value, again[kind][name]) for name, value in end[kind].items())
    lines = [(place / "metrics.jsonl").read_text().splitlines() for place in (whole[1], tmp_path / "run")]
    whole_lines, other_lines = ([{**json.loads(line), **UNTIMED} for line in each] for each in lines)
    assert whole_lines == other_lines


def left(step: int) -> dict[str, float]:
    """Like `score`; a scheduler ends the validation of step 6."""
    if step == 6:
        signal.raise_signal(signal.SIGTERM)
        raise StopAsked
    return score(step)


def test_a_validation_that_was_left_stands_in_the_log_once_wherever_the_next_session_is_killed(whole, tmp_path):
    rare = LOOP.model_copy(update={"save_every": 9})
    for number in range(8):  # its line, best.pt, three steps, and the last validation
        folder = tmp_path / str(number)
        with pytest.raises(Interrupted, match="at step 6 of 9"):
            run(folder, loop=rare, validate=left)
        assert latest_checkpoint(folder)["progress"]["due"] and steps(folder, "val") == [2, 4]
        with contextlib.suppress(Killed):
            run(folder, number, loop=rare)
        run(folder, loop=rare)
        assert steps(folder, "train") == list(range(1, 10)) and steps(folder, "val") == list(LOSSES), number
        assert load_checkpoint(folder)["progress"]["step"] == 6


def test_of_two_checkpoints_of_one_step_the_validated_one_counts(tmp_path):
    rare = LOOP.model_copy(update={"save_every": 9})
    with pytest.raises(Interrupted):
        run(tmp_path / "run", loop=rare, validate=left)
    with pytest.raises(Killed):
        run(tmp_path / "run", 2, loop=rare)  # the validation, and the best score yet
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["progress"]
    assert (last["step"], last["due"]) == (6, True)
    state = latest_checkpoint(tmp_path / "run")["progress"]
    assert (state["step"], state["due"], state["best"]) == (6, False, 0.2)


def test_a_run_is_saved_at_validations_and_so_often_that_little_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("ssdet_cli.engine.fit.SAVE_EVERY", 3)
    saved = []
    save = fit_module.save_checkpoint

    def noted(path, state):
        saved.append((path.name, state["progress"]["step"]))
        save(path, state)

    monkeypatch.setattr("ssdet_cli.engine.fit.save_checkpoint", noted)
    run(tmp_path / "run", loop=LOOP.model_copy(update={"save_every": None, "validate_every": 4}))
    assert [step for name, step in saved if name == "last.pt"] == [3, 4, 6, 8, 9]


def test_a_best_checkpoint_beyond_the_last_one_is_where_a_run_goes_on(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "run", 4 + 2 + 2 + 1)  # four steps, two validations, both best, and last.pt of step 3
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["progress"]
    assert (last["step"], last["best_step"]) == (3, 2)
    state = latest_checkpoint(tmp_path / "run")["progress"]
    assert (state["step"], state["best"], state["best_step"]) == (4, 0.3, 4)
    assert latest_checkpoint(tmp_path / "nothing") is None


def test_tensorboard_shows_every_step_once_after_a_resume(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        run(folder, 17)
    assert (latest_checkpoint(folder)["progress"]["step"], steps(folder, "train")[-1]) == (6, 8)
    run(folder)
    shown = EventAccumulator(str(folder))
    shown.Reload()
    assert [event.step for event in shown.Scalars("train/loss")] == list(range(1, 10))
    assert [event.step for event in shown.Scalars("val/loss")] == list(LOSSES)


def test_a_run_that_was_killed_when_all_was_trained_knows_its_last_scores(tmp_path):
    run(tmp_path / "run")
    log = RunLog(tmp_path / "run", None, resume_step=9)
    assert log.last_scores() == {"loss": LOSSES[9]}
    assert RunLog(tmp_path / "new", None).last_scores() == {}
