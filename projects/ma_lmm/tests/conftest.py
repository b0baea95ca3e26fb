"""Without transformers there is nothing to test here, which is said."""

import os
from importlib.util import find_spec

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

IS_INSTALLED = find_spec("transformers") is not None
collect_ignore_glob = [] if IS_INSTALLED else ["test_*.py"]


def pytest_terminal_summary(terminalreporter) -> None:
    if not IS_INSTALLED:
        terminalreporter.write_line("NOT RUN: projects/ma_lmm/tests need transformers (pip install '.[ma-lmm]').")
