"""Per-frame heads: built as `head(in_features, num_classes, *, hidden, ...)`, they take (B, C, T) to (B, K, T).

`hidden` is the backbone's `head_hidden`. `classifier` names the submodule whose rows are classes, so that weights for
other classes can be told from weights that do not fit.
"""

from ssdet_cli.catalog import Catalog

HEADS = Catalog("head", {"linear": "ssdet_cli.models.heads.linear:LinearHead"}, group="ssdet.heads")
