"""Files for later stages: whole, with their digests, and no process goes on to the next stage before they are there."""

import hashlib
import json

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


class _Folders(_Task):
    """Writes a file in a folder; a second call writes another one. `folders`: what each call was given."""

    def __init__(self, writes: bool = True):
        self.folders, self.writes = [], writes

    def artefacts(self, model, folder) -> bool:
        self.folders.append([path.name for path in folder.iterdir()])
        if self.writes:
            (folder / "deep").mkdir()
            (folder / "deep" / f"{len(self.folders)}.txt").write_text("content")
        return self.writes


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


def test_files_in_folders_are_listed_with_their_digests(tmp_path):
    save_artefacts(tmp_path, _Folders(), nn.Identity(), Position(3))
    content = json.loads((tmp_path / "artefacts" / "artefacts.json").read_text())
    digest = hashlib.sha256(b"content").hexdigest()
    assert content == {"made_after": Position(3).file_name, "files": {"deep/1.txt": digest}}
    files, of_all = load_artefacts(tmp_path)
    assert files == {"deep/1.txt": tmp_path / "artefacts" / "deep" / "1.txt"}
    assert of_all == hashlib.sha256(json.dumps({"deep/1.txt": digest}).encode()).hexdigest()


def test_they_are_made_once_for_a_checkpoint_and_again_for_a_later_one(tmp_path):
    task = _Folders()
    counts = []
    for epoch in (1, 1, 2):
        save_artefacts(tmp_path, task, nn.Identity(), Position(epoch))
        counts.append(len(task.folders))
    assert counts == [1, 1, 2]
    assert list(load_artefacts(tmp_path)[0]) == ["deep/2.txt"], "nothing of epoch 1 stays"


def test_what_a_killed_run_left_is_removed_first(tmp_path):
    (tmp_path / "artefacts.tmp").mkdir()
    (tmp_path / "artefacts.tmp" / "half.bin").touch()
    task = _Folders()
    save_artefacts(tmp_path, task, nn.Identity(), Position(1))
    assert task.folders == [[]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artefacts"]


def test_a_task_without_artefacts_leaves_no_folder(tmp_path):
    save_artefacts(tmp_path, _Folders(writes=False), nn.Identity(), Position(1))
    assert list(tmp_path.iterdir()) == []


def test_the_main_process_renames_after_all_have_written(tmp_path, monkeypatch):
    events: list[str] = []
    monkeypatch.setattr(
        distributed, "barrier", lambda: events.append(f"barrier, renamed {(tmp_path / 'artefacts').is_dir()}")
    )
    monkeypatch.setattr(_Task, "artefacts", lambda *_: events.append("artefacts") or True)
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    assert events == ["barrier, renamed False", "artefacts", "barrier, renamed False", "barrier, renamed True"]


def test_the_digest_of_all_is_of_names_and_contents_in_any_order(tmp_path):
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    path = tmp_path / "artefacts" / "artefacts.json"
    (path.parent / "b.txt").write_text("b")
    (path.parent / "a.txt").write_text("b")
    one = hashlib.sha256(b"b").hexdigest()
    digests = []
    for names in (["a.txt", "b.txt"], ["b.txt", "a.txt"], ["a.txt"]):
        path.write_text(json.dumps({"made_after": "", "files": dict.fromkeys(names, one)}))
        digests.append(load_artefacts(tmp_path)[1])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("fault", ["changed", "missing", "a folder", "outside"])
def test_a_file_that_is_not_the_saved_one_is_named(tmp_path, fault):
    save_artefacts(tmp_path, _Task(), nn.Identity(), Position(1))
    path = tmp_path / "artefacts" / "numbers.json"
    if fault == "changed":
        path.write_text("[2]")
    elif fault == "outside":
        (tmp_path / "numbers.json").write_text("[1]")
        files = {"../numbers.json": hashlib.sha256(b"[1]").hexdigest()}
        path.with_name("artefacts.json").write_text(json.dumps({"made_after": "", "files": files}))
    else:
        path.unlink()
    if fault == "a folder":
        path.mkdir()
    with pytest.raises(RunError, match=r"numbers\.json"):
        load_artefacts(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "1", '{"files": [1]}', '{"files": 1}', "{}", "[" * 100_000, b"\xff".decode("latin-1")]
)
def test_a_list_that_is_none_is_refused_and_made_again(tmp_path, content):
    task = _Folders()
    save_artefacts(tmp_path, task, nn.Identity(), Position(1))
    (tmp_path / "artefacts" / "artefacts.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match="artefacts"):
        load_artefacts(tmp_path)
    save_artefacts(tmp_path, task, nn.Identity(), Position(1))
    assert list(load_artefacts(tmp_path)[0]) == ["deep/2.txt"]
