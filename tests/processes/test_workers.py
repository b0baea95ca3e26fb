"""What a process that reads videos prints of its threads' faults: all of them, but for the end of the main process."""

import os

import pytest

from slowfast_gta.processes import workers


class Main:
    def __init__(self, alive: bool):
        self._alive = alive

    def join(self, timeout: float) -> None:
        pass

    def is_alive(self) -> bool:
        return self._alive


@pytest.mark.parametrize("fault", [ConnectionResetError(104), BrokenPipeError(32), EOFError()], ids=repr)
def test_a_connection_that_ends_with_the_main_process_is_no_traceback(fault, monkeypatch, capsys):
    ended = []

    def end(code):
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(workers.multiprocessing, "parent_process", lambda: Main(alive=False))
    with pytest.raises(SystemExit):
        workers._on_fault_of_a_thread(type(fault), fault, None)
    assert ended == [1] and not capsys.readouterr().err


@pytest.mark.parametrize(("fault", "alive"), [(ConnectionResetError(104), True), (ValueError("x"), False)])
def test_every_other_fault_is_printed(fault, alive, monkeypatch, capsys):
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail("the worker has ended"))
    monkeypatch.setattr(workers.multiprocessing, "parent_process", lambda: Main(alive))
    workers._on_fault_of_a_thread(type(fault), fault, None)
    assert type(fault).__name__ in capsys.readouterr().err
