"""The part of an evaluation's report about kinds of errors."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ssdet_cli.viz.evaluation_words import MISSED, false_kinds, length_of, share, tolerance


def errors_section(errors: Mapping[str, Any] | None, classes: Sequence[str]) -> str:
    """Bars of both sorts of errors, tables by length and by crowd, and the pairs of classes that are mixed up."""
    if errors is None:
        return ""
    kinds = false_kinds(errors)
    false, missed = sum(errors["false"].values()), sum(errors["missed"].values())
    true = errors["true_cells"]
    related = {
        "mapping": f"Objects and verbs are those of {errors['mapping']}.",
        "words": "The first word of a class's name stands for its verb and the others for objects.",
        "": "The names of the classes share no words.",
    }[errors["related_by"]]
    told = (
        f"A class is found in a row where its score reaches its threshold, from which on as many rows are found as "
        f"have the action. {true:,} cells (a class in a row) have an action, {errors['found_cells']:,} of them are "
        f"found, {missed:,} missed; {false:,} more are found that have none. At a border is within "
        f"{tolerance(errors)}. {related} {errors['videos']:,} videos and {errors['actions']:,} actions, those without "
        "a score left out"
    )
    unseen = errors["actions_without_row"]
    told += f", and {unseen:,} so short that no row is in them." if unseen else "."
    parts = (
        ("Found where there is no such action", _bars(kinds, errors["false"], false, "false")),
        ("Missed", _bars(MISSED, errors["missed"], missed, "missed")),
        ("By length of the action", _by_length(errors)),
        ("By actions at once", _by_crowd(errors, kinds)),
        ("Mixed up most", _mixed_up(errors, classes)),
    )
    drawn = "".join(f"<h3>{title}</h3>{content}" for title, content in parts if content)
    return f'<p class="quiet">{escape(told)}</p>{drawn}'


def _bars(kinds: Mapping[str, str], counts: Mapping[str, int], total: int, kind_of: str) -> str:
    rows = "".join(
        f'<span class="what">{escape(words)}</span><i style="width:{100 * counts[kind] / max(total, 1):.2f}%"></i>'
        f'<span class="number">{counts[kind]:,} · {share(counts[kind], total)}</span>'
        for kind, words in kinds.items()
    )
    return f'<div class="kinds {kind_of}">{rows}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of numbers behind one of words."""
    return f'<div class="wide"><table>{_line(head, "th")}{"".join(_line(row, "td") for row in rows)}</table></div>'


def _line(texts: Sequence[str], tag: str) -> str:
    kinds = ["words"] + ["number"] * (len(texts) - 1)
    cells = (f'<{tag} class="{kind}">{escape(text)}</{tag}>' for kind, text in zip(kinds, texts, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _by_length(errors: Mapping[str, Any]) -> str:
    rows = []
    for group in errors["by_length"]:
        cells, missed, false = group["true_cells"], group["missed"], group["false"]
        rows.append(
            (
                length_of(group),
                f"{group['actions']:,}",
                share(group["wholly_missed"], group["actions"]),
                share(group["found_cells"], cells),
                *(share(missed[kind], cells) for kind in ("begins_late", "ends_early", "gap", "whole_action")),
                *(f"{false[kind] / group['actions']:.2f}" for kind in ("begins_early", "ends_late")),
            )
        )
    head = (
        "length",
        "actions",
        "wholly missed",
        "cells found",
        "found late",
        "lost early",
        "gap",
        "of missed actions",
        "rows too early, each",
        "too late, each",
    )
    return _table(head, rows)


def _by_crowd(errors: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    last = len(errors["by_crowd"]) - 1
    short = {
        "begins_early": "too early",
        "ends_late": "too late",
        "same_object": "same object",
        "same_verb": "same verb",
        "other_action": "another action",
        "background": "background",
    }
    if errors["related_by"] == "words":
        short |= {"same_object": "a word in common", "same_verb": "same first word"}
    rows = []
    for level in errors["by_crowd"]:
        if not level["rows"]:
            continue
        false = level["false"]
        number = level["actions_at_once"]
        rows.append(
            (
                f"{number} or more" if number == last else str(number),
                f"{level['rows']:,}",
                share(level["missed_cells"], level["true_cells"]),
                f"{sum(false.values()) / level['rows']:.2f}",
                *(f"{false[kind] / level['rows']:.2f}" for kind in kinds),
            )
        )
    head = ("actions at once", "rows", "cells missed", "false in a row", *(short[kind] for kind in kinds))
    return _table(head, rows)


def _mixed_up(errors: Mapping[str, Any], classes: Sequence[str]) -> str:
    rows = "".join(
        f'<tr><td class="words">{escape(classes[pair["found"]])}</td>'
        f'<td class="words">{escape(classes[pair["true"]])}</td><td class="number">{pair["rows"]:,}</td>'
        f'<td class="number">{pair["expected"]:,.0f}</td><td class="number">{pair["of_rows"]:,}</td></tr>'
        for pair in errors["mixed_up"]
    )
    head = (
        '<tr><th>wrongly found</th><th>while there is</th><th class="number">rows</th>'
        '<th class="number">by chance</th><th class="number">of rows</th></tr>'
    )
    told = "Classes that are found while another one goes on, more often than in rows at large."
    return f'<p class="quiet">{told}</p><div class="wide"><table>{head}{rows}</table></div>' if rows else ""
