import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.submission import localization_text, read_classification, read_localization, read_timed

#: Ids that would change if they were read as numbers.
IDS = ("83654", "00607", "07E49", "150E6")


def write(tmp_path, *lines, end="\n"):
    path = tmp_path / "submission.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def read(path, points=2, classes=2):
    return read_localization(path, IDS, classes, points)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), single=st.booleans())
def test_what_is_written_is_read_back_bit_for_bit(tmp_path_factory, seed, single):
    rng = np.random.default_rng(seed)
    kind = np.float32 if single else np.float64
    predictions = {key: (rng.normal(size=(25, 3)) * 10.0 ** rng.integers(-30, 30)).astype(kind) for key in IDS}
    path = tmp_path_factory.mktemp("round") / "submission.txt"
    path.write_bytes(localization_text(predictions))
    found = read_localization(path, IDS, 3)
    assert list(found.predictions) == list(IDS) and found.notes == ()
    for key in IDS:
        np.testing.assert_array_equal(found.predictions[key].astype(kind), predictions[key])


def test_tabs_blanks_line_ends_and_any_order(tmp_path):
    path = write(tmp_path, "07E49\t2\t.5\t-1e-3", "00607 1  +0.25 3 ", "", "07E49 1 1 2", end="\r\n")
    found = read(path).predictions
    np.testing.assert_array_equal(found["07E49"], [[1, 2], [0.5, -0.001]])
    np.testing.assert_array_equal(found["00607"], [[0.25, 3], [-np.inf, -np.inf]])
    assert set(found) == {"07E49", "00607"}


def test_rows_without_scores_are_left_out_and_come_back_as_minus_infinity(tmp_path):
    scores = np.array([[-np.inf, -np.inf], [1.0, -np.inf]])
    text = localization_text({"00607": scores})
    assert text == b"00607 2 1.0 -inf\n"
    path = tmp_path / "submission.txt"
    path.write_bytes(text)
    np.testing.assert_array_equal(read(path).predictions["00607"], scores)


def test_a_file_that_counts_from_zero_is_shifted(tmp_path):
    found = read(write(tmp_path, "00607 1 3 4", "00607 0 1 2"))
    np.testing.assert_array_equal(found.predictions["00607"], [[1, 2], [3, 4]])
    assert found.notes == ("submission.txt counts frames from 0: taken as 1 to 2.",)
    with pytest.raises(DataError, match="line 2: frame 2 in a file that counts from 0 to 1"):
        read(write(tmp_path, "00607 0 1 2", "83654 2 3 4"))


def test_the_last_of_several_lines_counts_and_is_told(tmp_path):
    found = read(write(tmp_path, "00607 1 3 4", "00607 1 5 6"))
    np.testing.assert_array_equal(found.predictions["00607"][0], [5, 6])
    assert found.notes == ("submission.txt: 1 lines repeat a video and time; the last one counts.",)


def test_videos_without_annotation_are_ignored_and_told(tmp_path):
    found = read(write(tmp_path, "00607 1 3 4", "OTHER 1 5 6", "OTHER 2 5 6"))
    assert set(found.predictions) == {"00607"}
    assert "2 lines of 1 videos" in found.notes[0] and "OTHER" in found.notes[0]


def test_a_file_of_another_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of the 4 annotated videos; its first is '607'. Did you mean '00607'"):
        read(write(tmp_path, "607 1 5 6"))
    with pytest.raises(DataError, match="holds no predictions"):
        read(write(tmp_path, ""))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("00607 1 3", "line 2: id, time and 2 scores are needed, got 1"),
        ("00607 1 3 4 5", "line 2: .*got 3"),
        ("00607 1", "line 2: .*got 0"),
        ("00607", "line 2: .*got 0"),
        ("00607 1 3 x", "line 2: 'x' is not a number"),
        ("00607 1 3 true", "line 2: 'true' is not a number"),
        ("00607 1 3 null", "line 2: 'null' is not a number"),
        ("00607 1 3,4 5", "line 2: '3,4' is not a number"),
        ("00607 1 [3] 5", r"line 2: '\[3\]' is not a number"),
        ("00607 1 3 nan", "line 2: a score is NaN"),
        ("00607 3 3 4", r"line 2: frame '3' is not a whole number from 1 to 2 \(or 0 to 1\)"),
        ("00607 1.5 3 4", "line 2: frame '1.5'"),
        ("00607 -1 3 4", "line 2: frame '-1'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, complaint):
    with pytest.raises(DataError, match=rf"submission\.txt, {complaint}"):
        read(write(tmp_path, "83654 1 1 2", line))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="Cannot read the predictions .*nothing.txt: No such file"):
        read(tmp_path / "nothing.txt")


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path):
    path = write(tmp_path, "\ufeff00607 1 1 2", "00607 2 3 4")
    marked = read(path)
    assert marked.notes == () and marked.predictions["00607"][0].tolist() == [1, 2]
    timed = read_timed(path, IDS, 2)
    assert timed.notes == () and timed.seconds["00607"].tolist() == [1, 2]
    whole = read_classification(write(tmp_path, "\ufeff00607 1 2"), IDS, 2)
    assert whole.notes == () and list(whole.predictions) == ["00607"]


def test_timed_rows_are_put_in_order_and_checked(tmp_path):
    path = write(tmp_path, "00607 0.5 3 4", "00607 0.25 1 2", "00607 0.5 5 6")
    found = read_timed(path, IDS, 2)
    assert found.seconds["00607"].tolist() == [0.25, 0.5]
    np.testing.assert_array_equal(found.predictions["00607"], [[1, 2], [5, 6]])
    assert "1 lines repeat" in found.notes[0]
    with pytest.raises(DataError, match="line 1: time 'inf' is not finite"):
        read_timed(write(tmp_path, "00607 inf 1 2"), IDS, 2)
    with pytest.raises(DataError, match="line 1: a score is NaN"):
        read_timed(write(tmp_path, "00607 1 nan 2"), IDS, 2)
    with pytest.raises(DataError, match="line 2: time '-0.25' is before the video begins, at 0"):
        read_timed(write(tmp_path, "00607 -0.0 1 2", "00607 -0.25 1 2"), IDS, 2)


def test_files_that_are_no_text_are_told_without_their_bytes(tmp_path):
    path = write(tmp_path, "00607 1 1 2", "00607 2 3 4")
    text = path.read_bytes()
    for content in (gzip.compress(text), text.decode().encode("utf-16"), b"\x00" + text):
        path.write_bytes(content)
        for reader in (read, lambda file: read_timed(file, IDS, 2), lambda file: read_classification(file, IDS, 2)):
            with pytest.raises(DataError, match="submission.txt is no text: predictions are lines of UTF-8"):
                reader(path)
    # Neither a whole line nor what steers a terminal is repeated.
    for line in (b"00607 1 \x1b[31m" + b"x" * 500 + b" 2", b"00607 \x1b[31m" + b"y" * 500 + b" 1 2"):
        path.write_bytes(line)
        with pytest.raises(DataError) as error:
            read(path)
        assert str(error.value).isprintable() and len(str(error.value)) < 200 + len(str(path)), error.value
