import pytest

from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.files import staged


def test_files_appear_together_at_the_end_and_replace_older_ones(tmp_path):
    out = tmp_path / "new" / "out"
    with staged(out, "the pictures") as folder:
        (folder / "a.txt").write_text("one")
        assert not (out / "a.txt").exists()
    with staged(out, "the pictures") as folder:
        (folder / "a.txt").write_text("two")
    assert [path.name for path in out.iterdir()] == ["a.txt"]
    assert (out / "a.txt").read_text() == "two"


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError, RuntimeError])
def test_nothing_stays_when_work_stops_half_way(tmp_path, error):
    for out in (tmp_path / "out", tmp_path / "runs" / "a" / "out"):
        with pytest.raises(error), staged(out, "the pictures") as folder:
            (folder / "a.txt").write_text("half")
            raise error("stop")
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    with pytest.raises(error), staged(tmp_path / "runs" / "a" / "out", "the pictures") as folder:
        raise error("stop")
    assert (tmp_path / "runs").is_dir() and not list((tmp_path / "runs").iterdir())  # it was there before


def test_errors_name_the_place_the_reader_knows(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError) as caught, staged(out, "the pictures") as folder:
        raise DataError(f"Cannot write {folder / 'a.mp4'}: No space left on device.")
    assert str(caught.value) == f"Cannot write {out / 'a.mp4'}: No space left on device."
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SsdetError, match="file: the pictures cannot be written: "),
        staged(tmp_path / "file", "the pictures"),
    ):
        raise AssertionError("not reached")
