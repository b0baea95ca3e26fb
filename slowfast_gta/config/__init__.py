"""From YAML to a checked, frozen config.

defaults: every key · values: types · settings: a key with its value, and what is wrong with it (Fault) · read: files
and their lines · pyslowfast: PySlowFast's own files · plugins: a user's modules · extension: a project's own sections ·
check, check_network: rules between keys · stages: a training in parts · load: all of it in order ·
arguments: the command line of the tools.
"""

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.extension import ConfigExtension
from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.read import packaged_configs
from slowfast_gta.config.settings import Fault

__all__ = ["ConfigExtension", "Fault", "get_defaults", "load_config", "packaged_configs", "save_config"]
