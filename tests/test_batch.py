import pytest
import torch

from ssdet_cli.batch import VideoBatch


def test_a_batch_knows_its_size_and_moves_every_tensor():
    batch = VideoBatch(
        frames=torch.zeros(2, 3, 4, 8, 8),
        labels=torch.zeros(2, 5, 6),
        valid=torch.ones(2, 6, dtype=torch.bool),
        lengths=torch.tensor([4, 3]),
        frame_seconds=torch.zeros(2, 4),
        label_seconds=torch.zeros(2, 6),
        features={"conv5": torch.zeros(2, 1)},
        video_ids=("a", "b"),
    )
    moved = batch.to("meta")
    assert len(batch) == 2
    tensors = [
        moved.frames,
        moved.labels,
        moved.valid,
        moved.lengths,
        moved.frame_seconds,
        moved.label_seconds,
        *moved.features.values(),
    ]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.video_ids == ("a", "b")


@pytest.mark.parametrize(
    ("field", "shape", "text"),
    [
        ("labels", (3, 5, 4), r"labels must be \(2, K, L\), got \(3, 5, 4\)"),
        ("frame_seconds", (2, 5), r"frame_seconds must be \(2, 4\), got \(2, 5\)"),
        ("lengths", (2, 1), r"lengths must be \(2,\), got \(2, 1\)"),
        ("valid", (2, 7), r"valid must be \(2, 4\), got \(2, 7\)"),
    ],
)
def test_shapes_that_do_not_fit_are_told_with_both_shapes(field, shape, text):
    with pytest.raises(ValueError, match=text):
        VideoBatch(frames=torch.zeros(2, 3, 4, 8, 8), **{field: torch.zeros(shape)})


def test_the_network_is_told_of_lengths_only_where_they_are_known():
    frames, lengths = torch.zeros(2, 3, 4, 8, 8), torch.tensor([4, 2])
    assert VideoBatch(frames).network_inputs() == {}
    assert VideoBatch(frames, lengths=lengths).network_inputs() == {"lengths": lengths}


def test_frames_need_five_dimensions():
    with pytest.raises(ValueError, match=r"frames must be \(B, C, T, H, W\), got \(3, 4\)"):
        VideoBatch(frames=torch.zeros(3, 4))


def test_as_many_names_as_clips():
    with pytest.raises(ValueError, match="video_ids must name 2 clips, got 1"):
        VideoBatch(frames=torch.zeros(2, 3, 4, 8, 8), video_ids=("a",))
