"""Annotation files of ELAN, EAF 2.7 to 3.0 (www.mpi.nl/tools/elan: EAFv3.0.xsd and its description).

Times are in `TIME_ORDER`, as slots with a `TIME_VALUE` in milliseconds or with none (inside a subdivided annotation,
where they share its time out equally). A `TIER` holds `ALIGNABLE_ANNOTATION` with two slots, or `REF_ANNOTATION`, which
has the time of the annotation it refers to. `MEDIA_DESCRIPTOR` names the video; its `TIME_ORIGIN` is the moment of the
video, in milliseconds, at which the time of the annotations begins.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from ssdet_cli.data.footage import Export, Footage, video_id
from ssdet_cli.data.lookup import read_text
from ssdet_cli.errors import ConfigError, DataError

_Span = tuple[float, float]


def is_elan(text: str) -> bool:
    """Whether a text is a file of ELAN."""
    return text.lstrip().startswith("<") and "<ANNOTATION_DOCUMENT" in text[:4000]


def read_elan(path: Path, tiers: Collection[str] = ()) -> Export:
    """Read annotations; what is written in them are the classes, in an empty one the name of its tier.

    Args:
        path: The EAF of one video.
        tiers: Names of the tiers to take; none is all with times of their own.

    Raises:
        ConfigError: No tier has one of the names.
        DataError: It is no such file, or has no milliseconds.
    """
    try:
        root = ElementTree.fromstring(read_text(path)[0].encode())
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: no valid XML ({error}).") from error
    except LookupError as error:
        raise DataError(f"{path}, line 1: no valid XML ({error}).") from error
    header = root.find("HEADER")
    if root.tag != "ANNOTATION_DOCUMENT" or header is None:
        raise DataError(f"{path} is XML and no file of ELAN: it begins with <{root.tag}>.")
    units = header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise DataError(f"{path} counts in {units}, and milliseconds are expected; save it with a current ELAN.")
    found = {tier.get("TIER_ID", ""): tier for tier in root.findall("TIER")}
    for tier in tiers:
        if tier not in found:
            raise ConfigError(f"{path} has no tier '{tier}'; it has: {', '.join(found) or 'none'}.")
    try:
        spans = _spans(root)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: an annotation has no time ({error}).") from error
    media = _video(header)
    origin = int(media.get("TIME_ORIGIN") or 0) / 1000 if media is not None else 0.0
    name = unquote((media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or "") if media is not None else "")
    footage = Footage()
    taken = []
    for tier_id, tier in found.items():
        if tier_id not in tiers if tiers else tier.find(".//ALIGNABLE_ANNOTATION") is None:
            continue
        taken.append(tier_id)
        for annotation in tier.findall("ANNOTATION/*"):
            start, end = spans[annotation.attrib["ANNOTATION_ID"]]
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip() or tier_id
            footage.actions.append((label, start + origin, end + origin))
    footage.actions.sort(key=lambda action: action[1:])
    notes = (f"{path.name}: classes are the values of the tiers {', '.join(taken)}; name those to take with --tier.",)
    return Export({video_id(name) or path.stem: footage}, notes=notes if len(taken) > 1 else ())


def _video(header: ElementTree.Element) -> ElementTree.Element | None:
    """The first medium that is a video, or the first; a recording may have the sound beside it."""
    media = header.findall("MEDIA_DESCRIPTOR")
    return next((one for one in media if one.get("MIME_TYPE", "").startswith("video")), media[0] if media else None)


def _spans(root: ElementTree.Element) -> dict[str, _Span]:
    """Annotation -> start and end, seconds."""
    slots = {slot.attrib["TIME_SLOT_ID"]: slot.get("TIME_VALUE") for slot in root.findall("TIME_ORDER/TIME_SLOT")}
    known = {name: int(value) / 1000 for name, value in slots.items() if value is not None}
    spans: dict[str, _Span] = {}
    referring = {}
    for tier in root.findall("TIER"):
        aligned = tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
        pairs = [(one.attrib["TIME_SLOT_REF1"], one.attrib["TIME_SLOT_REF2"]) for one in aligned]
        times = known | _shared_out(pairs, known)
        for annotation, (first, last) in zip(aligned, pairs, strict=True):
            spans[annotation.attrib["ANNOTATION_ID"]] = (times[first], times[last])
        for annotation in tier.findall("ANNOTATION/REF_ANNOTATION"):
            referring[annotation.attrib["ANNOTATION_ID"]] = annotation.attrib["ANNOTATION_REF"]
    for annotation in referring:
        target = annotation
        for _ in range(len(referring)):
            if target not in referring:
                break
            target = referring[target]
        spans[annotation] = spans[target]
    return spans


def _shared_out(pairs: Sequence[tuple[str, str]], known: Mapping[str, float]) -> dict[str, float]:
    """Times of slots without one: annotations in a row share the time between two that have one."""
    found: dict[str, float] = {}
    row: list[str] = []
    for first, last in pairs:
        row = row or [first]
        row.append(last)
        if last in known:
            start, length = known[row[0]], (known[last] - known[row[0]]) / (len(row) - 1)
            found |= {slot: start + length * place for place, slot in enumerate(row[1:-1], start=1)}
            row = []
    return found
