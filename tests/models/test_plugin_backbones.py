"""Somebody else's backbone: the example of the documentation, by import path and by entry point."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model, list_models
from ssdet_cli.models.backbones import REQUIRED

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """A folder on the path with the page's `my_lab.py`."""
    (tmp_path / "my_lab.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_lab", None)


def install(folder: Path) -> None:
    """What pip would leave of the page's entry point."""
    group, name, value = re.search(r'entry-points\."(.+?)"\]\n(\w+) = "(.+?)"', block("toml")).groups()
    info = folder / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    importlib.invalidate_caches()


def test_the_example_is_about_thirty_lines():
    assert len(block("python").splitlines()) <= 32


@pytest.mark.parametrize("frames", [1, 6, 7])
def test_the_example_detects_by_its_import_path(lab, frames):
    model = create_model("my_lab:TinyFrames", 5, width=5, dropout=0.0)
    assert model.backbone.early.kernel_size == (5, 3, 3)
    logits = model(torch.randn(2, 3, frames, 32, 32))
    assert logits.shape == (2, 5, frames)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_example_has_a_short_name_once_it_is_installed(lab):
    install(lab)
    assert "tiny_frames" in list_models()
    assert create_model("tiny_frames", 5)(torch.randn(1, 3, 4, 32, 32)).shape == (1, 5, 4)
    with pytest.raises(ConfigError, match="Did you mean 'tiny_frames'"):
        create_model("tiny_frame", 5)


def test_the_command_line_lists_an_installed_one(lab):
    install(lab)
    search = os.pathsep.join([str(lab), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = [sys.executable, "-m", "ssdet_cli", "backbones"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=True)
    assert re.search(r"^tiny_frames\s+-", done.stdout, re.MULTILINE)
    assert "timm/<name>" in done.stderr and "module:attribute" in done.stderr


@pytest.mark.parametrize("attribute", REQUIRED)
def test_an_attribute_that_is_missing_is_named_in_one_line(lab, attribute, monkeypatch):
    lacking = importlib.import_module("my_lab").TinyFrames
    monkeypatch.delattr(lacking, attribute)
    with pytest.raises(ConfigError, match=rf"Backbone 'my_lab:TinyFrames' lacks `{attribute}` \(.+\); see") as caught:
        create_model("my_lab:TinyFrames", 5)
    assert "\n" not in str(caught.value)
    assert f"`{attribute}" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math:pi", "Backbone 'math:pi' is a float, which cannot be called to build a network"),
        ("math:gcd", "Backbone 'math:gcd' gives a value of type int, not a torch.nn.Module"),
        ("torch.nn:Linear", "Backbone 'torch.nn:Linear' cannot be built: missing a required argument: 'in_features'"),
        ("my_labb:TinyFrames", "cannot be imported from 'my_labb:TinyFrames'"),
    ],
)
def test_what_is_no_backbone_is_one_line(name, message):
    with pytest.raises(ConfigError, match=message):
        create_model(name, 5)
