"""What torch.compile keeps of networks whose inputs have several shapes."""

#: Shapes of validation, of trials and of a last, smaller batch.
_OTHERS = 8


def one_graph_per_shape(shapes: int) -> None:
    """Let every compiled function keep a graph for each of so many shapes and some more, so that none is made twice."""
    from torch._dynamo import config  # a second that importing the engine does not pay

    config.recompile_limit = max(config.recompile_limit, shapes + _OTHERS)
