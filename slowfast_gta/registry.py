"""A registry is a contract and a list of names: for an unknown name the error lists the known ones."""

import difflib
from typing import Any

from fvcore.common.registry import Registry as _Registry

from slowfast_gta.errors import ConfigError


class Registry(_Registry):
    """fvcore's Registry whose `find` names the config key and the known names when it fails."""

    def known(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(name for name, _ in self)

    def find(self, name: str, key: str) -> Any:
        """The object registered as `name`. Raises ConfigError that names `key`, the config key it came from."""
        if name in self:
            return self.get(name)
        near = difflib.get_close_matches(name, self.known(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{key}: nothing is registered as '{name}'.{hint} Known: {', '.join(self.known())}. "
            "PLUGINS imports a module of your own.",
            [key],
        )
