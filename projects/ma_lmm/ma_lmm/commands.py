"""This project's commands. What a user can do wrong ends as one sentence and an exit code, as the core's commands do."""

import importlib
import sys
from collections.abc import Sequence

from slowfast_gta.errors import Interrupted, UserError


def run_project_command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run `ma_lmm.NAME`'s main; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return importlib.import_module(f"ma_lmm.{name}").main(arguments)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return Interrupted.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain about it at exit
        return 1
    except ModuleNotFoundError as fault:
        if fault.name not in ("transformers", "tokenizers", "safetensors", "pycocoevalcap"):
            raise
        print(f"error: {fault.name} is not installed: pip install 'slowfast_gta[ma_lmm]'.", file=sys.stderr)
        return 2
    except OSError as fault:
        where = f": {fault.filename}" if fault.filename else ""
        print(f"error: {fault.strerror}{where}.", file=sys.stderr)
        return 1
