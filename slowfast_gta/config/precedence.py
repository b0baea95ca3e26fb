"""Which of several settings counts: of a block and its options, and of the stages of a training.

Settings come in the order of their files (what `_BASE_` names first), then those of the command line. Options belong to
the block they were written for: under another ATTENTION.NAME they are dropped, unless they stand in the same file, or
on the same command line, as that name. What the command line says of a key reaches every stage.
"""

from collections.abc import Iterable, Iterator

import yaml

from slowfast_gta.config.settings import COMMAND_LINE, OPTIONS, STAGES, Setting, file_and_line, flattened
from slowfast_gta.plain_yaml import load_yaml

NAME, LOCATION, REFINE = "ATTENTION.NAME", "ATTENTION.LOCATION", "ATTENTION.REFINE"


def settle(settings: Iterable[Setting]) -> tuple[list[Setting], list[str]]:
    """`settings` without those that later ones make meaningless, and what to log about it."""
    settled: list[Setting] = []
    notices: list[str] = []
    for setting in _spelled_out(settings):
        stage, key = split_stage(setting.key)
        on_command_line = setting.where == COMMAND_LINE
        if on_command_line and not stage:
            settled = _without_stages_own(settled, setting, notices)
        if key == NAME:
            settled = _under_another_name(settled, setting, notices)
        if key == OPTIONS and setting.value == {}:
            cleared = {"", *_stages(settled)} if on_command_line and not stage else {stage}
            settled = [other for other in settled if not (_is_option(other) and split_stage(other.key)[0] in cleared)]
            if not stage:
                continue  # a stage keeps it, for what it inherits
        settled.append(setting)
    return settled, notices


def split_stage(key: str) -> tuple[str, str]:
    """(stage, key in it) of STAGES.stage.KEY; ("", key) of any other."""
    if key.startswith(f"{STAGES}."):
        _, stage, *rest = key.split(".", 2)
        return stage, "".join(rest)
    return "", key


def _spelled_out(settings: Iterable[Setting]) -> Iterator[Setting]:
    """`settings`, with options that came as one mapping, or as its text, each by itself; an empty one stays whole."""
    for setting in settings:
        stage, key = split_stage(setting.key)
        if stage and not key and isinstance(setting.value, dict):
            yield setting._replace(value={})  # a stage is there even where it says nothing
            inside = [setting._replace(key=f"{setting.key}.{k}", value=v) for k, v in _flat(setting.value).items()]
            yield from _spelled_out(inside)
        elif key == OPTIONS and (options := _mapping(setting.value)) is not None:
            for name, value in options.items():
                yield setting._replace(key=f"{setting.key}.{name}", value=value)
            if not options:
                yield setting._replace(value={})
        else:
            yield setting


def _flat(keys: dict) -> dict[str, object]:
    """`flattened`, but options that are empty stay."""
    options = keys.get("ATTENTION", {}).get("OPTIONS") if isinstance(keys.get("ATTENTION"), dict) else None
    emptied = options == {} or keys.get(OPTIONS) == {}
    return flattened(keys) | ({OPTIONS: {}} if emptied else {})


def _mapping(value: object) -> dict | None:
    if isinstance(value, str):
        try:
            value = load_yaml(value)
        except yaml.YAMLError:
            return None
    return value if isinstance(value, dict) else None


def _stages(settings: Iterable[Setting]) -> list[str]:
    return [stage for stage in dict.fromkeys(split_stage(setting.key)[0] for setting in settings) if stage]


def _is_option(setting: Setting) -> bool:
    return split_stage(setting.key)[1].startswith(f"{OPTIONS}.")


def _name_in_force(settings: list[Setting], stage: str) -> object:
    """The block that `settings` name for a stage ("": outside of stages); None where none of them does."""
    return next((setting.value for setting in reversed(settings) if split_stage(setting.key) == (stage, NAME)), None)


def _without_stages_own(settled: list[Setting], given: Setting, notices: list[str]) -> list[Setting]:
    """What files say of the key `given` inside STAGES gives way to the command line."""
    kept = []
    for setting in settled:
        stage, key = split_stage(setting.key)
        has_no_block = key == NAME and setting.value == "none"  # so that there is none to change: it stays a backbone
        if not stage or key != given.key or setting.where == COMMAND_LINE or has_no_block:
            kept.append(setting)
        elif str(setting.value) != str(given.value):
            notices.append(
                f"{COMMAND_LINE}: {key} {given.value} applies to every stage, also to {stage}, which has "
                f"{setting.value}. "
                f"{STAGES}.{stage}.{key} on the command line applies to that stage alone."
            )
    return kept


def _under_another_name(settled: list[Setting], named: Setting, notices: list[str]) -> list[Setting]:
    """Under another block than before, what other files say of the block means nothing any more."""
    stage, source = split_stage(named.key)[0], file_and_line(named.where)[0]
    own_names = [name for name in _stages(settled) if _name_in_force(settled, name) is not None]
    heirs = [stage] if stage else ["", *(name for name in _stages(settled) if name not in own_names)]
    before = _name_in_force(settled, stage)
    if before is None and stage:
        before = _name_in_force(settled, "")
    if before is None or before == named.value:
        return settled
    dropped = []
    for setting in settled:
        of, key = split_stage(setting.key)
        meaningless = key.startswith(f"{OPTIONS}.") or key == REFINE or (key == LOCATION and named.value == "none")
        if of in heirs and meaningless and file_and_line(setting.where)[0] != source:
            dropped.append(setting)
    if dropped:
        message = ", ".join(dict.fromkeys(setting.key for setting in dropped))
        notices.append(f"{named.where}: {named.key} is {named.value}; dropped, since for {before}: {message}.")
    return [setting for setting in settled if setting not in dropped]
