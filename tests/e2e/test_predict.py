"""tools/predict.py: any video file, and what is none."""

import json
import shutil
import subprocess
from pathlib import Path

import av
import pytest
from made_videos import write_frames, write_video
from miniatures import CFG, CLASSES, ROOT, TINY, command, keys, run

from slowfast_gta.commands import run_command
from slowfast_gta.engine.checkpoint.checkpoint import list_checkpoints

CLIPS = ROOT.parent / "shared" / "clips"


@pytest.fixture
def predict(trained, capsys):
    """predict(VIDEO, ...) -> (exit code, stdout, stderr), with the network of `trained`."""

    def call(*words: object) -> tuple[int, str, str]:
        weights = list_checkpoints(trained)[-1][1]
        line = ["--cfg", str(trained / "config.yaml"), "--weights", str(weights), *map(str, words)]
        code = run_command("predict", line)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def assert_top(rows: list[dict], num_classes: int = 3) -> None:
    assert len(rows) == min(5, num_classes)
    probabilities = [row["probability"] for row in rows]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1.0001
    assert all(row["class"] == CLASSES[row["label"]] for row in rows)


def test_json_is_one_document_and_nothing_else(predict, tmp_path):
    videos = [write_video(tmp_path / name, 20) for name in ("a.webm", "b.mp4", "c.avi")]
    code, out, _ = predict("--json", *videos, write_frames(tmp_path / "frames", 12))
    assert code == 0
    answers = json.loads(out)
    assert [answer["video"] for answer in answers] == [*map(str, videos), str(tmp_path / "frames")]
    for answer in answers:
        assert_top(answer["top5"])


def test_as_a_process_stdout_is_json_alone(trained, tmp_path):
    video = write_video(tmp_path / "a.webm", 20)
    weights = list_checkpoints(trained)[-1][1]
    line = command("--cfg", trained / "config.yaml", "--weights", weights, "--json", video, tool="predict")
    result = run(line, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert_top(json.loads(result.stdout)[0]["top5"])


def test_people_read_names_and_percent(predict, tmp_path):
    code, out, _ = predict(write_video(tmp_path / "a.mp4", 20))
    assert code == 0 and out.splitlines()[0] == str(tmp_path / "a.mp4")
    assert len(out.splitlines()) == 4 and all(" %  " in line for line in out.splitlines()[1:])
    assert all(name in out for name in CLASSES), "the names come from the checkpoint"


def test_what_is_no_video_is_refused_and_the_others_still_run(predict, tmp_path):
    good = write_video(tmp_path / "good.mp4", 20)
    (tmp_path / "text.mp4").write_text("This is no video.\n")
    (tmp_path / "empty.webm").touch()
    wrong = [tmp_path / "text.mp4", tmp_path / "empty.webm", tmp_path / "gone.mp4"]
    code, out, _ = predict("--json", wrong[0], good, *wrong[1:])
    assert code == 1
    answers = {answer["video"]: answer for answer in json.loads(out)}
    assert_top(answers[str(good)]["top5"])
    for path in wrong:
        assert str(path) in answers[str(path)]["error"] and "top5" not in answers[str(path)]
    code, out, err = predict(*wrong, good)
    assert code == 1 and str(good) in out and err.count("error: ") == 3


def test_five_of_many_classes_and_their_numbers_where_the_weights_have_no_names(tmp_path, capsys):
    import torch

    from slowfast_gta import build_model, load_config

    many = keys(*TINY, "MODEL.NUM_CLASSES", 174)
    torch.save(build_model(load_config(CFG, many)).state_dict(), tmp_path / "weights.pth")
    video = write_video(tmp_path / "a.webm", 20)
    line = ["--cfg", str(CFG), *many, "--weights", str(tmp_path / "weights.pth"), "--json", str(video)]
    assert run_command("predict", line) == 0
    rows = json.loads(capsys.readouterr().out)[0]["top5"]
    assert len(rows) == 5 and all(row["class"] == f"class {row['label']}" for row in rows)


def test_weights_that_are_none_are_refused(tmp_path, capsys):
    (tmp_path / "weights.pth").write_text("none")
    video = write_video(tmp_path / "a.webm", 20)
    assert run_command("predict", ["--cfg", str(CFG), "--weights", str(tmp_path / "weights.pth"), str(video)]) == 1
    assert "weights.pth cannot be read" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ other people's footage


def clips() -> list[Path]:
    return sorted(path for path in CLIPS.rglob("*.*") if path.suffix in (".mp4", ".avi", ".webm"))


@pytest.mark.skipif(not clips(), reason=f"{CLIPS} is not here")
def test_real_clips(predict):
    code, out, err = predict("--json", *clips())
    assert code == 0, err
    answers = json.loads(out)
    assert len(answers) == len(clips())
    for answer in answers:
        assert_top(answer["top5"])


@pytest.mark.skipif(not (CLIPS / "labelled").is_dir(), reason=f"{CLIPS / 'labelled'} is not here")
def test_training_and_a_multi_view_test_on_real_clips(run_tiny, tmp_path):
    """The labelled clips laid out as Something-Something v2, trained on and tested with 2 x 3 views."""
    data, entries, names = tmp_path / "data", [], []
    videos = data / "20bn-something-something-v2"
    videos.mkdir(parents=True)
    for folder in sorted((CLIPS / "labelled").iterdir()):
        names.append(folder.name)
        for clip in sorted(folder.iterdir()):
            entries.append({"id": str(len(entries) + 1), "template": folder.name, "label": folder.name})
            shutil.copy(clip, videos / f"{len(entries)}.webm")  # the name says webm, the content decides
    lists = {"labels": {name: str(label) for label, name in enumerate(names)}, "train": entries, "validation": entries}
    for word, content in lists.items():
        (data / f"something-something-v2-{word}.json").write_text(json.dumps(content))
    views = ("TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_SPATIAL_CROPS", 3)
    code, _, err = run_tiny("TRAIN.BATCH_SIZE", len(entries), *views, data=data)
    assert code == 0, err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["num_videos"], results["num_views"], results["final"]) == (len(entries), 6, True)


