"""Outer loops, one estimator a file, and what they share."""
