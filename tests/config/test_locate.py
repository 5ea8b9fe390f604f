import pytest

from ssdet_cli.config.locate import locate, shipped, shipped_root
from ssdet_cli.errors import ConfigError


def test_every_shipped_configuration_has_a_name_that_leads_back_to_it():
    found = shipped()
    assert len(found) == len(list(shipped_root().rglob("*.yaml"))) > 0
    for name, path in found.items():
        command, bare = name.split("/")
        assert locate(name, command) == locate(bare, command) == path


def test_a_file_comes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generated").write_text("")
    assert locate("generated", "pretrain").read_text() == ""


def test_a_bare_name_is_looked_for_under_its_own_command():
    assert locate("generated", "pretrain") != locate("generated", "finetune")


def test_an_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(ConfigError, match=r"Did you mean 'generated'\? Shipped: .*generated"):
        locate("generatd", "pretrain")
