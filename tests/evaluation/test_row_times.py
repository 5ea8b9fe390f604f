"""Files of lines that lack rows, or are of another protocol: counted and told, or refused."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.ensemble import Member, averaged
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.row_times import absent_rows, median_step

TIMED = ("frame-map", "multithumos-papers", "action-conditional", "segment-map")
#: Frames of the videos at 25 and 30 per second; odd and even numbers of rows under every protocol.
FRAMES = {"a": 751, "b": 330, "c": 600, "d": 463, "e": 897}


def made(tmp_path, protocol, frames=FRAMES, rate=25.0, places=None):
    """Annotations, and a whole file of a protocol, as it writes one; times rounded to `places`."""
    records = tuple(
        VideoRecord(name, duration_seconds=round(count / rate, 2), segments=(Segment(0, 1.0, 4.0),))
        for name, count in frames.items()
    )
    videos = VideoSet("made up", ("sit", "run"), records, tmp_path / "truth.json")
    chosen = PROTOCOLS.get(protocol)()
    seconds, scores, rng = {}, {}, np.random.default_rng(0)
    for record in records:
        count = frames[record.video_id]
        decoded = VideoScores(record.video_id, np.zeros(1), np.zeros((1, 2), np.float32), count / rate, rate, count)
        times = chosen.frame_seconds(record, decoded)
        seconds[record.video_id] = times if places is None else times.round(places)
        scores[record.video_id] = rng.random((len(times), 2))
    path = tmp_path / "rows.txt"
    path.write_bytes(chosen.submission_text(videos, scores, seconds))
    return chosen, videos, path


def kept(path, keep):
    """The lines of which `keep(number, id, time)` says so; returns how many went."""
    lines = path.read_text().splitlines(True)
    left = [line for number, line in enumerate(lines) if keep(number, line.split()[0], float(line.split()[1]))]
    path.write_text("".join(left))
    return len(lines) - len(left)


def found(chosen, videos, path):
    """Missing rows as an evaluation counts them, and what is told."""
    read = averaged(chosen, videos, [Member("rows.txt", submission=chosen.read_submission(path, videos))])
    return read.absent_frames, read.notes


@pytest.mark.parametrize("rate", [23.976, 25.0, 29.97, 30.0])
@pytest.mark.parametrize("places", [None, 3])
@pytest.mark.parametrize("protocol", (*TIMED, "charades-25-legacy"))
def test_a_whole_file_of_ones_own_lacks_nothing(tmp_path, protocol, places, rate):
    frames = {**FRAMES, "one row": 9, "two": 17, "few": 40} if protocol != "charades-25-legacy" else FRAMES
    assert found(*made(tmp_path, protocol, frames, rate, places)) == (0, ())


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    rate=st.sampled_from([24, 25, 30, 50, 60]),
    protocol=st.sampled_from([*TIMED, "charades-25-legacy"]),
)
@example(frames=[13, 25], rate=24, protocol="multithumos-papers")  # one row of 12 frames beside rows of 8
@example(frames=[16, 897], rate=24, protocol="multithumos-papers")
def test_files_of_ones_own_of_any_length_are_read(tmp_path_factory, frames, rate, protocol):
    named = {f"v{number}": count for number, count in enumerate(frames)}
    if protocol == "charades-25-legacy" and max(frames) <= 25:
        return
    assert found(*made(tmp_path_factory.mktemp("own"), protocol, named, float(rate)))[0] == 0


@pytest.mark.parametrize("protocol", TIMED)
def test_every_second_line_is_missed_in_all_videos(tmp_path, protocol):
    chosen, videos, path = made(tmp_path, protocol)
    gone = kept(path, lambda number, name, time: number % 2 == 0)
    count, notes = found(chosen, videos, path)
    # Whether the last row of a video is missing is within what lengths may be wrong by, one row a video.
    assert abs(count - gone) <= len(FRAMES), (count, gone)
    assert "rows.txt leaves out" in notes[0] and "of 5 of 5 videos" in notes[0] and "the first: 'a'" in notes[0]


@pytest.mark.parametrize("protocol", TIMED)
def test_rows_behind_the_last_and_before_the_first_are_missed(tmp_path, protocol):
    for keep in (lambda number, name, time: time < 2, lambda number, name, time: time > 3):
        chosen, videos, path = made(tmp_path, protocol)
        gone = kept(path, keep)
        # How long behind the last third of a second a video ends is not in its annotated length alone.
        open_rows = len(FRAMES) if protocol == "action-conditional" else 0
        assert gone > 0 and abs(found(chosen, videos, path)[0] - gone) <= open_rows


@pytest.mark.parametrize("protocol", TIMED)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_holes_inside_are_counted_exactly(tmp_path_factory, protocol, seed):
    chosen, videos, path = made(tmp_path_factory.mktemp("holes"), protocol, rate=30.0)
    rng, rows = np.random.default_rng(seed), {}
    times = chosen.read_submission(path, videos).seconds
    for name, own in times.items():
        rows[name] = set(own[1 + rng.choice(len(own) - 2, len(own) // 4, replace=False)])
    gone = kept(path, lambda number, name, time: time not in rows[name])
    count, notes = found(chosen, videos, path)
    assert count == gone and f"0 before the first row of a video, {gone:,} between two and 0 behind" in notes[0]


def test_what_the_file_cannot_tell_is_said(tmp_path):
    chosen, videos, path = made(tmp_path, "frame-map", {"a": 400})
    kept(path, lambda number, name, time: number % 2 == 0)
    (note,) = found(chosen, videos, path)[1]
    assert note.startswith("rows.txt: rows are 0.08 s apart, which are all frames of videos of 12.5 frames per second;")
    chosen, videos, path = made(tmp_path, "frame-map")
    kept(path, lambda number, name, time: name != "c" or round(time * 25) % 2 == 0)
    (note,) = found(chosen, videos, path)[1]
    assert "rows of 1 videos are two or more times as far apart as those of most, the first: 'c'" in note
    kept(path, lambda number, name, time: time == 0)
    (note,) = found(chosen, videos, path)[1]
    assert "rows.txt holds a single row of every video" in note
    endless = VideoSet("made up", videos.classes, (VideoRecord("a"),), tmp_path / "x.json")
    path.write_text("".join(f"a {frame / 25} 0 0\n" for frame in range(30)))
    (note,) = found(chosen, endless, path)[1]
    assert note == (
        "rows.txt: 1 of 1 videos have no annotated length, so that rows behind their last one cannot be missed."
    )


OTHER = {
    "charades-25-legacy": {
        "frame-map": "'a' has 751 rows, and charades-25-legacy has 25 of every video",
        "action-conditional": "'a' has 91 rows",
    },
    "action-conditional": {
        "frame-map": "rows of 'a' are 0.04 s apart, and those of action-conditional are 8/24 s apart",
        "charades-25-legacy": "rows of 'a' are 1.2 s apart",
    },
    "multithumos-papers": {
        "frame-map": "rows of 'a' are 0.04 s apart, and those of multithumos-papers are of 8 frames each",
        "charades-25-legacy": "of which make its annotated length, and those of multithumos-papers are a whole number",
    },
}


@pytest.mark.parametrize(("protocol", "other"), [(name, other) for name, of in OTHER.items() for other in of])
def test_a_file_of_another_protocol_is_refused(tmp_path, protocol, other):
    _, videos, path = made(tmp_path, other)
    with pytest.raises(DataError) as error:
        PROTOCOLS.get(protocol)().read_submission(path, videos)
    text = str(error.value)
    assert str(path) in text and OTHER[protocol][other] in text and "\n" not in text, text


def test_a_thinned_file_of_another_protocol_is_refused_too(tmp_path):
    _, videos, path = made(tmp_path, "frame-map")
    kept(path, lambda number, name, time: number % 2 == 0)
    with pytest.raises(DataError, match="of 8 frames each: 200 frames per second; give a file of this protocol"):
        PROTOCOLS.get("multithumos-papers")().read_submission(path, videos)
    with pytest.raises(DataError, match="rows of 'a' are 0.08 s apart, and those of action-conditional"):
        PROTOCOLS.get("action-conditional")().read_submission(path, videos)


def test_a_video_of_24_rows_is_none_of_the_legacy_protocol(tmp_path):
    chosen, videos, path = made(tmp_path, "charades-25-legacy")
    kept(path, lambda number, name, time: number != 30)
    with pytest.raises(DataError, match="rows.txt: 'b' has 24 rows, and charades-25-legacy has 25"):
        chosen.read_submission(path, videos)


def rewritten(path, times):
    """The same rows at other times, `times(id, number within the video, time)`; one that is None is left out."""
    lines, counts = [], {}
    for line in path.read_text().splitlines():
        name, time, rest = line.split(" ", 2)
        counts[name] = counts.get(name, -1) + 1
        new = times(name, counts[name], float(time))
        lines += [] if new is None else [f"{name} {new!r} {rest}\n"]
    path.write_text("".join(lines))


@pytest.mark.parametrize("protocol", [*TIMED, "charades-25-legacy"])
@pytest.mark.parametrize(
    "unit",
    [lambda time, row: round(time * 30), lambda time, row: round(time * 30) + 1, lambda time, row: time * 1000],
    ids=["frames from 0", "frames from 1", "milliseconds"],
)
def test_numbers_of_frames_and_milliseconds_are_no_seconds(tmp_path, protocol, unit):
    chosen, videos, path = made(tmp_path, protocol, rate=30.0)
    rewritten(path, lambda name, row, time: unit(time, row))
    with pytest.raises(DataError, match="rows.txt: a row of 'a' is at .*, and the video lasts 25.03 s; so it is"):
        chosen.read_submission(path, videos)


@pytest.mark.parametrize("protocol", [*TIMED, "charades-25-legacy"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_a_localization_file_that_lacks_some_are_no_seconds(tmp_path, protocol, first):
    # Longer and shorter videos: 25 s alone lie far beyond no end.
    frames = {"a": 751, "b": 540, "c": 900, "d": 1200, "e": 897}
    _, videos, path = made(tmp_path, "charades-25-legacy", frames)
    rewritten(path, lambda name, row, time: None if (row + len(name)) % 4 == 2 else float(row + first))
    counted = "1 to 25" if first else "0 to 24"
    with pytest.raises(DataError, match=f"rows.txt: the rows of every video are among {counted}, so these are the fr"):
        PROTOCOLS.get(protocol)().read_submission(path, videos)


def test_a_row_every_second_is_none_of_a_localization_file(tmp_path):
    chosen, videos, path = made(tmp_path, "frame-map", {"a": 600, "b": 575, "c": 400})
    rewritten(path, lambda name, row, time: time if time == round(time) else None)
    assert [len(times) for times in chosen.read_submission(path, videos).seconds.values()] == [24, 23, 16]


@pytest.mark.parametrize("protocol", ("frame-map", "segment-map", "action-conditional"))
@settings(max_examples=20, deadline=None)
@given(ends=st.lists(st.floats(5.0, 40.0), min_size=5, max_size=5))
def test_rows_behind_the_annotated_end_are_counted(tmp_path_factory, protocol, ends):
    chosen, videos, path = made(tmp_path_factory.mktemp("beyond"), protocol)
    times = chosen.read_submission(path, videos).seconds
    records = tuple(VideoRecord(name, duration_seconds=end) for name, end in zip(FRAMES, ends, strict=True))
    shorter = VideoSet("made up", videos.classes, records, videos.source)
    behind = {one.video_id: int((times[one.video_id] > one.duration_seconds + 1).sum()) for one in records}
    behind = {name: count for name, count in behind.items() if count}
    far = sum(times[one.video_id][-1] > 1.5 * one.duration_seconds + 1 for one in records)
    if far > 2:
        with pytest.raises(DataError, match=f"so it is with {far} of 5 videos"):
            chosen.read_submission(path, shorter)
        return
    found_notes = [note for note in chosen.read_submission(path, shorter).notes if "behind the annotated end" in note]
    if not behind:
        assert not found_notes
        return
    (note,) = found_notes
    first = next(iter(behind))
    assert note.startswith(f"rows.txt: {sum(behind.values()):,} rows of {len(behind)} videos lie more than 1 s")
    assert f"the first: '{first}', {behind[first]:,} rows up to {times[first][-1]:.1f} s, of " in note


def test_uneven_frames_have_no_gap_and_the_step_is_theirs():
    times = np.cumsum([0, *[1 / 30, 1 / 20] * 40])
    assert median_step(times) in (pytest.approx(1 / 30), pytest.approx(1 / 20)) and median_step(times[:1]) is None
    record = VideoRecord("a", duration_seconds=float(times[-1]))
    assert absent_rows("x", [record], {"a": times}, {"a": median_step(times)}).counts == {}
