"""The plan of a multigrid training, against the schedules that were published, and the batches that follow it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.multigrid import MultigridConfig
from ssdet_cli.data.loader import PlannedBatches
from ssdet_cli.data.multigrid import build_plan
from ssdet_cli.engine.optim import lr_factor
from ssdet_cli.errors import ConfigError

some = settings(deadline=None, max_examples=40)
PRESETS = st.sampled_from(["x3d", "slowfast"])


def plan(preset="x3d", clips=4, steps=200, **keys):
    return build_plan(MultigridConfig(preset=preset, **keys), clips=clips, frames=16, size=224, steps=steps)


def column(legs, of):
    return [[of(turn) for turn in leg.turns] for leg in legs]


def test_the_plan_of_x3d_is_that_of_its_authors():
    """Kinetics-400, 128 clips on 4 GPUs, 120 passes of 1718 steps."""
    found = plan(clips=32, steps=206_160)
    starts = [leg.first for leg in found.legs]
    assert starts == [
        *(0, 20616, 41232, 61848),
        *(82465, 95349, 108234, 121119),
        *(134005, 144312, 154620, 164928),
        175237,
    ]
    assert [leg.phase for leg in found.legs] == [1] * 4 + [2] * 4 + [3] * 4 + [4]
    first, second, last = found.legs[:4], found.legs[4:8], found.legs[-1]
    assert column(first, lambda turn: turn.clips * 4) == [[2048, 1024], [1024, 512], [1024, 512, 256], [512, 256, 128]]
    assert column(first, lambda turn: turn.shape.size) == [[111, 158], [111, 158], [112, 158, 224], [112, 158, 224]]
    assert [leg.turns[0].shape.frames for leg in first] == [4, 8, 8, 16]
    assert [leg.turns[0].shape.stretch for leg in first] == [4, 2, 2, 1]  # 80 frames, window 20, 40, 40, 80
    assert [{turn.norm_splits for turn in leg.turns} for leg in first] == [{32}, {16}, {8}, {4}]
    assert [leg.turns for leg in second] == [leg.turns for leg in first]
    assert last.turns == first[-1].turns and last.end == 206_160


def test_learning_rates_of_x3d_are_those_that_its_authors_logged():
    words = ["multigrid.preset=x3d", "loop.steps=206160", "loop.batch_size=32", "optim.lr=0.2", "optim.schedule=step"]
    cfg = load_config(PretrainConfig, None, [*words, "optim.milestones=[0.4,0.65,0.925]", "optim.warmup_steps=8000"])
    found = plan(clips=32, steps=206_160)

    def rate(step):
        return cfg.optim.lr * lr_factor(step, cfg.loop.steps, cfg.optim) * found.at(step).lr

    begun = [max(8000, leg.first) for leg in found.legs]
    logged = [1.6, 0.8, 0.4, 0.2, 0.16, 0.08, 0.04, 0.02, 0.016, 0.008, 0.004, 0.002, 0.002]
    assert [rate(step) for step in begun] == pytest.approx(logged)
    assert rate(206_159) == pytest.approx(0.0002) and rate(0) == pytest.approx(1.6 / 8001)
    dropped = [
        step
        for step in (82_464, 134_004, 190_698)
        if lr_factor(step - 1, 206_160, cfg.optim) > lr_factor(step, 206_160, cfg.optim)
    ]
    assert len(dropped) == 3


def test_the_plan_of_slowfast_is_that_of_its_stepwise_kinetics_schedule():
    """Passes until which every shape lasts, of 239 x 1.5 passes in all."""
    found = build_plan(MultigridConfig(preset="slowfast"), clips=8, frames=32, size=224, steps=100_000)
    whole = found.clips_before(found.steps)
    until = [round(358.5 * found.clips_before(leg.end) / whole) for leg in found.legs]
    assert until == [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 358]
    first = found.legs[:4]
    assert column(first, lambda turn: turn.shape.size) == [[112, 158, 158]] * 2 + [[112, 158, 224]] * 2
    assert column(first, lambda turn: turn.clips) == [[128, 64, 64], [64, 32, 32], [64, 32, 16], [32, 16, 8]]
    assert [leg.turns[0].shape.frames for leg in first] == [8, 16, 16, 32]


def test_phases_that_are_given_lay_out_slowfasts_charades_schedule():
    """Steps at 41 and 49 of 57 passes, 64 frames; passes until which every shape lasts, of 57 x 1.5 in all."""
    cfg = MultigridConfig(preset="slowfast", phases=(41 / 57, 49 / 57))
    found = build_plan(cfg, clips=2, frames=64, size=224, steps=50_000)
    whole = found.clips_before(found.steps)
    until = [round(85.5 * found.clips_before(leg.end) / whole) for leg in found.legs]
    assert until == [31, 47, 60, 67, 73, 76, 79, 80, 86]
    shapes = [(turn.lr, turn.shape.frames, turn.shape.size) for turn in (leg.turns[-1] for leg in found.legs)]
    assert shapes == [(8, 16, 158), (4, 32, 158), (2, 32, 224), (1, 64, 224)] * 2 + [(1, 64, 224)]


def test_the_long_cycle_of_detection_pretraining_ends_where_ssdet_has_it():
    found = plan(
        clips=16, steps=718_333, phases=(0.025, 0.075, 0.2), short_cycle=(), scale_lr=False, clips_per_statistic=None
    )
    begun = {leg.phase: leg.first - 1 for leg in reversed(found.legs)}
    assert [begun[phase] for phase in (2, 3, 4)] == [17_958, 53_874, 143_666]
    assert {turn.lr for turn in found.turns} == {1.0} and {turn.norm_splits for turn in found.turns} == {1}
    assert [(turn.clips, turn.shape.frames, turn.shape.size) for turn in found.turns] == [
        (128, 4, 158),
        (64, 8, 158),
        (32, 8, 224),
        (16, 16, 224),
    ]


@some
@given(PRESETS, st.integers(1, 40), st.integers(1, 400), st.integers(1, 9))
def test_legs_cover_every_step_once_and_splits_divide_every_batch(preset, clips, steps, least):
    found = plan(preset, clips, steps, clips_per_statistic=least)
    assert found.legs[0].first == 0 and found.steps == steps
    assert all(before.end == after.first for before, after in zip(found.legs, found.legs[1:], strict=False))
    behind = 0
    for step in range(steps):
        turn = found.at(step)
        assert found.clips_before(step) == behind
        assert turn.clips % turn.norm_splits == 0
        assert turn.norm_splits == 1 or turn.clips // turn.norm_splits >= least
        behind += turn.clips
    assert found.clips_before(steps) == behind
    assert sum(found.share().values()) == pytest.approx(1)
    assert sum(part * turn.clips for turn, part in found.share().items()) * steps == pytest.approx(behind)
    for start in {1, steps // 2, steps - 1} - {steps}:
        rest = sum(part * turn.clips for turn, part in found.share(start).items()) * (steps - start)
        assert rest == pytest.approx(behind - found.clips_before(start))


@some
@given(PRESETS, st.integers(1, 30), st.integers(1, 3), st.integers(1, 2), st.integers(0, 40))
def test_batches_from_a_later_step_on_are_those_of_the_whole_run(preset, size, world, accumulate, start):
    def batches(first):
        options = {"accumulate": accumulate, "rank": world - 1, "world_size": world}
        return list(PlannedBatches(size, plan(preset, 2, 40), start=first, seed=3, **options))

    assert batches(start) == batches(0)[start * accumulate :]
    assert len(batches(start)) == len(PlannedBatches(size, plan(preset, 2, 40), start=start, accumulate=accumulate))


@some
@given(PRESETS, st.integers(1, 50), st.integers(1, 3))
def test_every_pass_shows_every_sample_once_whatever_the_batches_are(preset, size, world):
    laid_out = plan(preset, 2, 30)
    ranks = [list(PlannedBatches(size, laid_out, rank=rank, world_size=world)) for rank in range(world)]
    shown = [key[:2] for step in zip(*ranks, strict=True) for keys in step for key in keys]
    assert len(set(shown)) == len(shown) == laid_out.clips_before(30) * world
    whole, rest = divmod(len(shown), size)
    counts = [sum(epoch == number for epoch, _ in shown) for number in range(whole + 1)]
    assert counts == [size] * whole + [rest]
    for rank in ranks:
        for step, keys in enumerate(rank):
            assert len(keys) == laid_out.at(step).clips and {key[2] for key in keys} == {laid_out.at(step).shape}


def test_two_processes_share_the_batches_of_one_with_twice_the_clips():
    alone = list(PlannedBatches(50, plan("x3d", 4, 30)))
    halves = [list(PlannedBatches(50, plan("x3d", 2, 30), rank=rank, world_size=2)) for rank in (0, 1)]
    assert alone == [first + second for first, second in zip(*halves, strict=True)]


def test_passes_count_samples_and_not_steps():
    batches = PlannedBatches(100, plan("x3d", 4, 200), accumulate=2, world_size=3)
    assert batches.passes(0) == 0
    assert batches.passes(1) == (4 * 8 * 2) * 2 * 3 / 100
    assert batches.passes(2) == (4 * 8 * 3) * 2 * 3 / 100


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["multigrid.phases=[0.5]"], "multigrid.phases has no effect without multigrid.preset"),
        (["multigrid.preset=x3d", "multigrid.phases=[0.5,0.2]"], "must rise and lie between 0 and 1"),
        (["multigrid.preset=x3d", "multigrid.short_cycle=[[[1,1]],[[1,1]]]"], "has 2 lists and the long cycle 4"),
        (["multigrid.long_cycle=[[2,0.5,1],[1,1,1]]"], "multigrid.long_cycle needs multigrid.phases"),
        (["multigrid.preset=x3d", "model.norm_splits=2"], "set multigrid.clips_per_statistic=null"),
        (["multigrid.long_cycle=[[2,1.5,1]]"], "less than or equal to 1"),
        (["multigrid.preset=x4d"], "multigrid.preset='x4d'"),
    ],
)
def test_contradictions_are_told_in_terms_of_keys(words, told):
    with pytest.raises(ConfigError, match=told.replace("[", r"\[").replace("(", r"\(")) as error:
        load_config(PretrainConfig, None, words)
    assert "\n" not in str(error.value)


def test_splits_that_are_given_must_divide_every_batch():
    cfg = MultigridConfig(long_cycle=((1.5, 1, 1), (1, 1, 1)), phases=(0.5,), clips_per_statistic=None)
    with pytest.raises(ConfigError, match=r"batches of 3 clips, which cannot be cut into 2 splits"):
        build_plan(cfg, clips=2, frames=16, size=224, steps=10, norm_splits=2)
    kept = MultigridConfig(short_cycle=(((2.0, 0.5), (1.0, 1.0)),), clips_per_statistic=None)
    turns = build_plan(kept, clips=2, frames=16, size=64, steps=10, norm_splits=2).turns
    assert [(turn.clips, turn.shape.size, turn.norm_splits) for turn in turns] == [(4, 32, 2), (2, 64, 2)]
