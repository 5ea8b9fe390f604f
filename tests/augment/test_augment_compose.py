import pytest
import torch

from ssdet_cli.augment import (
    VolumeAugment,
    VolumeDraws,
    draw_freeze,
    draw_partner,
    draw_windows,
    fixed_freeze_draw,
    fixed_mix_draw,
    volume_cutmix,
    volume_freeze,
    volume_mixup,
)
from ssdet_cli.errors import ConfigError
from ssdet_cli.video.transforms import Normalize


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips_and_classes(batch=4, frames=8, width=20):
    clips = torch.rand(batch, 3, frames, 4, width, generator=seeded(0))
    return clips, torch.eye(batch + 1)[1:, :, None].expand(-1, -1, frames)


def test_methods_are_applied_in_the_order_freeze_mixup_cutmix():
    clips, labels = clips_and_classes()
    augment = VolumeAugment(methods=("cutmix", "freeze", "mixup"), probability=1)
    draws = augment.draw(4, 8, seeded(0))
    expected = volume_freeze(clips, labels, *draws.freeze)
    expected = volume_mixup(*expected, *draws.mixup)
    expected = volume_cutmix(*expected, *draws.cutmix)
    for got, want in zip(augment.apply(clips, labels, draws), expected, strict=True):
        assert torch.equal(got, want)


def test_calling_draws_from_the_generator_and_applies():
    clips, labels = clips_and_classes()
    augment = VolumeAugment(probability=1)
    called = augment(clips, labels, seeded(5))
    applied = augment.apply(clips, labels, augment.draw(4, 8, seeded(5)))
    assert torch.equal(called[0], applied[0])
    assert torch.equal(called[1], applied[1])
    assert not torch.equal(called[0], augment(clips, labels, seeded(6))[0])


def test_each_mixing_method_has_a_fresh_partner_permutation():
    draws = VolumeAugment(probability=1).draw(32, 8, seeded(0))
    assert not torch.equal(draws.mixup.partner, draws.cutmix.partner)
    assert sorted(draws.cutmix.partner.tolist()) == list(range(32))


def test_each_method_is_on_for_half_of_the_batches_and_independently():
    augment, generator = VolumeAugment(), seeded(0)
    combinations = [augment.draw(1, 4, generator).methods for _ in range(1600)]
    counts = {combination: combinations.count(combination) for combination in set(combinations)}
    assert len(counts) == 8
    assert all(150 < count < 250 for count in counts.values())


def test_each_method_can_have_its_own_probability():
    augment, generator = VolumeAugment(probability={"freeze": 1.0, "mixup": 0.0}), seeded(0)
    drawn = [augment.draw(1, 4, generator).methods for _ in range(200)]
    assert all("freeze" in methods and "mixup" not in methods for methods in drawn)
    assert 60 < sum("cutmix" in methods for methods in drawn) < 140


def test_a_methods_draw_does_not_depend_on_which_others_take_part():
    alone = VolumeAugment(methods=("cutmix",), probability=1).draw(4, 8, seeded(2))
    together = VolumeAugment(probability=1).draw(4, 8, seeded(2))
    assert alone.methods == ("cutmix",)
    assert all(torch.equal(a, b) for a, b in zip(alone.cutmix, together.cutmix, strict=True))


def test_with_every_method_off_clips_come_back_as_they_are():
    clips, labels = clips_and_classes()
    got, soft = VolumeAugment(probability=0)(clips, labels, seeded(0))
    assert got is clips
    assert torch.equal(soft, labels)


def test_up_to_four_clips_share_a_frame_and_columns_sum_to_one():
    clips, labels = clips_and_classes(batch=8, frames=16)
    most = 0
    for seed in range(20):
        augment = VolumeAugment(methods=("mixup", "cutmix"), probability=1)
        _, soft = augment(clips, labels, seeded(seed))
        torch.testing.assert_close(soft.sum(dim=1), torch.ones(8, 16), atol=1e-6, rtol=0)
        most = max(most, int((soft > 0).sum(dim=1).max()))
    assert most == 4


def test_validation_uses_the_fixed_draws_for_every_chosen_method():
    clips, labels = clips_and_classes()
    augment = VolumeAugment(probability=0)
    expected = volume_freeze(clips, labels, *fixed_freeze_draw(4, 8))
    expected = volume_mixup(*expected, *fixed_mix_draw(4, 8))
    expected = volume_cutmix(*expected, *fixed_mix_draw(4, 8))
    for got, again, want in zip(augment.fixed(clips, labels), augment.fixed(clips, labels), expected, strict=True):
        assert torch.equal(got, want)
        assert torch.equal(got, again)
    assert VolumeAugment(methods=("mixup",)).fixed_draw(4, 8).methods == ("mixup",)


