"""Files for later stages: no process goes on to the next stage before they are there."""

import pytest
from torch import nn

from slowfast_gta import distributed
from slowfast_gta.engine.checkpoint.artefacts import load_artefacts, save_artefacts
from slowfast_gta.engine.checkpoint.checkpoint import Position
from slowfast_gta.errors import RunError


class _Task:
    def artefacts(self, model, folder) -> bool:
        (folder / "numbers.json").write_text("[1]")
        return True


@pytest.fixture
def seen_at_barriers(tmp_path, monkeypatch) -> list[bool]:
    """Whether the artefacts were there, each time all processes had come together."""
    seen: list[bool] = []
    monkeypatch.setattr(distributed, "barrier", lambda: seen.append((tmp_path / "artefacts").is_dir()))
    return seen


def test_all_ranks_pass_the_rendezvous(tmp_path, seen_at_barriers):
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    assert seen_at_barriers[-1] and not any(seen_at_barriers[:-1])
    files, _ = load_artefacts(tmp_path)
    assert {name: path.read_text() for name, path in files.items()} == {"numbers.json": "[1]"}


def test_no_process_begins_before_the_folder_is_there(tmp_path, monkeypatch):
    events: list[str] = []
    monkeypatch.setattr(
        distributed, "barrier", lambda: events.append(f"barrier, folder {(tmp_path / 'artefacts.tmp').is_dir()}")
    )
    monkeypatch.setattr(_Task, "artefacts", lambda *_: events.append("artefacts"))
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    assert events[:2] == ["barrier, folder True", "artefacts"]


def test_a_process_that_writes_nothing_waits_as_often(tmp_path, seen_at_barriers, monkeypatch):
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    of_main = len(seen_at_barriers)
    seen_at_barriers.clear()
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    (tmp_path / "of_other" / "artefacts.tmp").mkdir(parents=True)
    save_artefacts(tmp_path / "of_other", _Task(), nn.Identity(), Position(1))
    assert len(seen_at_barriers) == of_main
    with pytest.raises(RunError):
        load_artefacts(tmp_path / "of_other")
