"""From YAML to a checked, frozen config."""

from slowfast_gta.config.check import check_config, check_data_paths
from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.config.load import load_config, save_config
from slowfast_gta.config.read import packaged_configs

__all__ = ["check_config", "check_data_paths", "get_defaults", "load_config", "packaged_configs", "save_config"]