def test_without_background_frozen_frames_have_no_label():
    clips, labels = clips_and_classes()
    _, soft = VolumeAugment(methods=("freeze",), probability=1, background=False)(clips, labels, seeded(0))
    sums = soft.sum(dim=1)
    assert ((sums == 0) | (sums == 1)).all()
    assert (sums == 0).any(dim=1).all()
    assert soft[:, 0].eq(0).all()


def test_the_style_of_cutmix_is_passed_on():
    clips, labels = clips_and_classes()
    augment = VolumeAugment(methods="cutmix", probability=1, cutmix_style="pan")
    draws = augment.draw(4, 8, seeded(0))
    assert torch.equal(augment.apply(clips, labels, draws)[0], volume_cutmix(clips, labels, *draws.cutmix, "pan")[0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32])
def test_all_methods_together_keep_the_type_of_clips(dtype):
    clips, labels = clips_and_classes()
    before = (200 * clips).to(dtype)
    kept = before.clone()
    got, soft = VolumeAugment(probability=1)(before, labels, seeded(0))
    assert (got.dtype, got.shape, soft.dtype) == (dtype, clips.shape, torch.float32)
    assert torch.equal(before, kept)


def test_frame_weights_tell_what_every_frame_shows():
    batch, frames, width = 4, 12, 32
    augment = VolumeAugment(probability=1)
    draws = augment.draw(batch, frames, seeded(1))
    weights = augment.frame_weights(draws, batch, frames, width)
    assert weights.shape == (batch, batch + 1, frames)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch, frames), atol=1e-6, rtol=0)
    # Clip i is filled with 2^i and never freezes here, so the mean pixel must be the weighted sum of its sources.
    moving = VolumeDraws(mixup=draws.mixup, cutmix=draws.cutmix)
    value = 2.0 ** torch.arange(batch)
    clips = value[:, None, None, None, None].expand(batch, 1, frames, 2, width)
    mixed, _ = augment.apply(clips, torch.zeros(batch, 1, frames), moving)
    shown = augment.frame_weights(moving, batch, frames, width)[:, 1:]
    torch.testing.assert_close(mixed.mean(dim=(1, 3, 4)), torch.einsum("bit,i->bt", shown, value))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("freeze", "cutmixx")}, "Unknown augmentation 'cutmixx'. Did you mean 'cutmix'"),
        ({"probability": 1.5}, "probability of freeze must be between 0 and 1, got 1.5"),
        ({"probability": {"mixupp": 0.5}}, "Unknown augmentation 'mixupp'. Did you mean 'mixup'"),
        ({"probability": {"mixup": -1}}, "probability of mixup must be between 0 and 1, got -1"),
        ({"cutmix_style": "pam"}, "Unknown CutMix style 'pam'. Did you mean 'pan'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as refused:
        VolumeAugment(**options)
    assert "\n" not in str(refused.value)


def test_batches_that_do_not_fit_are_refused():
    clips, labels = clips_and_classes()
    with pytest.raises(ConfigError, match=r"labels must be \(4, K, 8\)"):
        VolumeAugment()(clips, labels[:, :, :5], seeded(0))
    with pytest.raises(ConfigError, match="at least 2 frames, got 1"):
        VolumeAugment()(clips[:, :, :1], labels[:, :, :1], seeded(0))


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    torch.compiler.reset()


class CountingBackend:
    """Runs what was captured as it is (no C++ compiler needed) and counts the graphs."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module, example_inputs):
        self.graphs += 1
        return module.forward


def draw_for(function, generator):
    if function is volume_freeze:
        return draw_freeze(4, 8, generator)
    return (*draw_windows(4, 8, generator), draw_partner(4, generator))


@pytest.mark.parametrize(
    ("function", "options"),
    [(volume_freeze, {}), (volume_mixup, {}), (volume_cutmix, {}), (volume_cutmix, {"style": "pan"})],
    ids=["freeze", "mixup", "sweep", "pan"],
)
def test_each_method_is_one_graph_for_all_draws(function, options, fresh_compiler):
    backend, generator = CountingBackend(), seeded(0)
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    clips, labels = clips_and_classes()
    for _ in range(8):
        draws = draw_for(function, generator)
        got, soft = compiled(clips, labels, *draws, **options)
        want, want_soft = function(clips, labels, *draws, **options)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
        torch.testing.assert_close(soft, want_soft, atol=1e-6, rtol=0)
    assert backend.graphs == 1


def test_the_composition_compiles_at_most_once_per_combination_of_switches(fresh_compiler):
    augment, backend, generator = VolumeAugment(), CountingBackend(), seeded(0)
    compiled = torch.compile(augment.apply, fullgraph=True, backend=backend)
    clips, labels = clips_and_classes()
    seen = set()
    for _ in range(40):
        draws = augment.draw(4, 8, generator)
        seen.add(draws.methods)
        got, soft = compiled(clips, labels, draws)
        want, want_soft = augment.apply(clips, labels, draws)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
        torch.testing.assert_close(soft, want_soft, atol=1e-6, rtol=0)
    assert len(seen) == 8
    assert backend.graphs <= 8


def test_a_compiling_augmentation_has_three_graphs_whatever_is_switched_on(fresh_compiler, monkeypatch):
    backend = CountingBackend()
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: original(function, backend=backend, **options))
    augment, plain, generator = VolumeAugment(compile=True), VolumeAugment(), seeded(0)
    clips, labels = clips_and_classes()
    for step in range(24):
        draws = augment.draw(4, 8, generator)
        with torch._dynamo.config.patch(error_on_recompile=step >= 16):
            got, soft = augment.apply(clips, labels, draws)
        want, want_soft = plain.apply(clips, labels, draws)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
        torch.testing.assert_close(soft, want_soft, atol=1e-6, rtol=0)
    assert backend.graphs == 3


def raw_clips(batch=4, frames=8):
    return torch.randint(0, 256, (batch, 3, frames, 4, 20), dtype=torch.uint8, generator=seeded(1))


def test_clips_are_normalised_once_whichever_methods_are_on():
    clips, (_, labels), generator = raw_clips(), clips_and_classes(), seeded(0)
    normalize, seen = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)), set()
    augment, plain = VolumeAugment(normalize=normalize), VolumeAugment()
    for _ in range(40):
        draws = augment.draw(4, 8, generator)
        seen.add(draws.methods)
        for got, want in zip(
            augment.apply(clips, labels, draws), plain.apply(normalize(clips), labels, draws), strict=True
        ):
            assert torch.equal(got, want)
        assert torch.equal(augment.frame_weights(draws, 4, 8, 20), plain.frame_weights(draws, 4, 8, 20))
    assert len(seen) == 8


def test_normalisation_is_in_the_graph_of_the_first_method(fresh_compiler, monkeypatch):
    graphs, original = [], torch.compile

    def keep(module, example_inputs):
        graphs.append((module, example_inputs))
        return module.forward

    monkeypatch.setattr(torch, "compile", lambda function, **options: original(function, backend=keep, **options))
    clips, (_, labels), generator = raw_clips(), clips_and_classes(), seeded(0)
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    augment, plain = VolumeAugment(compile=True, normalize=normalize), VolumeAugment()
    for step in range(40):
        draws = augment.draw(4, 8, generator)
        with torch._dynamo.config.patch(error_on_recompile=step >= 32):
            got, soft = augment.apply(clips, labels, draws)
        want, want_soft = plain.apply(normalize(clips), labels, draws)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
        torch.testing.assert_close(soft, want_soft, atol=1e-6, rtol=0)
    # Freeze is always the first; MixUp and CutMix are the first or come later; and normalisation alone.
    takes_bytes = [
        any(isinstance(one, torch.Tensor) and one.dtype == torch.uint8 for one in args) for _, args in graphs
    ]
    assert (len(graphs), sum(takes_bytes)) == (6, 4)
    for (module, _), raw in zip(graphs, takes_bytes, strict=True):
        assert raw == any("addcmul" in str(node.target) for node in module.graph.nodes)


@pytest.mark.parametrize("normalize", [None, Normalize()], ids=["floats", "bytes"])
def test_compiled_kernels_give_the_same_and_take_every_draw(fresh_compiler, normalize):
    clips, labels = clips_and_classes()
    clips = raw_clips() if normalize else clips
    augment = VolumeAugment(probability=1, compile=True, normalize=normalize)
    plain = VolumeAugment(probability=1, normalize=normalize)
    augment(clips, labels, seeded(0))
    with torch.compiler.set_stance("fail_on_recompile"):
        for seed in (1, 2, 3):
            got, soft = augment(clips, labels, seeded(seed))
            want, want_soft = plain(clips, labels, seeded(seed))
            torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
            torch.testing.assert_close(soft, want_soft, atol=1e-5, rtol=0)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("raw", [False, True], ids=["floats", "bytes"])
def test_on_a_gpu_nothing_waits_and_the_result_is_that_of_the_cpu(compile, raw, fresh_compiler):
    clips, labels = clips_and_classes()
    clips = raw_clips() if raw else clips
    on_gpu = clips.cuda(), labels.cuda()
    there, here = (Normalize().cuda(), Normalize()) if raw else (None, None)
    augment = VolumeAugment(probability=1, compile=compile, normalize=there)
    plain = VolumeAugment(probability=1, normalize=here)
    augment(*on_gpu, seeded(0))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [augment(*on_gpu, seeded(seed)) for seed in range(8)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for seed, (got, soft) in enumerate(results):
        want, want_soft = plain(clips, labels, seeded(seed))
        torch.testing.assert_close(got.cpu(), want, atol=1e-5, rtol=0)
        torch.testing.assert_close(soft.cpu(), want_soft, atol=1e-5, rtol=0)
