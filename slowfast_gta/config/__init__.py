"""From YAML to a checked, frozen config.

defaults: every key · read: files and their lines · values: types · pyslowfast: PySlowFast's own files ·
plugins: a user's modules · check, check_network: rules between keys · load: all of it in order ·
arguments: the command line of the tools.
"""

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.read import packaged_configs

__all__ = ["get_defaults", "load_config", "packaged_configs", "save_config"]
