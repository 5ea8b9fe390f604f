"""What kinds of errors are called, on the page and in the terminal."""

from collections.abc import Mapping
from typing import Any

#: Of false cells.
_FALSE = {
    "begins_early": "begins too early",
    "ends_late": "ends too late",
    "same_object": "during another action with the same object",
    "same_verb": "during another action with the same verb",
    "other_action": "during another action",
    "background": "on background",
}
_BY_WORDS = {
    "same_object": "during another action with a word of its name",
    "same_verb": "during another action with the first word of its name",
}
_UNRELATED = {"other_action": "during another action that shares neither"}
#: Of missed cells.
MISSED = {
    "begins_late": "found too late",
    "ends_early": "lost too early",
    "gap": "gap in the middle",
    "whole_action": "of an action that is wholly missed",
}


def false_kinds(errors: Mapping[str, Any]) -> dict[str, str]:
    """Kind -> words; without those that nothing is known of."""
    if not errors["related_by"]:
        return {kind: words for kind, words in _FALSE.items() if kind not in _BY_WORDS}
    return _FALSE | (_BY_WORDS if errors["related_by"] == "words" else {}) | _UNRELATED


def tolerance(errors: Mapping[str, Any]) -> str:
    """How near a border is."""
    told = errors["tolerance"]
    return f"{told['seconds']:g} s, or {100 * told['part']:g} % of the action if that is more"


def length_of(group: Mapping[str, Any]) -> str:
    """The lengths of a group of actions."""
    short, long = group["shortest_seconds"], group["longest_seconds"]
    return f"{short:.3g} s" if short == long else f"{short:.3g} to {long:.3g} s"


def share(part: float, whole: float) -> str:
    """A part in percent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"
