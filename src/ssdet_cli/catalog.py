"""A table of names: what can be chosen by a short name, and where it lives."""

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ssdet_cli.errors import ConfigError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" Did you mean '{lowered[match[0]]}'?" if match else ""


class Catalog:
    """Short name -> `"module:attribute"`, imported only when asked for.

    Somebody else's package adds a name by the entry point group; a name with a colon is an import path and needs no
    registration.

    Args:
        kind: What the names stand for, for error texts ("backbone").
        entries: Name -> `"module:attribute"`.
        aliases: Other name -> name.
        group: Entry point group that adds names (`ssdet.backbones`).
        families: Prefix that ends in a slash -> `"module:attribute"` of what takes the rest of a name as its first
            argument; the names of a family are known to that, not to the catalogue.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        group: str | None = None,
        families: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.entries = dict(entries)
        self.aliases = dict(aliases or {})
        self.group = group
        self.families = dict(families or {})

    def _plugins(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self.group)} if self.group else {}

    def names(self) -> list[str]:
        """All names without aliases and families, sorted; built-in names win over plug-ins of the same name."""
        return sorted({**self._plugins(), **self.entries})

    def canonical(self, name: str) -> str:
        """Return `name` with an alias replaced.

        Raises:
            ConfigError: No such name; the message holds the nearest and all known ones.
        """
        name = self.aliases.get(name, name)
        if ":" in name or name in self.entries or self._family(name) or name in self._plugins():
            return name
        rest = name.partition("/")[2]
        hint = nearest(name, [*self.names(), *self.aliases, *(prefix + rest for prefix in self.families if rest)])
        known = [*self.names(), *(f"{prefix}<name>" for prefix in self.families)]
        raise ConfigError(f"Unknown {self.kind} '{name}'.{hint} Known: {', '.join(known)}.")

    def _family(self, name: str) -> str:
        """Prefix of the family that `name` belongs to, or an empty string."""
        prefix, slash, rest = name.partition("/")
        return prefix + slash if rest and prefix + slash in self.families else ""

    def get(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            ConfigError: No such name, or its import path does not lead anywhere.
        """
        name = self.canonical(name)
        family = self._family(name)
        target = self.families[family] if family else name if ":" in name else {**self._plugins(), **self.entries}[name]
        module, _, attribute = target.partition(":")
        try:
            found = getattr(import_module(module), attribute)
            return partial(found, name.removeprefix(family)) if family else found
        except (ImportError, AttributeError) as error:
            kind = self.kind.capitalize()
            raise ConfigError(f"{kind} '{name}' cannot be imported from '{target}': {error}.") from error
