"""Papers as recipes: parts, numbers and the published claim, one paper a file."""
