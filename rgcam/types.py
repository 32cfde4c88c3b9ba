"""Types that every room shares: arrays, plain data, and arguments of many functions."""

import os
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Float, PyTree

Tensor: TypeAlias = Array | np.ndarray
"""An array on a device or on the host. Public functions take either."""

Variables: TypeAlias = PyTree
"""A model's variables: a pytree of arrays, such as ``{"params": {...}}``."""

Params: TypeAlias = dict[str, PyTree]
"""Parameters of a model or of a part of it, by the name of each layer."""

Classify: TypeAlias = Callable[[Float[Array, "in h w K"]], Float[Array, "out C"]]
"""The model above the cut: feature map A -> pre-softmax scores of every output step."""

Box: TypeAlias = tuple[int, int, int, int]
"""A rectangle in pixels: top, left, bottom, right; bottom and right are exclusive."""

Fields: TypeAlias = Mapping[str, object]
"""Plain data for a JSON file: strings, numbers, lists and mappings of them."""

File: TypeAlias = str | os.PathLike[str]
"""The path of a file."""

Number: TypeAlias = float | int
"""A number that need not be whole, such as seconds."""
