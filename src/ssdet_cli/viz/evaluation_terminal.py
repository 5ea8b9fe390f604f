"""The kinds of errors, and the best and worst videos, for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssdet_cli.viz.evaluation_words import MISSED, false_kinds, share


def print_analysis(console: Console, analysis: Mapping[str, Any]) -> None:
    """Show what there is of them."""
    if analysis["errors"] is not None:
        console.print(_errors(analysis["errors"]))
    if analysis["videos"] is not None:
        for end in ("best", "worst"):
            few = ", ".join(f"{one['video']} ({100 * one['AP']:.1f} %)" for one in analysis["videos"][end])
            if few:
                console.print(Text(f"{end.capitalize()} videos by their own AP: {few}"), style="dim")


def _errors(errors: Mapping[str, Any]) -> Table:
    table = Table(title="errors over time", title_style="bold", title_justify="left")
    table.add_column("kind")
    table.add_column("class-rows", justify="right")
    table.add_column("share", justify="right")
    for title, kinds, counts in (
        ("found without action", false_kinds(errors), errors["false"]),
        ("missed", MISSED, errors["missed"]),
    ):
        total = sum(counts.values())
        table.add_row(title, f"{total:,}", "", style="bold")
        for kind, words in kinds.items():
            table.add_row(f"  {words}", f"{counts[kind]:,}", share(counts[kind], total))
        table.add_section()
    return table
