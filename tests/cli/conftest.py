"""Running commands in this process, in an empty folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ssdet_cli.__main__ import carry_out


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Ssdet = Callable[..., Outcome]


@pytest.fixture
def ssdet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ssdet:
    """Call `ssdet WORDS` in `tmp_path`; the environment is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("RANK", "WORLD_SIZE", "SSDET_LAUNCHED", "TORCHELASTIC_ERROR_FILE"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: object) -> Outcome:
        code = carry_out([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    return call
