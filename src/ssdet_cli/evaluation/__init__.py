"""Scores of per-frame predictions; numpy only, so that scoring a file builds no network.

A protocol is a class without arguments: `PROTOCOLS.get("charades-localize")()`. `interface.py` says what it offers.
"""

from typing import TYPE_CHECKING, Any

from ssdet_cli.catalog import Catalog
from ssdet_cli.evaluation.average_precision import average_precision, mean_ap, weighted_ap

if TYPE_CHECKING:
    from ssdet_cli.evaluation.metric import FrameAveragePrecision

#: name -> class (no arguments) that keeps `interface.EvaluationProtocol`.
PROTOCOLS = Catalog(
    "protocol",
    {
        "action-conditional": "ssdet_cli.evaluation.action_conditional:ActionConditional",
        "charades-25-legacy": "ssdet_cli.evaluation.charades_25_legacy:Charades25Legacy",
        "charades-classify": "ssdet_cli.evaluation.charades_classify:CharadesClassify",
        "charades-localize": "ssdet_cli.evaluation.charades_localize:CharadesLocalize",
        "frame-map": "ssdet_cli.evaluation.frame_map:FrameMap",
        "multithumos-papers": "ssdet_cli.evaluation.multithumos_papers:MultiThumosPapers",
        "segment-map": "ssdet_cli.evaluation.segment_map:SegmentMap",
    },
    group="ssdet.protocols",
)

__all__ = ["PROTOCOLS", "FrameAveragePrecision", "average_precision", "mean_ap", "weighted_ap"]


def __getattr__(name: str) -> Any:
    """Import torch for the metric only."""
    if name == "FrameAveragePrecision":
        from ssdet_cli.evaluation.metric import FrameAveragePrecision

        return FrameAveragePrecision
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
