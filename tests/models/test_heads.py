"""Heads against the published formulas, written here as plain loops over clips, classes, kernels and channels."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model, list_heads
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads.tgm import TGMLayer
from ssdet_cli.models.layers.temporal_kernels import KERNELS, TemporalKernels

D, K = 6, 5
#: Small, with an even kernel length and with the projection.
SMALL = {
    "linear": {"hidden": 7},
    "super_event": {"hidden": 7, "filters": 2},
    "tgm": {"channels": 3, "gaussians": 4, "length": 4, "units": 9},
    "tgm_super_event": {"channels": 3, "gaussians": 4, "length": 5, "units": 9, "feature_rate": 6.0},
}
LOOKS_AROUND = sorted(SMALL.keys() - {"linear"})


def build(name, seed=0, classes=K, **options):
    """A small head in evaluation whose every parameter matters: attention and choice away from their neutral start."""
    torch.manual_seed(seed)
    head = create_model(name, classes, in_channels=D, **{**SMALL[name], **options}).eval()
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            if key.rpartition(".")[2] in ("attention", "choice", "width", "centre"):
                parameter.normal_()
    return head


def rand(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def density(centre, width, steps, kernel, scale=1.0):
    """One kernel over `steps` steps, its T numbers summing to about 1."""
    middle = (steps - 1) * (math.tanh(centre) + 1) / 2
    values = []
    for t in range(steps):
        if kernel == "cauchy":
            gamma = scale * math.exp(1.5 - 2 * abs(math.tanh(width)))
            values.append(1 / (math.pi * gamma * (((t - middle) / gamma) ** 2 + 1)))
        else:
            values.append(math.exp(-((t - middle) ** 2) / (2 * scale**2 * math.exp(width))))
    total = sum(values) + (1e-6 if kernel == "cauchy" else 0.0)
    return [value / total for value in values]


def projected(head, x):
    """(T, D') of x (D, T)."""
    return x.T if head.fc1 is None else F.relu(x.T @ head.fc1.weight.T)


def super_event_scores(head, frames):
    """e (K,) of one video's frames (T, D')."""
    kernels, classes = head.super_events.kernels, head.classes
    count = len(kernels.centre) // 2
    events = []
    for which in range(2):
        sums = []
        for n in range(which * count, (which + 1) * count):
            f = density(kernels.centre[n].item(), kernels.width[n].item(), len(frames), kernels.kind, kernels.scale)
            sums.append(sum(weight * frame for weight, frame in zip(f, frames, strict=True)))
        events.append(torch.stack(sums).max(dim=0).values)
    scores = []
    for c in range(len(classes.choice)):
        part = torch.sigmoid(classes.choice[c])
        scores.append((classes.events[c] * (part * events[0] + (1 - part) * events[1])).sum())
    return torch.stack(scores)


def tgm_layer(layer, channels):
    """Channels of one video, a list of (D, T), to a list of (D, T)."""
    taps, (outputs, inputs, mixed) = layer.length, layer.attention.shape
    kernels = [
        density(layer.kernels.centre[m].item(), layer.kernels.width[m].item(), taps, layer.kernels.kind)
        for m in range(mixed)
    ]
    before = (taps - 1) // 2
    found = []
    for o in range(outputs):
        convolved = []
        for i in range(inputs):
            share = layer.attention[o, i].softmax(dim=0)
            kernel = torch.tensor([sum(share[m].item() * kernels[m][t] for m in range(mixed)) for t in range(taps)])
            padded = F.pad(channels[i], (before, taps - 1 - before))
            convolved.append(F.conv1d(padded[:, None], kernel[None, None])[:, 0])
        if inputs > 1:
            weighted = [layer.mix[o, i] * one for i, one in enumerate(convolved)]
            found.append(F.relu(sum(weighted) + layer.bias[o]))
        else:
            found.append(convolved[0])
    return found


def tgm_features(head, frames):
    channels = [frames.T]
    for layer in head.stack.layers:
        channels = tgm_layer(layer, channels)
    return torch.stack(channels).max(dim=0).values.T


def plain(name, head, x):
    """Logits (K, T) of one video x (D, T)."""
    frames = projected(head, x)
    if name == "linear":
        return (frames @ head.fc2.weight.T + head.fc2.bias).T
    if name == "super_event":
        return (frames @ head.classes.weight.T + head.classes.bias + super_event_scores(head, frames)).T
    parts, weights = [frames, tgm_features(head, frames)], [head.joint.weight]
    if name == "tgm_super_event":
        parts.append(super_event_scores(head, frames).expand(len(frames), -1))
        weights.append(head.classes.joint.T)
    hidden = F.relu(F.relu(torch.cat(parts, dim=1)) @ torch.cat(weights, dim=1).T + head.joint.bias)
    return (hidden @ head.classes.weight.T + head.classes.bias).T


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", LOOKS_AROUND)
@pytest.mark.parametrize("steps", [1, 3, 11])
def test_heads_are_the_published_formulas(name, kernel, steps):
    head, x = build(name, kernel=kernel), rand(1, 2, D, steps)
    with torch.no_grad():
        expected = torch.stack([plain(name, head, video) for video in x])
        torch.testing.assert_close(head(x), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), pad=st.integers(0, 9), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
def test_a_video_s_logits_depend_neither_on_its_batch_nor_on_its_padding(name, lengths, pad, seed):
    head = build(name, kernel="gaussian" if seed % 2 else "cauchy") if name != "linear" else build(name)
    videos = [rand(seed + n, D, length) for n, length in enumerate(lengths)]
    batch = 100 * rand(seed + 50, len(videos), D, max(lengths) + pad)
    for row, video in zip(batch, videos, strict=True):
        row[:, : video.shape[1]] = video
    with torch.no_grad():
        together = head(batch, torch.tensor(lengths))
        for row, video in zip(together, videos, strict=True):
            torch.testing.assert_close(row[:, : video.shape[1]], head(video[None])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LOOKS_AROUND)
def test_frames_see_others_and_padding_of_nan_is_not_seen(name):
    head, x = build(name), rand(1, 1, D, 9)
    changed = x.clone()
    changed[..., 5] += 1
    assert not torch.allclose(head(x)[..., 4], head(changed)[..., 4])
    x[..., 7:] = torch.nan
    assert head(x, torch.tensor([7]))[..., :7].isfinite().all()


@pytest.mark.parametrize("name", LOOKS_AROUND)
def test_lengths_out_of_range_are_taken_as_the_nearest(name):
    head, x = build(name, kernel="gaussian"), rand(1, 2, D, 4)
    torch.testing.assert_close(head(x, torch.tensor([0, 9])), head(x, torch.tensor([1, 4])))
    with pytest.raises(ValueError, match=r"lengths must be \(2,\), got \(3,\)"):
        head(x, torch.tensor([1, 2, 3]))


#: The authors' counts for 1024 features and 157 classes, and the parameters among them that have no effect.
PUBLISHED = {"super_event": (321_868, 6), "tgm": (1_132_093, 48), "tgm_super_event": (1_373_420, 54)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones_but_for_the_dead(name):
    total, dead = PUBLISHED[name]
    head = create_model(name, num_classes=157, in_channels=1024)
    assert sum(parameter.numel() for parameter in head.parameters()) == total - dead
    assert head(torch.randn(2, 1024, 3), torch.tensor([3, 1])).shape == (2, 157, 3)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    head = build(name, dropout=0.0).train()
    head(rand(1, 3, D, 8), torch.tensor([8, 5, 1])).square().sum().backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


def test_attention_and_choice_start_near_neutral_and_widths_at_their_widest():
    head = create_model("tgm_super_event", 157, in_channels=8)
    assert (head.classes.choice == 0).all()
    assert head.stack.layers[1].attention.abs().max() < 0.1
    weight = head.stack.layers[0].weight()
    torch.testing.assert_close(weight.sum(dim=-1), torch.ones(8, 1), atol=1e-5, rtol=0)
    assert head.super_events.kernels.width.abs().max() < 1e-3


def test_even_kernels_look_one_step_further_ahead_than_back():
    layer = TGMLayer(1, 1, gaussians=1, length=4)
    with torch.no_grad():
        impulse = layer(F.one_hot(torch.tensor([4]), 9).float()[:, None, None])[0, 0, 0]
    assert impulse.nonzero().flatten().tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("kind", KERNELS)
@given(steps=st.integers(1, 400), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
def test_kernels_are_distributions_over_the_valid_steps(kind, steps, seed):
    torch.manual_seed(seed)
    kernels = TemporalKernels(3, kind=kind)
    with torch.no_grad():
        kernels.centre.mul_(4)
        kernels.width.normal_(std=3.0)
    length = torch.tensor([1 + seed % steps])
    values = kernels(steps, length)[0]
    torch.testing.assert_close(values.sum(dim=-1), torch.ones(3), atol=1e-4, rtol=0)
    assert (values >= 0).all() and (values[:, length:] == 0).all()
    torch.testing.assert_close(values[:, :length], kernels(int(length)), atol=1e-6, rtol=1e-4)


def test_widths_follow_the_rate_of_the_features():
    torch.manual_seed(0)
    slow, fast = (create_model("super_event", 2, in_channels=2, feature_rate=rate) for rate in (3.0, 30.0))
    fast.load_state_dict(slow.state_dict())

    def breadth(head):
        values = head.super_events.kernels(301)[0]
        return (values > values.max() / 2).sum().item()

    assert breadth(slow) == 9  # 2 x 4.48 steps where the Cauchy density has half its height
    assert breadth(fast) == pytest.approx(90, abs=1)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_keeps_the_kernels_exact_and_the_logits_close(name):
    head, x = build(name), rand(1, 2, D, 300)
    lengths = torch.tensor([300, 291])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head(x, lengths)
        if name != "linear":
            part = head.stack.layers[1].weight if hasattr(head, "stack") else lambda: head.super_events.kernels(300)
            inside = part()
            assert inside.dtype == torch.float32
    if name != "linear":
        assert torch.equal(inside, part())
    torch.testing.assert_close(rounded.float(), head(x, lengths), atol=0.1, rtol=0.1)
    assert head.bfloat16()(x.bfloat16(), lengths).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["super_event", "tgm_super_event"])
def test_compiled_whole_and_exported_with_free_sizes(name):
    head, x, lengths = build(name), rand(1, 2, D, 9), torch.tensor([9, 4])
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, lengths), head(x, lengths))
    sizes = {0: torch.export.Dim("batch", max=64), 2: torch.export.Dim("steps", max=4096)}
    exported = torch.export.export(head, (x, lengths), dynamic_shapes=(sizes, {0: sizes[0]})).module()
    other, fewer = rand(2, 3, D, 21), torch.tensor([21, 1, 12])
    torch.testing.assert_close(exported(other, fewer), head(other, fewer), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tgm", {"lenght": 30}, "Unknown option 'lenght' for head 'tgm'. Did you mean 'length'?"),
        ("tgm", {"length": 0}, "length must be at least 1, got 0"),
        ("tgm", {"channels": "many"}, "Option channels='many': input should be a valid integer"),
        ("tgm", {"units": 0}, "units must be at least 1"),
        ("tgm_super_event", {"kernel": "gausian"}, "Unknown kernel 'gausian'. Did you mean 'gaussian'?"),
        ("super_event", {"filters": 0}, "filters must be at least 1"),
        ("super_event", {"feature_rate": 0}, "feature_rate must be above 0"),
        ("super_event", {"dropout": 1}, "dropout must be at least 0 and below 1"),
        ("linear", {"in_channels": 0}, "in_channels must be at least 1"),
        ("liner", {}, "Unknown head 'liner'. Did you mean 'linear'?"),
        ("x3d_tiny", {}, "in_channels is for heads.*'x3d_tiny' is a backbone"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(name, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        create_model(name, 3, **{"in_channels": 4, **options})
    assert "\n" not in str(caught.value)


def test_padding_of_a_clip_reaches_the_logits_through_the_backbone_only():
    """A strided stand-in for a backbone that sees each step by itself: then nothing of the padding remains."""

    class Strided(torch.nn.Module):
        temporal_stride, temporal_offset = 2, 0.5

        def forward_features(self, frames):
            padded = F.pad(frames.mean((3, 4)), (0, frames.shape[2] % 2), mode="replicate")
            return padded.unflatten(2, (-1, 2)).amax(dim=3)

    torch.manual_seed(0)
    model = FrameDetector(Strided(), create_model("tgm_super_event", K, in_channels=3, length=3)).eval()
    frames = rand(1, 2, 3, 12, 2, 2)
    frames[1, :, 7:] = frames[1, :, 6:7]
    logits = model(frames, torch.tensor([12, 7]))
    torch.testing.assert_close(logits[:1], model(frames[:1]))
    torch.testing.assert_close(logits[1:, :, :7], model(frames[1:, :, :7]))
    assert (logits[1, :, 7:] == logits[1, :, 7:8]).all()


def test_a_head_alone_needs_to_know_its_features():
    assert set(SMALL) <= set(list_heads())
    with pytest.raises(ConfigError, match="'tgm' is a head: give in_channels"):
        create_model("tgm", 3)
