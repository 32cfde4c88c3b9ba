"""Models of other frameworks as the same two pure functions."""
