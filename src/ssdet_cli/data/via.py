"""Projects and CSV exports of the VGG Image Annotator for video, VIA 3.

A project (via-3.x.y/CodeDoc.md in gitlab.com/vgg/via) is a JSON with the objects `attribute`, `file`, `view` and
`metadata`. A piece of metadata belongs to a view, holds times `z` in seconds ([start, end] is a segment, [t] a still
frame), a region `xy` ([] is none) and values `av` of attributes: an option's id where the attribute has options,
several with commas between in a checkbox, else free text. The CSV holds the same: `# ATTRIBUTE = {...}` in a comment,
then lines `metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata`.
"""

import csv
import json
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ssdet_cli.data.footage import Export, Footage, video_ids
from ssdet_cli.data.lookup import read_text
from ssdet_cli.errors import ConfigError, DataError

_COLUMNS = 6
_CHECKBOX = 2


def is_via(text: str) -> bool:
    """Whether a text is a project or a CSV export of VIA 3."""
    begin = text.lstrip()
    if begin.startswith("{"):
        return all(f'"{name}"' in text for name in ("attribute", "view", "metadata", "file"))
    return begin.startswith("#") and "CSV_HEADER = metadata_id" in begin


def read_via(path: Path, tiers: Collection[str] = ()) -> Export:
    """Read temporal segments; the values of their attributes are the classes.

    Args:
        path: Project or CSV.
        tiers: Names of the attributes to take; none is all that some segment has.

    Raises:
        ConfigError: No attribute has one of the names.
        DataError: The file contradicts itself; the message names the piece of metadata.
    """
    text, _ = read_text(path)
    try:
        return _export(path, _of_project(json.loads(text)) if text.lstrip().startswith("{") else _of_csv(text), tiers)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(f"{path} is no whole project or export of VIA 3 ({type(error).__name__}: {error}).") from error


def _export(path: Path, parts: "_Parts", tiers: Collection[str]) -> Export:
    attributes, videos, pieces = parts
    names = {key: str(one.get("aname", key)) for key, one in attributes.items()}
    for tier in tiers:
        if tier not in names.values():
            raise ConfigError(f"{path} has no attribute '{tier}'; it has: {', '.join(names.values()) or 'none'}.")
    left_out = dict.fromkeys(("mark single frames", "have no class", "mark a region of the picture"), 0)
    used: set[str] = set()
    for key, video, times, region, values in pieces:
        if region:
            left_out["mark a region of the picture"] += 1
            continue
        if len(times) != 2:
            left_out["mark single frames"] += bool(times)
            continue
        labels = [(name, label) for name, label in _labels(attributes, names, values) if not tiers or name in tiers]
        left_out["have no class"] += not labels
        used |= {name for name, _ in labels}
        start, end = map(float, times)
        if video not in videos:
            raise DataError(f"{path}, '{key}': it belongs to no video of the project.")
        videos[video].actions += [(label, start, end) for _, label in labels]
    notes = [f"{count} annotations {what} and are left out." for what, count in left_out.items() if count]
    if len(used) > 1:
        notes.append(f"Classes are the values of {', '.join(sorted(used))}; name those to take with --tier.")
    return Export({name: one for name, one in videos.items() if name}, _options(attributes, names, used), tuple(notes))


_Pieces = Iterable[tuple[str, str, list[Any], Any, Mapping[str, Any]]]
_Parts = tuple[Mapping[str, Mapping[str, Any]], dict[str, Footage], _Pieces]


def _of_project(project: Mapping[str, Any]) -> _Parts:
    given = {}
    for view, content in project["view"].items():
        files = [project["file"][str(number)] for number in content["fid_list"]]
        given[view] = str(files[0].get("fname") or files[0]["src"])
    ids = video_ids(given.values())
    names = {view: ids[name] for view, name in given.items()}
    pieces = [
        (key, names.get(str(piece["vid"]), ""), list(piece["z"]), piece["xy"], piece["av"] or {})
        for key, piece in project["metadata"].items()
    ]
    shown = project.get("project", {}).get("vid_list") or list(names)
    return project["attribute"], {names[str(view)]: Footage() for view in shown if str(view) in names}, pieces


def _of_csv(text: str) -> _Parts:
    lines = text.splitlines()
    told = next((line for line in lines if line.startswith(("# ATTRIBUTE =", "# ATTRIBUTES ="))), None)
    if told is None:
        raise ValueError("no line begins with '# ATTRIBUTE ='")
    attributes = json.loads(told.partition("=")[2])
    # The first versions of the export give the names alone.
    attributes = {key: one if isinstance(one, dict) else {"aname": one} for key, one in attributes.items()}
    rows = []
    for row in csv.reader(StringIO("\n".join(line for line in lines if not line.startswith("#")))):
        if not row:
            continue
        if len(row) < _COLUMNS:
            raise ValueError(f"a line has {len(row)} fields where {_COLUMNS} are expected")
        files, times, region, values = (json.loads(row[place]) for place in (1, 3, 4, 5))
        rows.append((row[0], str(files[0]), times, region, values))
    ids = video_ids(name for _, name, *_ in rows)
    pieces = [(key, ids[name], *rest) for key, name, *rest in rows]
    return attributes, {name: Footage() for _, name, *_ in pieces}, pieces


def _labels(
    attributes: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], values: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """(Attribute, class) of one segment."""
    found = []
    for key, value in values.items():
        attribute = attributes.get(key, {})
        options = attribute.get("options") or {}
        chosen = str(value).split(",") if attribute.get("type") == _CHECKBOX else [str(value)]
        chosen = [attribute.get("default_option_id", "") if one == "_DEFAULT" else one for one in chosen]
        found += [(names.get(key, key), str(options.get(one, one)).strip()) for one in chosen if one.strip()]
    return found


def _options(
    attributes: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], used: Collection[str]
) -> tuple[str, ...]:
    """The options of the only attribute that is used, in their order; empty where its values are free text."""
    options = [list((one.get("options") or {}).values()) for key, one in attributes.items() if names[key] in used]
    return tuple(map(str, options[0])) if len(options) == 1 else ()
