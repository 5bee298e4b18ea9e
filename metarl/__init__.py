"""Meta-reinforcement learning in JAX: environments, agents, update rules and outer loops."""

from metarl.registry import make, register, registered

__all__ = ["make", "register", "registered"]
__version__ = "0.1.0"
