"""What was scored, as text and as HTML: the members of an evaluation as `metrics.json` has them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

#: Digits of a SHA-256 that are shown.
_SHORT = 12

MEMBERS_STYLE = """
.members { overflow-x: auto; margin: .75rem 0; } .members table { border-collapse: collapse; font-size: 13.5px; }
.members td, .members th { padding: .25rem 1.25rem .25rem 0; text-align: left; vertical-align: top; white-space: normal;
  border-bottom: 1px solid var(--rule); line-height: 1.4; } .members th { font-weight: 500; color: var(--faint); }
.members td:first-child { min-width: 11rem; overflow-wrap: anywhere; } .members .number { text-align: right;
  white-space: nowrap; }
.members td:last-child { min-width: 12rem; } .members .hash { overflow-wrap: normal; }
"""


def short_hash(digest: str) -> str:
    """The first digits; a phrase where there is none."""
    return digest[:_SHORT] if digest else "not of a single file"


def sampling_told(sampling: Mapping[str, Any]) -> str:
    """How a network saw the videos; empty of a file of lines."""
    said = []
    for name, value in sampling.items():
        words = name.replace("_", " ")
        if value is True:
            said.append(words)
        elif value is not None and value is not False:
            said.append(f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}")
    return ", ".join(said)


def members_line(members: Sequence[Mapping[str, Any]]) -> str:
    """All of them in one phrase."""
    return "; ".join(_one(member) for member in members)


def _one(member: Mapping[str, Any]) -> str:
    said = [member.get("kind", ""), f"SHA-256 {short_hash(member.get('sha256', ''))}"]
    if member.get("checkpoint"):
        said.append(f"of {member['checkpoint']}, SHA-256 {short_hash(member.get('checkpoint_sha256') or '')}")
    said += [f"weight {_weight(member)}", sampling_told(member.get("sampling") or {})]
    return f"{member.get('file', '')} ({', '.join(filter(None, said))})"


def _weight(member: Mapping[str, Any]) -> str:
    return f"{100 * member.get('weight', 1):.3g} %"


def combined(average: str, smooth: float, members: int) -> str:
    """What was done to the scores of the members."""
    mean = f"Mean of the {average} of {members} members" if members > 1 else "One member, not averaged"
    return f"{mean}; {f'smoothed over {smooth:g} s' if smooth else 'not smoothed'}."


def members_table(members: Sequence[Mapping[str, Any]]) -> str:
    """A row each; the whole SHA-256 shows where a pointer rests on the short one."""
    rows = "".join(
        f"<tr><td>{escape(member.get('file', ''))}{_origin(member)}</td><td>{escape(member.get('kind', ''))}</td>"
        f'<td>{_hash(member.get("sha256", ""))}</td><td class="number">{_weight(member)}</td>'
        f"<td>{escape(sampling_told(member.get('sampling') or {})) or '–'}</td></tr>"
        for member in members
    )
    head = '<tr><th>file</th><th>kind</th><th>SHA-256</th><th class="number">weight</th><th>sampling</th></tr>'
    return f'<div class="members"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _origin(member: Mapping[str, Any]) -> str:
    if not member.get("checkpoint"):
        return ""
    digest = _hash(member.get("checkpoint_sha256") or "")
    return f'<br><span class="quiet">of {escape(member["checkpoint"])}, SHA-256 {digest}</span>'


def _hash(digest: str) -> str:
    return f'<span class="hash" title="{escape(digest)}">{escape(short_hash(digest))}</span>'
