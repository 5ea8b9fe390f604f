"""XML exports of CVAT, version 1.1 (docs.cvat.ai, "CVAT" among the formats and "XML annotation format").

"CVAT for video" has tracks with a label, and in each of them shapes with the attributes `frame` and `outside`: an
action lasts from a shape with outside="0" to the next one with outside="1", which may be listed at its key frames
alone. "CVAT for images" of a video has an `image` with the number of the frame as its `id`, and in it `tag` and shapes
with a label; tags are in this export alone (github.com/cvat-ai/cvat/issues/7198). Frame numbers are those of the video,
so the frame rate has to be known, or the times of the frames where it varies. In the export of a project they run on
over its tasks, which says nothing (issue 4502).
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from xml.etree import ElementTree

from ssdet_cli.data.footage import Export, Footage, video_id
from ssdet_cli.data.lookup import read_text
from ssdet_cli.errors import ConfigError, DataError


def is_cvat(text: str) -> bool:
    """Whether a text is an XML export of CVAT."""
    return text.lstrip().startswith("<") and "<annotations" in text[:4000]


def read_cvat(path: Path, clock: Callable[[str], Callable[[float], float]], tiers: Collection[str] = ()) -> Export:
    """Read tracks and tags; their labels are the classes.

    An action reaches from half a frame before its first frame appears to half a frame after its last one does, so that
    at the rate of the annotation exactly its frames are labelled, however times are rounded.

    Args:
        path: The XML of one task or job.
        clock: Id of the video -> when its frames appear: number of a frame, or between two, -> seconds.
        tiers: Labels to take; none is all.

    Raises:
        ConfigError: None of the labels is there.
        DataError: It is no such file, or the export of a project.
    """
    try:
        root = ElementTree.fromstring(read_text(path)[0].encode())
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: no valid XML ({error}).") from error
    except LookupError as error:
        raise DataError(f"{path}, line 1: no valid XML ({error}).") from error
    meta = root.find("meta")
    if root.tag != "annotations" or meta is None:
        raise DataError(f"{path} is XML and no export of CVAT: it begins with <{root.tag}>.")
    tasks = meta.findall(".//task")
    if len(tasks) > 1:
        raise DataError(f"{path} is the export of a project with {len(tasks)} tasks; export each task on its own.")
    source = _text(meta, ".//source") or _text(meta, ".//task/name") or path.stem
    known = [label.findtext("name", "").strip() for label in meta.findall(".//labels/label")]
    for tier in tiers:
        if known and tier not in known:
            raise ConfigError(f"{path} has no label '{tier}'; it has: {', '.join(known)}.")
    try:
        step = int((_text(meta, ".//frame_filter") or "step=1").rpartition("step=")[2])
        stop = _text(meta, ".//task/stop_frame") or _text(meta, ".//job/stop_frame")
        spans = [*_tracks(root, int(stop) if stop else None, step), *_tagged(root, step)]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: a frame or a label is missing or no number ({error}).") from error
    name = video_id(source)
    moment = clock(name)
    actions = [
        (label, moment(max(0.0, first - step / 2)), moment(last + step / 2))
        for label, first, last in sorted(spans, key=lambda span: (span[1], span[0]))
        if not tiers or label in tiers
    ]
    classes = tuple(label for label in dict.fromkeys(known) if label and (not tiers or label in tiers))
    return Export({name: Footage(actions=actions)}, classes)


def _text(meta: ElementTree.Element, place: str) -> str:
    return (meta.findtext(place) or "").strip()


def _tracks(root: ElementTree.Element, stop: int | None, step: int) -> Iterable[tuple[str, int, int]]:
    """(Label, first frame, last frame) of what tracks show."""
    for track in root.findall("track"):
        shapes = sorted((int(shape.attrib["frame"]), shape.attrib.get("outside") == "1") for shape in track)
        begun = None
        for frame, outside in shapes:
            if begun is not None and outside:
                yield track.attrib["label"], begun, frame - step
            begun = None if outside else frame if begun is None else begun
        if begun is not None:  # shown to the end of the task
            yield track.attrib["label"], begun, max(shapes[-1][0], stop if stop is not None else 0)


def _tagged(root: ElementTree.Element, step: int) -> Iterable[tuple[str, int, int]]:
    """The same of labels on frames, each run of frames one action."""
    frames: dict[str, set[int]] = {}
    for image in root.findall("image"):
        for mark in image:
            frames.setdefault(mark.attrib["label"], set()).add(int(image.attrib["id"]))
    for label, numbers in frames.items():
        for first in sorted(number for number in numbers if number - step not in numbers):
            last = first
            while last + step in numbers:
                last += step
            yield label, first, last
