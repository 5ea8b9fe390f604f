"""Super-event and TGM weights of their authors against the formulas of the papers' code, written out here."""

import math

import pytest
import torch
from torch.nn import functional as F

from ssdet_cli.models import create_model, load_weights

D, K, N, T = 6, 4, 3, 11


def draw(*shape):
    return torch.randn(*shape) * 0.5


def events_state(module=""):
    state = {"cls_wts": draw(K), "sup_mat": draw(1, K, D)}
    for name in ("super_event", "super_event2"):
        state |= {f"{name}.{part}": draw(N) for part in ("center", "delta", "gamma")}
        alias = name.replace("super_event", "sup")
        state |= {f"{alias}.{part}": state[f"{name}.{part}"] for part in ("center", "delta", "gamma")}
    return {f"{module}{name}": value for name, value in state.items()}


def per_frame_state():
    state = {"per_frame.weight": draw(K, D, 1, 1, 1), "per_frame.bias": draw(K)}
    return {**state, **{name.replace("per_frame", "pf"): value for name, value in state.items()}}


def tgm_state(inputs):
    state = {"h.weight": draw(512, inputs, 1), "h.bias": draw(512)}
    state |= {"classify.weight": draw(K, 512, 1), "classify.bias": draw(K)}
    for layer, rows in ((1, 8), (2, 64), (3, 64)):
        state |= {f"sub_event{layer}.{part}": draw(16) for part in ("center", "delta", "gamma")}
        state[f"sub_event{layer}.soft_attn"] = draw(rows, 16)
        if layer > 1:
            for output in range(8):
                state[f"sub_event{layer}.convs.{output}.weight"] = draw(1, 8, 1, 1)
                state[f"sub_event{layer}.convs.{output}.bias"] = draw(1)
    return state


def kernels(state, name, length):
    rows = []
    for centre, gamma in zip(state[f"{name}.center"], state[f"{name}.gamma"], strict=True):
        c, width = (length - 1) * (torch.tanh(centre) + 1) / 2, torch.exp(1.5 - 2 * torch.tanh(gamma).abs())
        row = torch.stack([1 / (math.pi * width * (((t - c) / width) ** 2 + 1)) for t in range(length)])
        rows.append(row / (row.sum() + 1e-6))
    return torch.stack(rows)


def event_scores(state, x):
    sums = [
        torch.einsum("nt,bdt->bdn", kernels(state, name, x.shape[2]), x).max(2).values
        for name in ("super_event", "super_event2")
    ]
    alpha = torch.sigmoid(state["cls_wts"])[None, :, None]
    mixed = alpha * sums[0][:, None] + (1 - alpha) * sums[1][:, None]
    return (state["sup_mat"] * mixed).sum(2)


def tgm_features(state, x):
    channels = [x]
    for layer in (1, 2, 3):
        name, inputs = f"sub_event{layer}", len(channels)
        kernel = torch.softmax(state[f"{name}.soft_attn"], 1) @ kernels(state, name, 5)
        outputs = []
        for output in range(8):
            convolved = [
                F.conv1d(F.pad(c, (2, 2)).flatten(0, 1)[:, None], kernel[output * inputs + i][None, None]).view(x.shape)
                for i, c in enumerate(channels)
            ]
            if inputs == 1:
                outputs.append(convolved[0])
                continue
            weight = state[f"{name}.convs.{output}.weight"].flatten()
            total = sum(w * c for w, c in zip(weight, convolved, strict=True)) + state[f"{name}.convs.{output}.bias"]
            outputs.append(F.relu(total))
        channels = outputs
    return torch.stack(channels).max(0).values


def classify(state, inputs):
    hidden = F.relu(F.conv1d(F.relu(inputs), state["h.weight"], state["h.bias"]))
    return F.conv1d(hidden, state["classify.weight"], state["classify.bias"])


def super_event_logits(state, x):
    frames = F.conv1d(x, state["per_frame.weight"].view(K, D, 1), state["per_frame.bias"])
    return frames + event_scores(state, x)[:, :, None]


def tgm_logits(state, x):
    return classify(state, torch.cat((x, tgm_features(state, x)), 1))


def both_logits(state, x):
    scores = event_scores(state, x)[:, :, None].expand(-1, -1, x.shape[2])
    return classify(state, torch.cat((x, tgm_features(state, x), scores), 1))


@pytest.mark.parametrize(
    ("head", "write", "logits"),
    [
        ("super_event", lambda: {**events_state(), **per_frame_state()}, super_event_logits),
        ("tgm", lambda: tgm_state(2 * D), tgm_logits),
        ("tgm_super_event", lambda: {**events_state(), **tgm_state(2 * D + K)}, both_logits),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_logits_are_the_authors(tmp_path, head, write, logits, prefix):
    torch.manual_seed(0)
    state = write()
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, tmp_path / "w.pt")
    model = create_model(head, K, in_channels=D).eval()
    report = load_weights(model, tmp_path / "w.pt")
    assert report.layout == "super-events/TGM" and not report.missing and not report.unexpected
    assert set(report.matched) == set(model.state_dict())
    x = torch.randn(2, D, T)
    with torch.no_grad():
        torch.testing.assert_close(model(x), logits(state, x), atol=1e-4, rtol=1e-4)


def test_a_head_s_own_state_and_a_detector_s_fill_a_head_alone(tmp_path):
    source = create_model("tgm", K, in_channels=D)
    torch.save(source.state_dict(), tmp_path / "head.pt")
    torch.save({f"head.{name}": value for name, value in source.state_dict().items()}, tmp_path / "detector.pt")
    for name in ("head.pt", "detector.pt"):
        target = create_model("tgm", K, in_channels=D)
        assert not load_weights(target, tmp_path / name).missing
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())
