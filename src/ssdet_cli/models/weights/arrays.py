"""Pickles of numpy arrays, read by an unpickler that can build nothing else."""

import _codecs
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

#: What damaged pickles raise besides `pickle.UnpicklingError`.
DAMAGED = (EOFError, ValueError, LookupError, AttributeError, TypeError, ImportError, OverflowError, MemoryError)

#: What numpy rebuilds its arrays and numbers with; its own pickles name them by the place they had when written.
_MAKERS = {
    maker.__name__: maker
    for maker in (np.ones(1).__reduce__()[0], np.ones(1).__reduce_ex__(5)[0], np.float64(1).__reduce__()[0])
}
_HOMES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PARTS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _codecs.encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(home, name): maker for home in _HOMES for name, maker in _MAKERS.items()},
}


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that is no part of an array; the text is its name."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PARTS:
            raise Refused(f"{module}.{name}")
        return _PARTS[module, name]


def load_arrays(path: Path) -> Any:
    """Read a pickle of containers, numbers, text and numpy arrays; text of Python 2 is taken as Latin-1.

    Raises:
        Refused: It holds anything else; nothing of it was built.
        pickle.UnpicklingError: Damaged, as are those that raise one of `DAMAGED`.
    """
    with open(path, "rb") as file:
        return _Unpickler(file, encoding="latin1").load()
