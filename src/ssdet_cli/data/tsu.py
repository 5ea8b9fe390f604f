"""Toyota Smarthome Untrimmed (Dai et al., TPAMI 2022): 51 activities, dense labels.

Annotations are `smarthome_CS_51.json` or `smarthome_CV_51.json` (github.com/dairui01/Toyota_Smarthome, pipline/data) in
the form of `charades.json`, or the CSVs of the release, one for each video (`Annotation/P02/P02T01C06.csv`, header
`event,start_frame,end_frame`), which its authors call the reference. Both count FRAMES, 25 to a second, the JSON in its
durations as well; classes count from 0 in the order of the repository's `Action_list`.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.flaws import refuse
from ssdet_cli.data.frame_json import action_parts, json_entries, json_set, known_class
from ssdet_cli.data.lookup import check_split, read_json, read_text, required, stand_in, with_paths, without_reversed
from ssdet_cli.data.tables import read_table
from ssdet_cli.errors import DataError, NoSplitError

#: Frames per second that the annotations count in.
TSU_FRAME_RATE = 25.0
#: In index order.
TSU_CLASSES = tuple(
    """
    Enter Walk Make_coffee Get_water Make_coffee.Pour_water Use_Drawer Make_coffee.Pour_grains Use_telephone Leave
    Put_something_on_table Take_something_off_table Pour.From_kettle Stir_coffee/tea Drink.From_cup Dump_in_trash
    Make_tea Make_tea.Boil_water Use_cupboard Insert_tea_bag Read Take_pills Use_fridge Clean_dishes
    Clean_dishes.Put_something_in_sink Eat_snack Sit_down Watch_TV Use_laptop Get_up Drink.From_bottle Pour.From_bottle
    Drink.From_glass Lay_down Drink.From_can Write Breakfast Breakfast.Spread_jam_or_butter Breakfast.Cut_bread
    Breakfast.Eat_at_table Breakfast.Take_ham Clean_dishes.Dry_up Wipe_table Cook Cook.Cut Cook.Use_stove Cook.Stir
    Cook.Use_oven Clean_dishes.Clean_with_water Use_tablet Use_glasses Pour.From_can
    """.split()
)
#: Names in the CSVs that the authors ask to merge into the 51.
_MERGED = {"Make_coffee.Get_water": "Get_water", "Make_tea.Insert_tea_bag": "Insert_tea_bag"}
#: Subjects of the cross-subject training set; the others are its test set.
_TRAINING_SUBJECTS = frozenset((3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25))
_WANTED = "smarthome_CS_51.json, smarthome_CV_51.json, or the folder of P02T01C06.csv, ..."


def load_tsu(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Toyota Smarthome Untrimmed; frames become seconds.

    A JSON in which some time, of whatever split, is no whole number was converted to seconds already and is taken as
    such, with a note.

    Args:
        videos: Folder of `<id>.mp4`; None where only labels matter.
        annotations: A JSON, or the folder of CSVs, which is split by subject (cross-subject protocol).
        split: "train", "test" or "val" (the test split where the file has no validation subset).

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: A file is missing, unreadable or contradicts itself.
    """
    check_split(split)
    path = required(annotations, "tsu", _WANTED)
    if path.is_dir():
        return _from_folder(videos, path, split)
    found = json_set("tsu", videos, path, split, TSU_CLASSES, lambda value: known_class(value, TSU_CLASSES))
    if not _in_frames(path):
        told = f"{path.name} holds times that are no whole numbers: they are taken as seconds, not as frames."
        return replace(found, notes=(told, *found.notes))
    return replace(found, records=tuple(_in_seconds(record) for record in found.records))


def _in_frames(path: Path) -> bool:
    """Whether every time in a JSON is a whole number: a file counts one way, in all its splits."""
    for _, entry in json_entries(path, read_json(path)[0]):
        times = [entry.duration]
        for action in entry.actions:
            with suppress(ValueError):  # left out, and told when the split was read
                times += action_parts(action)[1:]
        if any(isinstance(time, float) and not time.is_integer() for time in times):
            return False
    return True


def _in_seconds(record: VideoRecord) -> VideoRecord:
    duration = None if record.duration_seconds is None else record.duration_seconds / TSU_FRAME_RATE
    segments = tuple(
        Segment(part.label, part.start / TSU_FRAME_RATE, part.end / TSU_FRAME_RATE) for part in record.segments
    )
    return replace(record, duration_seconds=duration, segments=segments)


def _from_folder(videos: Path | None, folder: Path, split: str) -> VideoSet:
    files = {file.stem: file for file in sorted(folder.rglob("*.csv")) if re.fullmatch(r"P\d\dT\d\dC\d\d", file.stem)}
    if not files:
        raise DataError(f"{folder} holds no annotations such as P02T01C06.csv; 'tsu' needs {_WANTED}.")
    answer = "train" if split == "train" else "test"
    own = {name: file for name, file in files.items() if (int(name[1:3]) in _TRAINING_SUBJECTS) == (answer == "train")}
    if not own:
        raise NoSplitError(
            f"{folder} holds no videos of the split '{split}' (by subject, as the cross-subject protocol)."
        )
    kept, odd = without_reversed(VideoRecord(name, segments=_csv_segments(file)) for name, file in own.items())
    found, missing = with_paths(kept, videos)
    notes = (*stand_in(folder, split, answer), *odd, *missing)
    return VideoSet(f"tsu {split}", TSU_CLASSES, found, folder, notes=notes)


def _csv_segments(path: Path) -> tuple[Segment, ...]:
    text, _ = read_text(path)
    table = read_table(path, text, ("label", "start_frame", "end_frame"))
    if table is None:
        refuse(f"{path}, line 1: the columns event, start_frame and end_frame are expected.", path.stem)
        return ()
    segments = []
    for line, fields in table.rows:
        name = fields.get("label", "")
        try:
            start, end = (_frame(fields, column) / TSU_FRAME_RATE for column in ("start_frame", "end_frame"))
            segments.append(Segment(known_class(_MERGED.get(name, name), TSU_CLASSES), start, end))
        except ValueError as error:
            refuse(f"{path}, line {line}: {error}", path.stem, error)
    return tuple(segments)


def _frame(fields: Mapping[str, str], column: str) -> float:
    text = fields.get(column, "")
    try:
        frame = float(text)
    except ValueError:
        frame = math.nan
    if not math.isfinite(frame) or frame < 0:
        raise ValueError(f"{column} '{text}' is not a number of frames from 0.")
    return frame
