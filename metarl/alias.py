"""One package under two names: in a checkout `import envs` is `import metarl.envs`."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType


def serve(alias: str, name: str) -> None:
    """Makes the package `alias` and everything in it the very modules of the package `name`."""
    sys.modules[alias] = importlib.import_module(name)
    if not any(isinstance(finder, _Alias) and finder.alias == alias for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias(alias, name))


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `alias.x` as the module `name.x`, already imported or not."""

    def __init__(self, alias: str, name: str):
        self.alias, self.name = alias, name

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(self.alias + "."):
            return None
        real = importlib.import_module(self.name + fullname.removeprefix(self.alias))
        return importlib.machinery.ModuleSpec(fullname, self, loader_state=(real, real.__spec__))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return spec.loader_state[0]

    def exec_module(self, module: ModuleType) -> None:
        alias_spec = module.__spec__  # the import system has just put the alias's spec here
        if alias_spec is not None and alias_spec.loader is self:
            module.__spec__ = alias_spec.loader_state[1]
