"""Vectorised JAX environments, one file each. Installed as `metarl.envs`."""

if __name__ == "envs":  # `import envs` from a checkout: hand back the one true package
    import importlib
    import sys

    sys.modules["envs"] = importlib.import_module("metarl.envs")
