"""The checks of data sets, on miniatures of all of them with every kind of fault put in."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import cv2
import pytest
from epic_miniature import TRAIN, VAL_100, make_epic, make_frames, make_video
from made_videos import numbered_frame, write_frames, write_video
from miniatures import CFG, ROOT, command, keys, make_ssv1, run

from slowfast_gta import load_config
from slowfast_gta.commands import run_command
from slowfast_gta.data_check import check_data as module
from slowfast_gta.data_check.check_data import check_data
from slowfast_gta.data_check.examine import examine
from slowfast_gta.data_check.rules import KINDS, order_findings, pair_findings
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.datasets.something import SSv1
from slowfast_gta.errors import Interrupted

KINETICS = ROOT / "configs" / "Kinetics" / "R2D50.yaml"
SHORT = ["DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 1]


@pytest.fixture
def run_check(tmp_path, capsys):
    """run_check(cfg, folder, KEY, VALUE, ..., decode=...) -> (exit code, the report)."""

    def call(cfg: Path, folder: Path, *pairs: object, decode: str = "sample") -> tuple[int, dict]:
        where = ("DATA.PATH_TO_DATA_DIR", folder, "OUTPUT_DIR", tmp_path / "out")
        flags = ["--json", "--decode", decode, "--workers", "1", "--cfg", str(cfg)]
        code = run_command("check_data", [*flags, *keys(*SHORT, *where, *pairs)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        report = json.loads(captured.out)
        assert report == json.loads((tmp_path / "out" / "check_data.json").read_text())
        assert code == int(not report["clean"]) == int(bool(report["faults"]))
        return code, report

    return call


def counts(report: dict, part: str = "faults") -> dict[str, int]:
    return {kind: found["count"] for kind, found in report[part].items()}


def messages(report: dict, kind: str) -> str:
    found = (report["faults"] | report["remarks"])[kind]
    assert found["count"] == len(found["findings"]) and found["advice"]
    return "\n".join(f"{split}: {message}" for split, message in found["findings"])


def test_a_clean_data_set_is_clean(run_check, ssv2):
    code, report = run_check(CFG, ssv2, "MODEL.NUM_CLASSES", 3, decode="all")
    assert (code, report["faults"], report["remarks"]) == (0, {}, {})
    assert list(report["splits"]) == ["train", "val, test"]  # one list for both
    train = report["splits"]["train"]
    assert (train["num_videos"], train["num_classes"]) == (12, 3)
    assert train["num_frames"] == {"min": 12, "median": 14, "max": 16}
    assert report["num_videos"] == 18 and report["num_known_before"] == 0


def test_every_fault_of_ssv2_is_found(run_check, ssv2, tmp_path):
    folder = Path(shutil.copytree(ssv2, tmp_path / "v2"))
    videos = folder / "20bn-something-something-v2"
    (videos / "1000.webm").unlink()
    (videos / "1001.webm").write_bytes(b"")
    (videos / "1002.webm").write_bytes((videos / "1002.webm").read_bytes()[:600])
    (videos / "1003.webm").unlink()
    os.mkfifo(videos / "1003.webm")
    shutil.copy(videos / "1004.webm", videos / "1013.webm")  # of the validation list
    shutil.copy(videos / "1005.webm", videos / "1008.webm")  # of the same class
    shutil.copy(videos / "1006.webm", videos / "1010.webm")  # of another
    write_video(videos / "1011.webm", 3, height=32, width=32)
    path = folder / "something-something-v2-validation.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([*entries, {"id": "1007", "template": entries[0]["template"]}]))
    code, report = run_check(CFG, folder, "MODEL.NUM_CLASSES", 4, decode="none")
    assert counts(report) == {"classes": 1, "missing": 1, "unreadable": 2, "in two splits": 2, "two labels": 1}
    code, report = run_check(CFG, folder, "MODEL.NUM_CLASSES", 4)
    assert code == 1
    assert counts(report) == {"classes": 1, "missing": 1, "unreadable": 3, "in two splits": 2, "two labels": 1}
    assert counts(report, "remarks") == {"twice": 1, "short": 1, "sizes of videos": 1}
    assert "train: " + str(videos / "1000.webm") in messages(report, "missing")
    assert all(name in messages(report, "unreadable") for name in ("1001.webm", "1002.webm", "1003.webm"))
    assert re.search(r"\b1013\b.* same content .*\b1004\b", messages(report, "in two splits"))
    assert "1007.webm is listed in both" in messages(report, "in two splits")
    assert re.search(r"\b3 frames\b.*\b4\b", messages(report, "short"))


def test_wrong_labels_of_a_list_are_all_found(run_check, ssv2, tmp_path):
    folder = Path(shutil.copytree(ssv2, tmp_path / "v2"))
    path = folder / "something-something-v2-train.json"
    entries = json.loads(path.read_text())
    entries[3]["template"] = entries[5]["template"] = "Eating [something]"
    del entries[7]["id"]
    path.write_text(json.dumps(entries))
    _, report = run_check(CFG, folder, "MODEL.NUM_CLASSES", 3)
    assert counts(report) == {"list": 3} and list(report["splits"]) == ["val, test"]
    assert all(f"entry {number}" in messages(report, "list") for number in (3, 5, 7))


def test_a_data_set_that_makes_itself_is_not_made_here(run_check, tmp_path):
    _, report = run_check(ROOT / "configs" / "Synthetic" / "R2D.yaml", tmp_path / "not_there")
    assert str(tmp_path / "not_there") in messages(report, "list") and "is generated" in messages(report, "list")
    assert not (tmp_path / "not_there").exists()


def test_faults_of_ssv1(run_check, tmp_path):
    folder = make_ssv1(tmp_path / "v1", num_classes=174)
    frames = folder / "20bn-something-something-v1"
    cv2.imwrite(str(frames / "1000" / "00010.jpg"), numbered_frame(1, 96, 128))  # the last of ten
    (frames / "1001" / "00004.jpg").write_bytes(b"no image")
    shutil.rmtree(frames / "1002")
    cut_off = frames / "1003" / "00005.jpg"
    cut_off.write_bytes(cut_off.read_bytes()[:-40])
    for file in (frames / "1004").iterdir():
        file.unlink()
    (frames / "1005" / "00004.jpg").unlink()
    cfg = ROOT / "configs" / "SSv1" / "R2D50.yaml"
    _, report = run_check(cfg, folder, decode="all")
    assert counts(report) == {"missing": 1, "unreadable": 3, "frame sizes": 1}
    assert str(cut_off) in messages(report, "unreadable")
    assert "64 x 48, 128 x 96" in messages(report, "frame sizes")
    assert all(name in messages(report, "unreadable") for name in ("00004.jpg", "1004: there are no frames"))
    remarks = {"class without videos": 2, "official size": 2, "sizes of videos": 1, "numbers left out": 1}
    assert counts(report, "remarks") == remarks
    assert "1005: 1 between" in messages(report, "numbers left out")
    assert "4 videos of 86,017" in messages(report, "official size")
    assert "171 of 174 classes" in messages(report, "class without videos")


def test_the_order_of_labels_is_inferred_from_the_directed_classes(tmp_path):
    names = [f"Doing thing {number:03d}" for number in range(174)]
    pushing = "{} something from {} to {}"
    for (left, right), verb in {(30, 41): "Pushing", (52, 66): "Pulling"}.items():
        names[left], names[right] = pushing.format(verb, "left", "right"), pushing.format(verb, "right", "left")
    names[2], names[4] = (f"Turning the camera {side} while filming something" for side in ("left", "right"))
    path = tmp_path / "something-something-v1-labels.csv"
    path.write_text("\n".join(names) + "\n")
    assert list(order_findings(SSv1(tmp_path))) == []
    assert list(order_findings(SSv1(tmp_path, label_order="alphabetical"))) == []
    path.write_text("\n".join(sorted(names)) + "\n")
    finding = next(order_findings(SSv1(tmp_path)))
    assert KINDS[finding.kind].is_fault and "alphabetical" in finding.message and "2/4, 30/41, 52/66" in finding.message


def test_faults_of_kinetics_lists(run_check, tmp_path):
    for number, length in enumerate((12, 13, 14, 15)):
        write_video(tmp_path / f"{number}.mp4", length)
    write_frames(tmp_path / "folder", 9)
    (tmp_path / "train.csv").write_text("0.mp4 12 0\n1.mp4 99 1\nfolder 9 1\n")
    (tmp_path / "val.csv").write_text("2.mp4 7\n3.mp4 -1\n2.mp4 0\n")
    _, report = run_check(KINETICS, tmp_path, "MODEL.NUM_CLASSES", 3)
    assert counts(report) == {"list": 3, "frame count": 1}  # two labels of val.csv, no test.csv
    assert re.search(r"\b1\.mp4\b.*\b13 frames\b.*\b99\b", messages(report, "frame count"))
    assert "label 7" in messages(report, "list") and "label -1" in messages(report, "list")
    assert re.search(r"\b1 of 3 classes\b.*: 2\b", messages(report, "class without videos"))
    shutil.copy(tmp_path / "train.csv", tmp_path / "val.csv")
    shutil.copy(tmp_path / "train.csv", tmp_path / "test.csv")
    _, report = run_check(KINETICS, tmp_path, "MODEL.NUM_CLASSES", 3, "TRAIN.ENABLE", False)
    assert list(report["splits"]) == ["test"] and counts(report) == {"frame count": 1}


def test_faults_of_egogesture(run_check, tmp_path):
    for subject, text in ((3, "12,1,5\n83,4,9\n"), (1, "7,1,6\n99,2,3\n"), (2, "7,1,6\n8,1,900\n")):
        lists = tmp_path / "labels-final-revised1" / f"subject{subject:02d}" / "Scene1"
        lists.mkdir(parents=True)
        (lists / "Group1.csv").write_text(text)
        frames = tmp_path / "images" / f"Subject{subject:02d}" / "Scene1" / "Color" / "rgb1"
        frames.mkdir(parents=True)
        for number in set(range(1, 10)) - {4 if subject == 3 else 0}:
            cv2.imwrite(str(frames / f"{number:06d}.jpg"), numbered_frame(number))
    cfg = ROOT / "configs" / "EgoGesture" / "R2D50_TSM.yaml"
    _, report = run_check(cfg, tmp_path, decode="all")
    assert counts(report) == {"list": 1, "unreadable": 1}
    assert "99 is outside 1..83" in messages(report, "list")
    assert "frames 1 to 900" in messages(report, "unreadable")
    assert "replaced frames" in report["remarks"] and "2 videos of 14,416" in messages(report, "official size")


def test_faults_of_epic(run_check, tmp_path):
    folder = make_epic(tmp_path / "epic", 100, TRAIN, VAL_100)
    make_video(folder, "P01_01")
    make_frames(folder, "P02_101", num_frames=20)  # the list goes on to 42
    shutil.copytree(folder / "P02", folder / "P01", dirs_exist_ok=True)
    cfg = ROOT / "configs" / "EPIC" / "R2D50_TSM.yaml"
    _, report = run_check(cfg, folder, "MODEL.NUM_CLASSES", "[3,4]")
    assert counts(report) == {"list": 1, "unreadable": 1}  # P01_11, the only one of the validation list, is not there
    assert "P02_101" in messages(report, "unreadable")
    make_video(folder, "P01_11", num_frames=5)  # 0.4 s of the 1.5 that the list has
    _, report = run_check(cfg, folder, "MODEL.NUM_CLASSES", "[97,300]")
    assert counts(report) == {"classes": 1, "unreadable": 2}
    assert "(3, 4) classes" in messages(report, "classes") and "(noun)" in messages(report, "class without videos")


def examine_and_note(job) -> dict:
    """In the other process: note that it was called, beside the video."""
    with Path(f"{job.path}.seen").open("a") as file:
        file.write("x")
    return examine(job)


def crash_or_hang(job) -> dict:
    if job.path.endswith("1004.webm"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.path.endswith("1007.webm"):
        time.sleep(1000)
    return examine(job)


@pytest.fixture
def cfg_of_copy(ssv2, tmp_path):
    folder = Path(shutil.copytree(ssv2, tmp_path / "v2"))
    return load_config(CFG, keys("DATA.PATH_TO_DATA_DIR", folder, "MODEL.NUM_CLASSES", 3, *SHORT)), folder


def check(
    cfg, tmp_path, function=examine, decode="sample", timeout_sec=60.0, report_progress=lambda message: None
) -> dict:
    return check_data(cfg, tmp_path / "check.json", decode, 1, timeout_sec, report_progress, function)


def seen(folder: Path) -> int:
    return sum(len(path.read_text()) for path in folder.rglob("*.seen"))


def test_a_crashing_and_a_hanging_file_do_not_take_the_check_down(cfg_of_copy, tmp_path):
    report = check(cfg_of_copy[0], tmp_path, crash_or_hang, timeout_sec=2.0)
    assert counts(report) == {"hangs or crashes": 2} and report["num_videos"] == 18
    assert re.search(r"/1004\.webm: .*\bSIGSEGV\b", messages(report, "hangs or crashes"))
    assert re.search(r"/1007\.webm: .*\b2 s\b", messages(report, "hangs or crashes"))


def test_only_what_has_changed_is_examined_again(cfg_of_copy, tmp_path):
    cfg, folder = cfg_of_copy
    first = check(cfg, tmp_path, examine_and_note)
    again = check(cfg, tmp_path, examine_and_note)
    assert (seen(folder), first["num_known_before"], again["num_known_before"]) == (18, 0, 18)
    assert again | {"num_known_before": 0} == first
    write_video(folder / "20bn-something-something-v2" / "1003.webm", 15)
    check(cfg, tmp_path, examine_and_note, decode="none")  # less than is known
    assert seen(folder) == 19
    journal = tmp_path / "check.videos.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])  # killed while the line of 1003.webm was written
    check(cfg, tmp_path, examine_and_note, decode="none")
    assert seen(folder) == 20
    check(cfg, tmp_path, examine_and_note, decode="all")
    assert seen(folder) == 38


def test_a_stopped_check_resumes(cfg_of_copy, tmp_path, monkeypatch):
    cfg, folder = cfg_of_copy
    monkeypatch.setattr(module, "_REPORT_EVERY_SEC", 0.0)
    lines = []

    def stop_at_third(message):
        lines.append(message)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="3 of 18 videos"):
        check(cfg, tmp_path, examine_and_note, report_progress=stop_at_third)
    before = seen(folder)
    assert 3 <= before <= 4 and re.search(r"\b3 of 18 videos\b.*\b0 bad\b", lines[-1]) and "left" in lines[-1]
    report = check(cfg, tmp_path, examine)
    assert report["clean"] and report["num_known_before"] == 3


def test_what_people_see(ssv2, tmp_path):
    folder = Path(shutil.copytree(ssv2, tmp_path / "v2"))
    for number in range(5):
        (folder / "20bn-something-something-v2" / f"{1000 + number}.webm").unlink()
    where = ("DATA.PATH_TO_DATA_DIR", folder, "MODEL.NUM_CLASSES", 3)
    done = run(command("--cfg", CFG, "--output", tmp_path / "r.json", *where, tool="check_data"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"SSv2, train: 12 .*\b3 .*\b12 to 16\b", done.stdout)
    assert "5  missing: Fetch the videos" in done.stdout and "and 2 more" in done.stdout
    assert f"All findings: {tmp_path / 'r.json'}" in done.stdout


@pytest.mark.parametrize("wrong", [["--workers", "0"], ["--decode", "some"], ["--timeout", "-1"], ["--cfg"]])
def test_wrong_usage_is_exit_code_2(wrong, capsys):
    try:
        code = run_command("check_data", ["--cfg", str(CFG), *wrong])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2 and "Traceback" not in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_reported(ssv2, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "check.json"
    arguments = ["--cfg", str(CFG), "--output", str(output), *keys("DATA.PATH_TO_DATA_DIR", ssv2)]
    assert run_command("check_data", arguments) == 1
    assert f"{output.with_suffix('.videos.jsonl')}: " in capsys.readouterr().err
    arguments[3] = str(tmp_path)
    assert run_command("check_data", arguments) == 2
    assert f"error: {tmp_path} is a folder, but the report is a file" in capsys.readouterr().err


def test_copies_with_two_labels_are_shown_by_one_of_each_label():
    labels = {"a": 0, "b": 0, "c": 0, "d": 1}
    records = {"train": [VideoRecord(name, label, name) for name, label in labels.items()]}
    (found,) = pair_findings(records, lambda record: {"digest": "x"})
    assert found.kind == "two labels" and re.search(r"\ba \(label 0\).*\bd \(label 1\)", found.message)
