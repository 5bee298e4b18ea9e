"""Outer loops, one estimator a file."""
