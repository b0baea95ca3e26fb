"""A project's own sections of a config, beside the core's: with the same checks, for one load only.

extra = ConfigExtension(
    {"ASM_LOC": {"NUM_SNIPPETS": 750, "MARGIN": None}},
    types={"ASM_LOC.MARGIN": (float, type(None))},
    check=lambda cfg: [] if cfg.ASM_LOC.NUM_SNIPPETS > 0 else [Fault("ASM_LOC.NUM_SNIPPETS", "...")],
)
cfg = load_config("my.yaml", extra=extra)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fvcore.common.config import CfgNode

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.pyslowfast import SECTIONS
from slowfast_gta.config.settings import Fault
from slowfast_gta.config.values import CORE, KeyTypes
from slowfast_gta.errors import ConfigError


@dataclass(frozen=True)
class ConfigExtension:
    """Sections of one's own.

    defaults: {section: its keys with their defaults}; a value's type is the type of its default.
    types: {dotted key: the types its value may have}, where the default's is not the only one.
    choices: {dotted key: the values it may have}.
    check: what must hold between keys; it is given the whole config and yields Faults.
    """

    defaults: Mapping[str, Mapping]
    types: Mapping[str, tuple[type, ...]] = field(default_factory=dict)
    choices: Mapping[str, tuple] = field(default_factory=dict)
    check: Callable[[CfgNode], Iterable[Fault]] = lambda cfg: ()


Extra = ConfigExtension | Mapping[str, Mapping] | None
"""What `load_config` takes: nothing, the defaults alone (a CfgNode, a dict), or all that there is to say."""


def extension_of(extra: Extra) -> ConfigExtension:
    """`extra` as an extension. Raises ConfigError where it takes a name that is not free, or is no section."""
    extension = extra if isinstance(extra, ConfigExtension) else ConfigExtension(extra or {})
    taken = get_defaults()
    for name, section in extension.defaults.items():
        if name in taken or name in SECTIONS:
            owner = "slowfast_gta" if name in taken else "PySlowFast"
            raise ConfigError(f"extra: {name} is already a key of {owner}. Choose another name.", (name,))
        if not isinstance(section, Mapping):
            raise ConfigError(f"extra: {name} must be a section, {{key: default}}, not {section!r}.", (name,))
    return extension


def extended_defaults(extension: ConfigExtension) -> CfgNode:
    """All keys of the core and of `extension` with their defaults."""
    cfg = get_defaults()
    cfg.update(CfgNode({name: dict(section) for name, section in extension.defaults.items()}).clone())
    return cfg


def extended_types(extension: ConfigExtension) -> KeyTypes:
    """The types and choices of the core's keys and of `extension`'s."""
    return KeyTypes({**CORE.types, **extension.types}, {**CORE.choices, **extension.choices})
