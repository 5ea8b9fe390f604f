import resource

import pytest
import torch

from ssdet_cli.engine.checkpoint import checkpoint_file, latest_checkpoint, load_checkpoint, save_checkpoint
from ssdet_cli.errors import CheckpointError, SsdetError

STATE = {"model": {"w": torch.arange(3.0)}, "meta": {"classes": ["a"], "config": {"loop": {"steps": 3}}}}


def test_what_is_saved_comes_back_without_executing_anything(tmp_path):
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(path, STATE)
    assert torch.equal(torch.load(path, weights_only=True)["model"]["w"], torch.arange(3.0))
    assert load_checkpoint(path)["meta"] == STATE["meta"]
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_a_run_folder_stands_for_its_best_checkpoint_then_its_last(tmp_path):
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", STATE)
    assert checkpoint_file(tmp_path).name == "last.pt"
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", STATE)
    assert checkpoint_file(tmp_path).name == "best.pt"


def test_a_folder_without_checkpoints_says_what_was_looked_for(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no checkpoints/best.pt or checkpoints/last.pt"):
        checkpoint_file(tmp_path)


@pytest.mark.parametrize(("keep", "why"), [(0, "it is empty"), (10, "it is truncated"), (400, "it is truncated")])
def test_a_truncated_checkpoint_is_one_line_that_names_the_file(tmp_path, keep, why):
    path = tmp_path / "cut.pt"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=f"cut.pt cannot be read as a checkpoint: {why}") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"broken\n", "it is a text file"),
        (b"no video", "it is a text file"),
        (b"\x80", "it is truncated, or another kind of file"),
        (b"PK\x03\x04", "it is truncated or damaged; copy or download it again"),
    ],
)
def test_bytes_that_are_no_checkpoint_are_one_line_that_names_the_file(tmp_path, content, why):
    path = tmp_path / "odd.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"odd.pt cannot be read as a checkpoint: {why}\.$"):
        load_checkpoint(path)


def test_a_run_whose_last_checkpoint_is_damaged_says_what_it_would_go_on_from(tmp_path):
    place = tmp_path / "checkpoints"
    for name, step in (("best.pt", 20), ("step-00000030.pt", 30)):
        save_checkpoint(place / name, {**STATE, "progress": {"step": step}})
    (place / "last.pt").write_bytes((place / "best.pt").read_bytes()[:400])
    said = "last.pt cannot be read .* Without last.pt, --resume goes on from step-00000030.pt, step 30: delete"
    with pytest.raises(CheckpointError, match=said):
        latest_checkpoint(tmp_path)
    (place / "last.pt").unlink()
    assert latest_checkpoint(tmp_path)["progress"]["step"] == 30
    for file in place.iterdir():
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="Without best.pt and step-00000030.pt, the run begins anew: delete"):
        latest_checkpoint(tmp_path)


def test_somebody_elses_file_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"model_state": {}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of ssdet"):
        load_checkpoint(path)


def test_a_write_that_fails_leaves_the_previous_checkpoint_whole(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SsdetError, match="Cannot write"):
        save_checkpoint(blocked / "last.pt", STATE)
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_while_writing_leaves_the_previous_checkpoint_whole(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # writing beyond fails half way through
    try:
        with pytest.raises(SsdetError, match="Cannot write .*last.pt: File too large; what was there before is whole"):
            save_checkpoint(path, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
