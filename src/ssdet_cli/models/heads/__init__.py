"""Per-frame heads: from the features of a video's frames to the logits of every frame.

A head is built as `head(in_features, num_classes, *, hidden, ...)` and is an `nn.Module` with

- `forward(features, lengths=None)`: (B, C, T) -> (B, K, T). `lengths` (B,) are the steps of each video that are real,
  on any device, None where all are; what stands in the others, and the rest of the batch, change nothing at them;
- `classifier`: name of the submodule in which every parameter's rows are classes, with one called `weight`; weights
  for other classes replace or leave it as a whole.

`hidden` is the backbone's `head_hidden`; no torch is imported until a head is asked for.
"""

from ssdet_cli.catalog import Catalog

HEADS = Catalog(
    "head",
    {
        "linear": "ssdet_cli.models.heads.linear:LinearHead",
        "super_event": "ssdet_cli.models.heads.super_event:SuperEventHead",
        "tgm": "ssdet_cli.models.heads.tgm:TGMHead",
        "tgm_super_event": "ssdet_cli.models.heads.tgm_super_event:TGMSuperEventHead",
    },
    group="ssdet.heads",
)
