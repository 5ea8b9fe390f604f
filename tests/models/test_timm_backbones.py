"""Image models of timm on frames, and what is behind them."""

import copy

import pytest
import timm
import torch
from test_checkpointing import kept_bytes

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model, list_models
from ssdet_cli.models.backbones import BACKBONES

IMAGE_MODELS = ("test_resnet", "test_vit", "test_efficientnet", "test_convnext")


def moving(model):
    """Give the blocks over time, which begin as the identity, something to do."""
    for block in model.backbone.time:
        torch.nn.init.normal_(block.mix.weight, std=0.1)
    return model


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_features_of_frames_are_timms_own_at_the_start(name):
    model = create_model(f"timm/{name}", 3).eval()
    image = timm.create_model(name, num_classes=0).eval()
    image.load_state_dict(model.backbone.image.state_dict())
    clips = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        expected = torch.stack([image(clips[:, :, index]) for index in range(3)], dim=2)
        torch.testing.assert_close(model.backbone.forward_features(clips), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_stages_are_those_of_timms_feature_extractor(name):
    backbone = create_model(f"timm/{name}", 3).backbone.eval()
    depth = len(backbone.stage_names) - 1
    options = {"dynamic_img_size": True} if "vit" in name else {}
    extractor = timm.create_model(name, features_only=True, out_indices=tuple(range(depth)), **options).eval()
    inner = extractor.model if "vit" in name else extractor
    inner.load_state_dict(
        {
            key.replace(".", "_", 1) if key.replace(".", "_", 1) in inner.state_dict() else key: value
            for key, value in backbone.image.state_dict().items()
        },
        strict=False,
    )
    clips = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad():
        found = backbone.forward_stages(clips, backbone.stage_names)
        for index in range(2):
            expected = extractor(clips[:, :, index])
            for stage, picture in zip(list(found.values())[:-1], expected, strict=True):
                torch.testing.assert_close(stage[:, :, index], picture, atol=1e-5, rtol=1e-4)
    assert [stage.shape[1] for stage in found.values()] == list(backbone.stage_channels)
    torch.testing.assert_close(found["time"].mean((3, 4)), backbone.forward_features(clips))


def test_what_is_behind_sees_motion_once_it_has_learnt():
    clips = torch.randn(1, 3, 9, 32, 32)
    model = create_model("timm/test_resnet", 3).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(clips.flip(2)).flip(2), model(clips), atol=1e-6, rtol=1e-5)
        moving(model)
        assert not torch.allclose(model(clips.flip(2)).flip(2), model(clips), atol=1e-4)
        other = clips.clone()
        other[:, :, 8] += 1
        changed = (model(other) - model(clips)).abs().amax((0, 1)) > 1e-7
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7, 8] or changed[1:].all()
    assert not changed[0]  # two blocks of five frames reach four frames


@pytest.mark.parametrize("chunk", [1, 4, 5, 100])
def test_chunks_of_frames_change_nothing_in_evaluation(chunk):
    torch.manual_seed(0)
    model = moving(create_model("timm/test_resnet", 3)).eval()
    clips = torch.randn(2, 3, 5, 32, 32)
    seen = []
    model.backbone.image.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.no_grad():
        whole = model(clips)
        model.backbone.frames_per_chunk = chunk
        torch.testing.assert_close(model(clips), whole, atol=1e-6, rtol=1e-5)
    assert seen[0] == 10 and max(seen[1:]) == min(chunk, 10) and sum(seen[1:]) == 10


def test_evaluation_goes_in_chunks_and_training_at_once_by_default():
    model = create_model("timm/test_resnet", 3)
    seen = []
    model.backbone.image.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.no_grad():
        model.train()(torch.randn(1, 3, 70, 32, 32))
        model.eval()(torch.randn(1, 3, 70, 32, 32))
    assert seen == [70, 64, 6]


@pytest.mark.parametrize("frames", [8, 64])
@pytest.mark.parametrize("training", [False, True])
def test_no_more_frames_than_a_chunk_are_in_the_image_model_at_once_whatever_the_length(frames, training):
    model = create_model("timm/test_vit", 3, frames_per_chunk=4, checkpoint_activations=training).train(training)
    seen = {"image": [], "block": []}
    model.backbone.image.register_forward_pre_hook(lambda _, inputs: seen["image"].append(len(inputs[0])))
    model.backbone.image.blocks[0].register_forward_pre_hook(lambda _, inputs: seen["block"].append(len(inputs[0])))
    with torch.set_grad_enabled(training):
        logits = model(torch.randn(1, 3, frames, 32, 32))
    assert seen["image"] == seen["block"] == [4] * (frames // 4)
    if training:  # and once more in the backward pass
        logits.sum().backward()
        assert seen["block"] == [4] * (frames // 4 * 2)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_checkpointing_keeps_less_and_changes_neither_gradients_nor_statistics(name):
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    models, kept = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        options = {"dropout": 0.0, "frames_per_chunk": 4, "checkpoint_activations": checkpointing}
        model = copy.deepcopy(create_model(f"timm/{name}", 3, **options).double().train())  # as an average of weights
        for _ in range(2):
            size, logits = kept_bytes(model, clips)
            logits.square().mean().backward()
        models.append(model)
        kept.append(size)
    assert kept[1] < 0.8 * kept[0]  # timm's test networks have a block or two per stage
    plain, checkpointed = models
    for (key, expected), found in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=key)
    for (key, expected), found in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(found, expected), key
    assert all(norm.num_batches_tracked == 4 for norm in plain.modules() if isinstance(norm, torch.nn.BatchNorm2d))


def test_normalisation_and_crop_are_timms():
    backbone = create_model("timm/test_vit", 3).backbone
    config = timm.get_pretrained_cfg("test_vit")
    assert backbone.normalization == (config.mean, config.std)
    assert backbone.default_clip[2] == config.input_size[1] == 160


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/resnet19", {}, r"timm has no image model 'resnet19'\. Did you mean 'resnet1"),
        ("timm/test_resnet.r160_in1", {}, r"'test_resnet\.r160_in1'\. Did you mean 'test_resnet\.r160_in1k'"),
        ("tim/resnet18", {}, r"Unknown backbone 'tim/resnet18'\. Did you mean 'timm/resnet18'.*timm/<name>"),
        ("timm/", {}, r"Unknown backbone 'timm/'"),
        ("timm/test_resnet", {"time_kernel": 4}, "time_kernel odd"),
        ("timm/test_resnet", {"frames_per_chunk": 0}, "frames_per_chunk must be at least 1"),
        ("timm/test_resnet", {"time_depht": 4}, "Did you mean 'time_depth'"),
    ],
)
def test_names_and_options_that_are_wrong_are_one_line(name, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        create_model(name, 3, **options)
    assert "\n" not in str(caught.value)


def test_a_model_of_one_size_says_so_and_others_take_any():
    with pytest.raises(ConfigError, match=r"test_vit_relpos takes 160x160 pixels only, got 64x64 \(clip\.size\)"):
        create_model("timm/test_vit_relpos", 3)(torch.randn(1, 3, 1, 64, 64))
    assert create_model("timm/test_vit", 3)(torch.randn(1, 3, 1, 64, 96)).shape == (1, 3, 1)


def test_the_family_is_not_listed_and_needs_no_torch_to_be_recognised():
    assert not any(name.startswith("timm/") for name in list_models())
    assert BACKBONES.canonical("timm/whatever") == "timm/whatever"
