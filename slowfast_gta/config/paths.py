"""Paths of a config: they are resolved once, when it is loaded, and are absolute from then on.

`~` is the home folder, and what is relative is relative to the working directory. (PLUGINS and `_BASE_` are relative to
the YAML that names them, as they belong to it.) URLs and registered names of weights are no paths.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.settings import COMMAND_LINE, STAGES, Fault
from slowfast_gta.errors import ConfigError

FOLDERS = ("OUTPUT_DIR", "DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX")
WEIGHTS = ("TRAIN.CHECKPOINT_FILE_PATH", "TRAIN.TEACHER_FILE_PATH", "TEST.CHECKPOINT_FILE_PATH")
STAGE_WEIGHTS = ("START_FROM", "WEIGHTS", "TEACHER")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


def resolve_paths(cfg: CfgNode, config_name: str, set_at: Mapping[str, str]) -> tuple[list[str], list[Fault]]:
    """Make every path in `cfg` absolute; what to log about it, and what is wrong with them.

    config_name: the YAML's, for the default OUTPUT_DIR; set_at: {key: file:line, or "command line"}.
    """
    notices: list[str] = []
    faults: list[Fault] = []
    _choose_output_dir(cfg, config_name, set_at, notices)
    for node, name, key, is_weights in _path_values(cfg):
        value = node[name]
        if not value:
            continue
        if is_weights and is_reference(value):
            if not os.path.lexists(value):
                continue
            notices.append(f"{key} is {value}: using the file of that name here, not the published weights.")
        try:
            node[name] = resolved_path(value)
        except ValueError as error:
            faults.append(Fault(key, f"{key} is {value!r}; {error}"))
    return notices, faults


def resolved_path(path: str) -> str:
    """The absolute path that `path` means here; links stay. Raises ValueError with half a sentence."""
    if "\0" in path:
        raise ValueError("a path cannot contain a NUL character. Type it again.")
    if variable := _VARIABLE.search(path):
        raise ValueError(
            f"variables such as {variable[0]} are not expanded in a config. Write the folder itself, or give the key "
            "on the command line, where the shell expands them."
        )
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path would raise for users that are not there
    if expanded.startswith("~"):
        user = expanded.split("/", maxsplit=1)[0]
        raise ValueError(
            f"there is no home folder of a user {user[1:] or 'here'}. Write ./{user} if a folder has that name."
        )
    return os.path.abspath(expanded)  # noqa: PTH100 - resolve() would follow links that the user did not name


def check_separate_outputs(configs: Sequence[CfgNode]) -> None:
    """Raises ConfigError where two of several runs, or their stages, would write into one folder."""
    writers: dict[str, int] = {}
    for number, cfg in enumerate(configs, start=1):
        for folder in [cfg.OUTPUT_DIR, *(str(Path(cfg.OUTPUT_DIR) / stage) for stage in cfg.STAGES)]:
            if other := writers.get(folder):
                raise ConfigError(
                    f"Config {other} and config {number} of --cfg would both write to OUTPUT_DIR {folder}, and "
                    "the second would overwrite the first. Give each its own OUTPUT_DIR in its YAML, or run "
                    "them in two commands.",
                    ["OUTPUT_DIR"],
                )
            writers[folder] = number


def is_reference(value: str) -> bool:
    """Whether `value` is a URL or a registered name, which stand for weights without being paths."""
    if _URL.match(value):
        return True
    from slowfast_gta.models.weights.zoo import ZOO  # PyTorch comes with it, which --help does without

    return value in ZOO


def same_path(was: str, now: str) -> bool:
    """Whether a path of an older run, which may be relative to a folder that nobody has kept, can be `now`'s."""
    if not was or Path(was).is_absolute():
        return was == now
    parts = Path(os.path.normpath(was)).parts
    return resolved_or_itself(was) == now or Path(now).parts[-len(parts) :] == parts


def resolved_or_itself(path: str) -> str:
    """`resolved_path`, or what cannot be resolved as it is."""
    try:
        return resolved_path(path)
    except ValueError:
        return path


def is_path(key: str) -> bool:
    """Whether the value of `key` is a path."""
    return key in FOLDERS or key in WEIGHTS or (key.startswith(f"{STAGES}.") and key.split(".", 2)[-1] in _IN_STAGES)


_IN_STAGES = (*FOLDERS, *WEIGHTS, *STAGE_WEIGHTS)


def _path_values(cfg: CfgNode) -> Iterator[tuple[CfgNode, str, str, bool]]:
    """(node, name in it, dotted key, whether it may be weights by name) of every path; a stage's name is none."""
    for key in (*FOLDERS, *WEIGHTS):
        *sections, name = key.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        yield node, name, key, key in WEIGHTS
    for stage, settings in cfg.STAGES.items():
        for key in _IN_STAGES:
            value = settings.get(key)
            if isinstance(value, str) and (key == "WEIGHTS" or value not in cfg.STAGES):
                yield settings, key, f"{STAGES}.{stage}.{key}", key not in FOLDERS


def _choose_output_dir(cfg: CfgNode, config_name: str, set_at: Mapping[str, str], notices: list[str]) -> None:
    """Without one, runs/<name of the YAML>. PySlowFast's YAMLs have `.`, which would mix runs with the code here."""
    where = set_at.get("OUTPUT_DIR")
    if cfg.OUTPUT_DIR and (where == COMMAND_LINE or os.path.normpath(cfg.OUTPUT_DIR) != "."):
        return
    here = Path.cwd()
    if where and any(here.glob("checkpoints/checkpoint_epoch_*.pyth")):
        notices.append(f"{where}: OUTPUT_DIR . contains the checkpoints of a run: it resumes here, in {here}.")
        return
    cfg.OUTPUT_DIR = str(Path("runs", config_name))
    if where:
        notices.append(
            f"{where}: OUTPUT_DIR . would mix a run's files with everything else here: using {cfg.OUTPUT_DIR}. "
            "OUTPUT_DIR . on the command line, or a full path, is used unchanged."
        )
