"""What an evaluation leaves, whatever becomes of what comes after its score."""

import json

import numpy as np
import pytest

from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.recipes import members, results


def test_a_score_is_shown_and_written_before_anybody_looks_behind_it(tmp_path, capsys, monkeypatch):
    record = VideoRecord("a", duration_seconds=25.0, segments=(Segment(0, 1.0, 9.0),))
    videos = VideoSet("made up", ("run",), (record,), tmp_path / "x.csv")
    lines = "".join(f"a {frame} {frame / 25}\n" for frame in range(1, 26))
    (tmp_path / "x.txt").write_text(lines)
    words = {"predictions": [tmp_path / "x.txt"], "run": {"output": tmp_path / "out"}}
    cfg, protocol = EvaluateConfig.model_validate(words), CharadesLocalize()
    found = members.gathered(cfg, protocol, videos, members.read_files(cfg.predictions, videos))

    def interrupted(*_):
        assert "% mAP" in capsys.readouterr().out
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "analysis_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.finish(cfg, protocol, videos, found, trained=None, readers=None, submission=lines.encode())
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    expected = protocol.score(videos, {"a": np.arange(1, 26)[:, None] / 25})
    assert metrics["mAP"] == pytest.approx(expected.mAP) and "analysis" not in metrics
    assert (tmp_path / "out" / "submission.txt").read_text() == lines
    assert (tmp_path / "out" / "report.html").is_file()
