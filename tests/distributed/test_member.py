import os
import subprocess
import sys

# The part of the C library that takes a process down aborts it, as gloo's threads sometimes make C++ do.
_ABORTS = """
import atexit, ctypes, os, sys
libc = ctypes.CDLL(None)
abort = ctypes.CFUNCTYPE(None)(os.abort)
libc.__cxa_atexit(abort, None, None)
from slowfast_gta.distributed import end_member
atexit.register(print, "closed in order")
"""


def _end(lines: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", _ABORTS + lines], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_member_of_a_group_ends_before_the_c_library_takes_it_down():
    ended = _end("end_member.__globals__['_left'].set()\nend_member(3)\nprint('never')")
    assert (ended.returncode, ended.stdout) == (3, "closed in order\n"), ended.stderr


def test_another_process_is_not_ended():
    ended = _end("end_member(3)\nprint('goes on')\nsys.stdout.flush()\nos._exit(5)")
    assert (ended.returncode, ended.stdout) == (5, "goes on\n"), ended.stderr
