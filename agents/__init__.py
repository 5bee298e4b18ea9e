"""Agents, one file each. Installed as `metarl.agents`."""

if __name__ == "agents":  # `import agents` from a checkout: hand back the one true package
    import importlib
    import sys

    sys.modules["agents"] = importlib.import_module("metarl.agents")
