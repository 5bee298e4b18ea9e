"""Vectorised JAX environments, one file each. Installed as `metarl.envs`."""

if __name__ == "envs":  # imported from the root of a checkout
    from metarl.alias import serve

    serve("envs", "metarl.envs")
