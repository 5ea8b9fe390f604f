"""Backbones: what turns clips into per-frame features.

A backbone is an `nn.Module` with

- `num_features`: C of its pooled features; `head_hidden`: width of the layer between features and classifier that
  belongs to this family, or None;
- `stage_names`, `stage_channels`: outputs that can be asked for by name, first to last;
- `temporal_stride`: input frames per feature frame;
- `normalization`: per-channel mean and standard deviation of RGB in [0, 1] that its input should be normalised with;
- `default_clip`: number of frames, raw frames from one to the next, and crop in pixels;
- `forward_features(frames)`: (B, 3, T, H, W) -> (B, C, T / temporal_stride), mean over space;
- `forward_stages(frames, names)`: the named stages, each (B, C, T / temporal_stride, h, w).

A backbone that can trade time for memory also has `set_checkpointing(enabled)`: its blocks then keep their inputs only
and run again in the backward pass (`layers.checkpoint.recompute`); outputs, gradients and statistics stay the same.

One family is one file; a new name is one line here. No torch is imported until a backbone is asked for.
"""

from ssdet_cli.catalog import Catalog

BACKBONES = Catalog(
    "backbone",
    {
        "x3d_tiny": "ssdet_cli.models.backbones.x3d:x3d_tiny",
        "x3d_xs": "ssdet_cli.models.backbones.x3d:x3d_xs",
        "x3d_s": "ssdet_cli.models.backbones.x3d:x3d_s",
        "x3d_m": "ssdet_cli.models.backbones.x3d:x3d_m",
        "x3d_l": "ssdet_cli.models.backbones.x3d:x3d_l",
        "x3d_xl": "ssdet_cli.models.backbones.x3d:x3d_xl",
    },
    aliases={"x3d": "x3d_m"},
    group="ssdet.backbones",
)
