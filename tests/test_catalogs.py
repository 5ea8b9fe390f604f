"""A catalogue holds strings, which no import checker sees: every entry must lead to something."""

import pytest

from ssdet_cli.catalog import Catalog
from ssdet_cli.data import DATASETS
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.heads import HEADS

CATALOGS = {catalog.kind: catalog for catalog in (BACKBONES, HEADS, DATASETS, PROTOCOLS)}
ENTRIES = [(kind, name) for kind, catalog in CATALOGS.items() for name in catalog.names()]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_resolves_to_something_that_can_be_called(kind, name):
    assert callable(CATALOGS[kind].get(name))


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_every_catalogue_has_entries_and_its_aliases_lead_to_them(catalog):
    assert catalog.entries
    for alias, name in catalog.aliases.items():
        assert catalog.canonical(alias) == name in catalog.entries


def test_every_backbone_has_its_row_of_sizes():
    assert set(INFO) == set(BACKBONES.entries)


def test_a_name_with_a_colon_is_an_import_path():
    assert Catalog("thing", {}).get("math:sqrt")(4) == 2


def test_an_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(ConfigError, match=r"Unknown thing 'alpa'\. Did you mean 'alpha'\? Known: alpha, beta\."):
        Catalog("thing", {"beta": "b:b", "alpha": "a:a"}).get("alpa")


@pytest.mark.parametrize("target", ["no_such_module:x", "math:no_such_name"])
def test_an_import_path_that_leads_nowhere_is_told(target):
    with pytest.raises(ConfigError, match=f"cannot be imported from '{target}'"):
        Catalog("thing", {"name": target}).get("name")
