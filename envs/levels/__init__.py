"""Levels: readers, packed tables and generators."""
