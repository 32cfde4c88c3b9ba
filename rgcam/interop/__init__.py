"""Models of other frameworks as the same two pure functions.

Empty so far: docs/own-model.md has recipes for Flax NNX, Equinox and Haiku.
"""
