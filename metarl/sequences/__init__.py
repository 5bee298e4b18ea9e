"""Sequence tasks with labels: learning within a sequence, without an environment."""
