"""PLUGINS: a user's own modules, imported so that what they register can be named in a config."""

import importlib
import importlib.util
import sys
import traceback
from hashlib import sha1
from pathlib import Path

from slowfast_gta.errors import ConfigError


def expanded(path: str | Path) -> Path:
    """`path` with the home folder that a ~ in front stands for. Raises ConfigError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: that user has no home folder. Write the path without ~.") from None


def plugin_name(name: str, folder: Path) -> str:
    """`name` as it is kept in a config: a file's absolute path, or a module's name as it is."""
    is_file = name.endswith(".py") or "/" in name
    return str((folder / expanded(name)).resolve()) if is_file else name


def import_plugin(name: str) -> None:
    """Imports a module or an absolute file, once per process. Raises ConfigError that names the plugin."""
    try:
        if name.endswith(".py") or "/" in name:
            _import_file(Path(name))
        else:
            if str(Path.cwd()) not in sys.path:
                sys.path.append(str(Path.cwd()))  # `python tools/run_net.py` does not look in the current folder
            importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (name, name.split(".", maxsplit=1)[0]):
            raise ConfigError(
                f"there is no module {name}. A plugin is a module that Python finds (in {Path.cwd()}, on PYTHONPATH or "
                "installed) or a file such as ./my_block.py."
            ) from error
        raise ConfigError(f"the plugin {name} could not be imported: {_as_text(error)}") from error


def _import_file(path: Path) -> None:
    module_name = f"slowfast_gta_plugin_{path.stem}_{sha1(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    if not path.is_file():
        raise ConfigError(f"there is no plugin file {path}. A relative one is relative to the YAML that names it.")
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError("the name of a plugin file must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _as_text(error: Exception) -> str:
    """The error in one line, with the file and line of the user's code where it happened."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(__file__).resolve().parent.parent)
    others = (own, sys.prefix, sys.base_prefix, "<frozen")
    frames = [frame for frame in frames if not frame.filename.startswith(others)] or frames[-1:]
    location = f" in {frames[-1].filename}:{frames[-1].lineno}"
    return f"{type(error).__name__}{location}: {error}"
