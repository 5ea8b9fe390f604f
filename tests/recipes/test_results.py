"""What an evaluation leaves, whatever becomes of what comes after its score."""

import json

import numpy as np
import pytest

from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.recipes.results import finish


def test_a_score_is_shown_and_written_before_anybody_looks_behind_it(tmp_path, capsys):
    record = VideoRecord("a", duration_seconds=25.0, segments=(Segment(0, 1.0, 9.0),))
    videos = VideoSet("made up", ("run",), (record,), tmp_path / "x.csv")
    result = CharadesLocalize().score(videos, {"a": np.ones((25, 1))})
    cfg = EvaluateConfig.model_validate({"predictions": ["x.txt"], "run": {"output": tmp_path / "out"}})

    def interrupted():
        assert "% mAP" in capsys.readouterr().out
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(cfg, result, lambda: b"a 1 1\n", interrupted)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mAP"] == result.mAP and "analysis" not in metrics
    assert (tmp_path / "out" / "submission.txt").read_bytes() == b"a 1 1\n"
    assert (tmp_path / "out" / "report.html").is_file()
