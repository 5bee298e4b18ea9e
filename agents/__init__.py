"""Agents, one file each. Installed as `metarl.agents`."""

if __name__ == "agents":  # imported from the root of a checkout
    from metarl.alias import serve

    serve("agents", "metarl.agents")
