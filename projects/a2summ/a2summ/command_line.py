"""What every command of this project ends with: an exit code, and a sentence where the user has to do something."""

import importlib
import os
import sys
from collections.abc import Sequence

from slowfast_gta.errors import Interrupted, UserError


def run(module: str, arguments: Sequence[str] | None = None) -> int:
    """Run `module`.main; 1 or 2 and a sentence for a UserError, 130 where it was interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait sleep
    try:
        return importlib.import_module(module).main(arguments)
    except Interrupted as stop:
        print(f"{stop} The same command goes on from there.", file=sys.stderr)
        return stop.exit_code
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return Interrupted.exit_code
