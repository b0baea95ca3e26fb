"""`--cfg FILE [FILE ...] [--opts] KEY VALUE ...`, the part of the command line that every tool shares."""

import argparse
import contextlib
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from slowfast_gta.config.extension import Extra
from slowfast_gta.config.load import load_config
from slowfast_gta.errors import ConfigError

_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)+|[A-Z][A-Z0-9_]*")

_TOOL = re.compile(r"(?:python )?tools/(\w+)\.py")

_EXAMPLES = """\
examples:
  --cfg configs/SSv1/R2D50_GTA.yaml
  --cfg configs/SSv1/R2D50_GTA.yaml TRAIN.BATCH_SIZE 8 DATA.PATH_TO_DATA_DIR /data/ssv1
  --cfg configs/SSv1/R2D50_GTA.yaml ATTENTION.NAME NL
  --cfg configs/SSv1/R2D50_GTA.yaml configs/SSv1/R2D50_NL.yaml --opts SOLVER.BASE_LR 1e-3

Several files run one after the other, each with the same KEY VALUE pairs. docs/config.md lists more."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose help names the commands as they were called here; with an epilog, its lines stay as they are."""

    def format_help(self) -> str:
        if self.epilog:
            self.formatter_class = argparse.RawDescriptionHelpFormatter
        return as_called(super().format_help())


def as_called(text: str) -> str:
    """`text`, which names commands as a checkout has them, as whoever is here calls them: slowfast-gta run_net ..."""
    program = Path(sys.argv[0]).name
    in_checkout = (Path(__file__).resolve().parents[2] / "tools" / "run_net.py").is_file()
    if program == "__main__.py":
        return _TOOL.sub(r"python -m slowfast_gta \1", text)
    if program == "slowfast-gta" or not in_checkout:
        return _TOOL.sub(r"slowfast-gta \1", text)
    return text


def add_config_arguments(
    parser: argparse.ArgumentParser,
    required: bool = True,
    named: str = "config files, here or among the packaged configs",
) -> None:
    """Adds --cfg, --opts, --trust-plugins and, unless `parser` has an epilog, examples. `load_configs` reads them.

    required: whether the command line must have --cfg. named: what --cfg names.
    """
    parser.add_argument(
        "--cfg",
        nargs="+",
        metavar="FILE",
        action="extend",  # overrides may be given in several groups
        required=required,
        default=[],
        help=f"{named}; KEY VALUE pairs may follow",
    )
    parser.add_argument(
        "--opts",
        nargs="*",
        metavar="KEY VALUE",
        action="extend",
        default=[],
        help="keys with new values, which override those of the files; the word --opts itself may be left out",
    )
    add_trust_argument(parser)
    if not parser.epilog:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = _EXAMPLES


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --trust-plugins: what `load_config` is given as trust_plugins."""
    parser.add_argument(
        "--trust-plugins", action="store_true", help="import PLUGINS (code) from a run that is not yours"
    )


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that asks a trained network: which one it is, and --json.

    `inference.run_folder.load_trained` reads them.
    """
    add_config_arguments(parser, named="a run folder, its config, or another config")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a checkpoint of this package or of PySlowFast (default: the newest of the run)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def parse_arguments(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """parser.parse_args, but KEY VALUE pairs may also follow other flags, and a VALUE may be -1e-4.

    Ends the program with a sentence and exit code 2 for flags that `parser` does not have.
    """
    args, rest = parser.parse_known_args(argv)
    unknown = [token for token in rest if token.startswith("-") and not _is_number(token)]
    if unknown:
        parser.error(f"there is no flag {unknown[0]}; --help lists them all.")
    if args.opts:
        args.opts = [*args.opts, *rest]
    else:
        args.cfg = [*args.cfg, *rest]
    return args


def load_configs(args: argparse.Namespace, given: Sequence = (), extra: Extra = None) -> list[CfgNode]:
    """One config for each file of --cfg.

    given: KEY, VALUE pairs of the tool's own flags; they come last.
    extra: sections of a project's own, as load_config takes them.
    Raises ConfigError: for all files and overrides in one message.
    """
    files, overrides = split_tokens(args.cfg)
    more_files, more_overrides = split_tokens(args.opts)
    if more_files:
        raise ConfigError(f"{more_files[0]} follows --opts, which takes KEY VALUE pairs. Name files after --cfg.")
    if not files:
        raise ConfigError(f"--cfg names no file: {overrides[0]} is a KEY. Name a .yaml file before it.")
    configs, reports = [], []
    with _each_line_once():
        for file in files:
            try:
                configs.append(load_config(file, [*overrides, *more_overrides, *given], extra, args.trust_plugins))
            except ConfigError as error:
                reports.append(str(error))
    if reports:
        raise ConfigError("\n".join(dict.fromkeys(reports)))
    return configs


def load_one_config(args: argparse.Namespace, command: str) -> CfgNode:
    """The config of --cfg, for a `command` that takes one. Raises ConfigError."""
    configs = load_configs(args)
    if len(configs) > 1:
        raise ConfigError(f"{command} takes one config, but --cfg names {len(configs)} files.")
    return configs[0]


def check_output(output: Path | None, inputs: Iterable[str | Path]) -> None:
    """Raises ConfigError where the file `output` is one of those that are read: it would be lost."""
    if output is None or not output.exists():
        return
    for name in inputs:
        if Path(name).exists() and output.samefile(name):
            raise ConfigError(f"{output} is an input and would be overwritten: name another --output.")


@contextlib.contextmanager
def _each_line_once() -> Iterator[None]:
    """What several files of one command line have in common is logged once."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(seen)
        seen.add(record.getMessage())
        return len(seen) > before

    loggers = [logging.getLogger(f"slowfast_gta.config.{name}") for name in ("read", "load")]
    for logger in loggers:
        logger.addFilter(is_new)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_new)


def split_sources(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """What --cfg has collected -> (config files and KEY VALUE pairs, the rest: videos that stand behind them)."""
    settings, sources = list(tokens[:1]), []
    rest = iter(tokens[1:])
    for token in rest:
        if not token.endswith((".yaml", ".yml")) and Path(token).exists():
            sources.append(token)  # new_video.mp4 looks like a KEY
        elif _KEY.fullmatch(token):
            settings += [token, *([value] if (value := next(rest, None)) is not None else [])]
        elif token.endswith((".yaml", ".yml")) or _KEY.fullmatch(token.partition("=")[0]):
            settings.append(token)
        else:
            sources.append(token)
    return settings, sources


def split_tokens(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files among `tokens`, and the KEY, VALUE, KEY, VALUE ... Raises ConfigError for what is neither."""
    files: list[str] = []
    overrides: list[str] = []
    rest = iter(tokens)
    for token in rest:
        name, equals, value = token.partition("=")
        if token.endswith((".yaml", ".yml")) or Path(token).is_file():
            files.append(token)
        elif equals and _KEY.fullmatch(name):
            raise ConfigError(f"{token}: write a key and its value with a space between them: {name} {value}")
        elif _KEY.fullmatch(token):
            overrides += [token, _value_of(token, rest)]
        else:
            raise ConfigError(
                f"{token!r} is neither a config file (there is no such file, and it does not end with .yaml) "
                "nor a KEY such as TRAIN.BATCH_SIZE. KEYs are followed by one VALUE each; put a VALUE with spaces "
                "in quotes."
            )
    return files, overrides


def _value_of(key: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise ConfigError(f"{key} has no VALUE after it. Give KEY VALUE pairs, for example TRAIN.BATCH_SIZE 8.")
    return value


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True
