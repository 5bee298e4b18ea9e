"""Update rules, one paper a file; and `load`, for what outer loops have made of some of them."""

from metarl.rules.weights import Weights, load, save, shipped

__all__ = ["Weights", "load", "save", "shipped"]
