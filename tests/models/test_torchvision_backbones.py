"""torchvision's video networks as ours, against the same modules run by torchvision itself."""

import re

import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from torch import Tensor

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones.info import INFO

NAMES = [name.removeprefix("torchvision/") for name in INFO if name.startswith("torchvision/")]
RESNETS = ("r3d_18", "mc3_18", "r2plus1d_18")
MVITS = ("mvit_v1_b", "mvit_v2_s")


def pair(name: str, classes: int = 4):
    """Our network and torchvision's with the same weights, norms that do something."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    ours = create_model(f"torchvision/{name}", classes).eval()
    unexpected = ours.backbone.video.load_state_dict(theirs.state_dict(), strict=False)
    assert not unexpected.missing_keys
    assert all(key.startswith(("fc.", "head.", "classifier.")) for key in unexpected.unexpected_keys)
    return ours, theirs


def recorded(module: torch.nn.Module) -> list[Tensor]:
    """What the module returns from now on."""
    outputs: list[Tensor] = []
    module.register_forward_hook(lambda _, __, output: outputs.append(output))
    return outputs


def test_every_video_network_of_torchvision_is_there():
    assert set(NAMES) == set(torchvision.models.list_models(module=torchvision.models.video))


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_give_torchvisions_stages_and_their_logit_is_the_mean_over_steps(name):
    ours, theirs = pair(name, 400)
    ours.head.fc2.load_state_dict(theirs.fc.state_dict())
    stages = {layer: recorded(getattr(theirs, layer)) for layer in ours.backbone.stage_names}
    clips = torch.randn(2, 3, 9, 32, 32)
    with torch.no_grad():
        expected = theirs(clips)
        found = ours.backbone.forward_stages(clips, ours.backbone.stage_names)
        for layer, outputs in stages.items():
            torch.testing.assert_close(found[layer], outputs[0])
        logits = ours.head(ours.backbone.forward_features(clips))
    torch.testing.assert_close(logits.mean(2), expected, atol=1e-4, rtol=1e-4)


def test_s3d_gives_torchvisions_stages():
    ours, theirs = pair("s3d")
    clips = torch.randn(1, 3, 16, 48, 48)
    with torch.no_grad():
        found = ours.backbone.forward_stages(clips, ours.backbone.stage_names)
        for stage, end in zip(found.values(), (4, 7, 13, 16), strict=True):
            torch.testing.assert_close(stage, theirs.features[:end](clips))


def test_swin_gives_torchvisions_stages_and_its_logit_is_the_mean_over_steps():
    ours, theirs = pair("swin3d_t", 400)  # s and b are the same modules, more or wider of them
    ours.head.fc2.load_state_dict(theirs.head.state_dict())
    outputs = [recorded(theirs.features[index]) for index in (0, 2, 4)] + [recorded(theirs.norm)]
    clips = torch.randn(1, 3, 5, 64, 72)
    with torch.no_grad():
        expected = theirs(clips)
        found = ours.backbone.forward_stages(clips, ours.backbone.stage_names)
        for stage, output in zip(found.values(), outputs, strict=True):
            torch.testing.assert_close(stage, output[0].permute(0, 4, 1, 2, 3))
        logits = ours.head(ours.backbone.forward_features(clips))
    torch.testing.assert_close(logits.mean(2), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MVITS)
def test_mvit_is_torchvisions_with_its_positions_made_for_a_smaller_clip(name):
    ours, theirs = pair(name)
    positions = theirs.pos_encoding
    if positions.spatial_pos is not None:
        space = positions.spatial_pos.data.T.view(1, -1, 56, 56)
        space = F.interpolate(space, size=(10, 9), mode="bicubic")[0].flatten(1).T
        time = F.interpolate(positions.temporal_pos.data.T[None], size=3, mode="linear")[0].T
        positions.spatial_pos, positions.temporal_pos = torch.nn.Parameter(space), torch.nn.Parameter(time)
    positions.temporal_size, positions.spatial_size = 3, (10, 9)
    tokens, blocks = recorded(theirs.norm), [recorded(theirs.blocks[index]) for index in (0, 2, 13)]
    clips = torch.randn(1, 3, 5, 40, 36)
    with torch.no_grad():
        theirs(clips)
        found = ours.backbone.forward_stages(clips, ours.backbone.stage_names)
    for (name, stage), output in zip(found.items(), [block[0][0] for block in blocks] + tokens, strict=True):
        torch.testing.assert_close(stage.flatten(2).transpose(1, 2), output[:, 1:], msg=name)


@pytest.mark.parametrize("name", MVITS)
def test_mvits_positions_are_torchvisions_own_at_its_native_size(name):
    ours, theirs = pair(name)
    tokens = torch.randn(2, 8 * 56 * 56, 96)
    with torch.no_grad():
        found = ours.backbone._with_positions(tokens, (8, 56, 56))
        torch.testing.assert_close(found, theirs.pos_encoding(tokens), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", [*RESNETS, "s3d"])
def test_steps_of_convolutional_networks_are_centred_where_they_say(name):
    """All kernels average: a ramp in time comes out as the frames at which the steps are centred.

    Pooling takes a maximum: it moves a rising ramp ahead by what it moves a falling one back.
    """
    backbone = create_model(f"torchvision/{name}", 2).backbone.eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    length, size = 128, backbone.smallest_crop + 3
    frame = torch.arange(float(length))
    clips = torch.stack((torch.ones(length), frame, length - 1 - frame))
    with torch.no_grad():
        clips = clips[:, None, :, None, None].expand(-1, 3, -1, size, size)
        still, rising, falling = backbone.forward_features(clips)[:, 0]
    centres = ((rising - falling) / still + length - 1) / 2
    expected = torch.arange(float(len(centres))) * backbone.temporal_stride + backbone.temporal_offset
    middle = slice(len(centres) // 2 - 1, len(centres) // 2 + 1)
    torch.testing.assert_close(centres[middle], expected[middle], atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("name", "embed"),
    [("mvit_v1_b", "conv_proj"), ("mvit_v2_s", "conv_proj"), ("swin3d_t", "patch_embed")],
)
def test_patches_are_centred_where_the_transformers_say(name, embed):
    backbone = create_model(f"torchvision/{name}", 2).backbone
    clips = torch.randn(1, 3, 16, 32, 32, requires_grad=True)
    steps = getattr(backbone.video, embed)(clips)
    step = steps[:, :, 4] if embed == "conv_proj" else steps[:, 4]
    step.sum().backward()
    seen = clips.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten()
    assert (seen[0] + seen[-1]).item() / 2 == 4 * backbone.temporal_stride + backbone.temporal_offset


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_clip_and_size_are_those_of_the_published_weights(name):
    weights = torchvision.models.get_model_weights(name).DEFAULT
    info = INFO[f"torchvision/{name}"]
    said = dict(re.findall(r"`(\w+)=([\d.]+)`", weights.meta["_docs"]))
    assert info.parameters == weights.meta["num_params"]
    assert (info.frames, info.stride) == (int(said["clip_len"]), 30 / float(said["frame_rate"]))  # Kinetics: 30 fps
    preset = weights.transforms()
    assert preset.crop_size[0] == info.crop
    with torch.device("meta"):
        backbone = create_model(f"torchvision/{name}", 2).backbone
    assert backbone.normalization == (tuple(preset.mean), tuple(preset.std))
    if name in (*RESNETS, "s3d"):
        assert backbone.normalization == ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


def test_frames_between_steps_are_interpolated_in_the_logits():
    model = create_model("torchvision/r2plus1d_18", 3).eval()
    clips = torch.randn(1, 3, 17, 16, 16)
    with torch.no_grad():
        steps, logits = model.head(model.backbone.forward_features(clips)), model(clips)
    assert steps.shape[2] == 3
    torch.testing.assert_close(logits[..., [0, 8, 16]], steps)
    torch.testing.assert_close(logits[..., 10], 0.75 * steps[..., 1] + 0.25 * steps[..., 2])


@pytest.mark.parametrize("frames", [1, 3, 12])
def test_s3d_repeats_the_last_frame_where_its_last_pooling_would_drop_steps(frames):
    model = create_model("torchvision/s3d", 3).eval()
    clips = torch.randn(1, 3, frames, 32, 32)
    longer = torch.cat((clips, clips[:, :, -1:].expand(-1, -1, -frames % 8, -1, -1)), 2)
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model(longer)[..., :frames])


def test_a_crop_that_is_too_small_is_one_line():
    with pytest.raises(ConfigError, match=r"torchvision/s3d needs 17² pixels or more, got 16x32\."):
        create_model("torchvision/s3d", 3)(torch.randn(1, 3, 8, 16, 32))
