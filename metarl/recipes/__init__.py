"""Recipes: one published result a file, as parts, numbers, and a verdict."""
