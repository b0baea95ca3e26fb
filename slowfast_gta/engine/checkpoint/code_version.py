"""Which code made a checkpoint."""

import functools
import hashlib
import subprocess
from pathlib import Path

import slowfast_gta


@functools.cache
def code_version() -> str:
    """The package's version; with the commit where it is a git checkout (0.1.0+3f2c1ab, -dirty where edited)."""
    root = Path(slowfast_gta.__file__).parents[1]
    if not (root / ".git").exists():
        return slowfast_gta.__version__
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return slowfast_gta.__version__
    commit = done.stdout.strip()
    return f"{slowfast_gta.__version__}+{commit}" if commit else slowfast_gta.__version__


@functools.cache
def code_digest() -> str:
    """The package's version and a digest of its files: equal where two machines run the same code."""
    folder = Path(slowfast_gta.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return f"{slowfast_gta.__version__}+{digest.hexdigest()[:12]}"
