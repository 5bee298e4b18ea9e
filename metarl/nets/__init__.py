"""Building blocks of agents: parameters are plain dicts, layers are pairs of functions."""
