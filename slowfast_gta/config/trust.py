"""Whose configs may import PLUGINS, which are code: those that somebody wrote and names, and of the config.yaml that
runs leave, those of runs that this user trained, by path and digest.

The list is in the user's own config folder ($XDG_CONFIG_HOME, or ~/.config), one line of JSON for each run.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

RUN_CONFIG = "config.yaml"  # what a run leaves; a config that somebody writes has a better name


def trust_list() -> Path:
    """The file that holds the list."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home) / "slowfast_gta" / "trusted_runs.jsonl"


def is_trusted(path: Path) -> bool:
    """Whether this user trained the run whose config this is, and nobody has changed it since."""
    with contextlib.suppress(OSError, ValueError):
        entry = _entry(path)
        return any(json.loads(line) == entry for line in trust_list().read_text(encoding="utf-8").splitlines())
    return False


def save_trust(path: Path) -> None:
    """Put the config of this user's own run on the list. Where that cannot be written, --trust-plugins is left."""
    with contextlib.suppress(OSError):
        if not is_trusted(path):
            trust_list().parent.mkdir(parents=True, exist_ok=True)
            with trust_list().open("a", encoding="utf-8") as file:
                file.write(json.dumps(_entry(path)) + "\n")


def _entry(path: Path) -> dict[str, str]:
    return {"path": str(path.resolve()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
