"""Every head on backbones of every kind: what a video's scores depend on where clips of a batch differ in length."""

import pytest
import torch

from ssdet_cli.models import create_model
from ssdet_cli.models.detectors.frame import FrameDetector

CLASSES, FRAMES, SIZE = 4, 12, 32
#: Convolutions and attention, one frame at a time, strides of 1, 2 and 8, and two pathways.
BACKBONES = (
    "x3d_tiny",
    "slowfast_r50_8x8",
    "torchvision/r3d_18",
    "torchvision/swin3d_t",
    "timm/test_resnet",
    "timm/test_vit",
)
HEADS = ("linear", "super_event", "tgm", "tgm_super_event")


@pytest.fixture(scope="module")
def backbone(request):
    torch.manual_seed(0)
    return create_model(request.param, 1).backbone.eval()


def detector(backbone, head):
    """A small head whose parameters are away from their neutral start."""
    torch.manual_seed(1)
    head = create_model(head, CLASSES, in_channels=backbone.num_features).eval()
    for key, parameter in head.named_parameters():
        if key.rpartition(".")[2] in ("attention", "choice", "width", "centre"):
            torch.nn.init.normal_(parameter)
    return FrameDetector(backbone, head).eval()


@pytest.mark.parametrize("backbone", BACKBONES, indirect=True, scope="module")
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_scores_of_a_video_do_not_depend_on_what_it_is_batched_with(backbone, head):
    model = detector(backbone, head)
    clips = torch.randn(3, 3, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([FRAMES, 9, 3])
    for clip, length in zip(clips, lengths, strict=True):
        clip[:, length:] = 0
    together = model(clips, lengths)
    assert together.shape == (3, CLASSES, FRAMES) and together.isfinite().all()
    for index, length in enumerate(lengths):
        # With itself, with others in another order, and alone.
        others = clips.roll(1, 0).clone()
        others[0] = clips[index]
        for batch, of_each in ((clips[index : index + 1], lengths[index : index + 1]), (others, lengths.roll(1))):
            of_each = of_each.clone()
            of_each[0] = length
            torch.testing.assert_close(model(batch, of_each)[0], together[index], atol=1e-4, rtol=1e-3)
    last = together[1, :, 9 - 1 :]
    if backbone.temporal_stride == 1:
        torch.testing.assert_close(last, last[:, :1].expand_as(last))  # beyond a video's end its last score is held
        steps = backbone.forward_features(clips)[1:2, :, :9]  # and its head has seen its own steps alone
        torch.testing.assert_close(model.head(steps)[0], together[1, :, :9], atol=1e-4, rtol=1e-3)
    if head != "linear":  # the masks are needed: without them the padding counts
        assert not torch.allclose(model(clips)[2, :, :3], together[2, :, :3], atol=1e-5)