def test_metadata_that_is_not_utf_8(predict, tmp_path):
    path = write_video(tmp_path / "a.avi", 20)
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.avi"), "w") as target:
        target.metadata["title"] = "QQQQQQQQ"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    broken = (tmp_path / "b.avi").read_bytes().replace(b"QQQQQQQQ", b"\xe9\xff\xfe\xc3\x28QQQ")
    assert b"\xe9\xff\xfe" in broken
    (tmp_path / "b.avi").write_bytes(broken)
    code, out, err = predict("--json", tmp_path / "b.avi")
    assert code == 0, err + out


# ----------------------------------------------------------------------------- the newest weights, formats, windows


@pytest.fixture
def newest(trained, capsys):
    """newest(VIDEO, ...) -> (exit code, stdout, stderr), without --weights; videos may stand right behind --cfg."""

    def call(*words: object) -> tuple[int, str, str]:
        code = run_command("predict", ["--cfg", str(trained / "config.yaml"), *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_the_newest_weights_and_fewer_classes(newest, predict, tmp_path):
    video = write_video(tmp_path / "a.mp4", 20)
    code, out, _ = newest(video, "--json", "--topk", 2)
    rows = json.loads(out)[0]["top2"]
    assert code == 0 and rows == json.loads(predict("--json", video)[1])[0]["top5"][:2]


def test_folders_and_lists(newest, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    paths = [write_video(folder / name, 20) for name in ("a.mp4", "b.webm")]
    (tmp_path / "list.txt").write_text(f"{paths[1]} 2\n{tmp_path / 'gone.mp4'} 1\n")
    code, out, _ = newest(folder, tmp_path / "list.txt", "--format", "jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and [line["video"] for line in lines] == [*map(str, paths), str(tmp_path / "gone.mp4")]
    assert [sorted(line) for line in lines] == [["top5", "video"], ["top5", "video"], ["error", "video"]]


def test_csv(newest, tmp_path):
    import csv

    name = tmp_path / 'a, "b".mp4'
    write_video(tmp_path / "a.mp4", 20).rename(name)
    code, out, _ = newest("--format", "csv", "--output", tmp_path / "out.csv", name, "gone.mp4")
    assert code == 1 and out == ""
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", ""] and {row["video"] for row in rows[:3]} == {str(name)}
    assert rows[3]["error"] and all(CLASSES[int(row["label"])] == row["class"] for row in rows[:3])


def test_windows(newest, tmp_path):
    video = write_video(tmp_path / "a.mp4", 40, fps=10)
    (tmp_path / "text.mp4").write_text("no video")
    code, out, _ = newest("--windows", "--window", "1s", "--json", tmp_path / "text.mp4", video)
    broken, whole = json.loads(out)
    assert code == 1 and "error" in broken and whole["counts"] == {}
    assert [window["start_sec"] for window in whole["windows"]] == [0, 1, 2, 3]
    assert_top(whole["windows"][0]["top5"])
    code, out, _ = newest("--windows", "--fps", 5, video)
    assert code == 0 and len(out.splitlines()) == 1 + 5, "4 frames at 5 a second are 0.8 s"


def test_standard_input(trained, tmp_path):
    video = write_video(tmp_path / "a.avi", 40, fps=10)
    line = command(
        "--cfg", trained / "config.yaml", "--windows", "--window", 8, "--format", "jsonl", "-", tool="predict"
    )

    with video.open("rb") as source:
        result = subprocess.run(line, stdin=source, capture_output=True, text=True, timeout=170)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["start_sec"] for line in lines] == [0, 0.8, 1.6, 2.4, 3.2]


@pytest.mark.parametrize(
    "words",
    [
        ("--topk", 0),
        ("--window", 8),
        ("--max-latency", 1),
        ("--windows", "--window", "x"),
        ("--windows", "--stride", 2),
    ],
)
def test_wrong_words(newest, tmp_path, words):
    code, out, err = newest(*words, write_video(tmp_path / "a.mp4", 20))
    assert code == 2 and not out and "error: " in err
