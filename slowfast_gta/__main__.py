"""python -m slowfast_gta COMMAND ..."""

import sys

from slowfast_gta.commands import main

if __name__ == "__main__":
    sys.exit(main())
