"""The Synthetic data set: no frame of its files tells the time order, and making them can be cut off anywhere."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from isolated_jobs import die, process_id, square
from miniatures import ROOT

from slowfast_gta.datasets.something import SSv2
from slowfast_gta.datasets.synthetic import dataset as synthetic
from slowfast_gta.datasets.synthetic import rendering
from slowfast_gta.datasets.synthetic.dataset import PAIRS, TEMPLATES, Settings, Synthetic, render_video
from slowfast_gta.datasets.synthetic.encoding import encode_video
from slowfast_gta.errors import DataError, Interrupted
from slowfast_gta.loading.sampling import segment_indices
from slowfast_gta.processes import parallel
from slowfast_gta.video.readers import count_frames, read_frames

SMALL = Settings(num_train=18, num_val=9, num_frames=8, height=36, width=48, codec="vp9", seed=3)
LABELS = range(len(TEMPLATES))
DIRECTED = [(drawing, number) for number, (drawing, *_) in enumerate(PAIRS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Synthetic:
    dataset = Synthetic(tmp_path_factory.mktemp("synthetic"), SMALL)
    dataset.prepare()
    return dataset


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encoded(frames: np.ndarray, codec: str, folder) -> np.ndarray:
    """`frames` after they were written to a file and read from it."""
    path = folder / "video"
    path.write_bytes(encode_video(frames, codec))
    return read_frames(path, range(len(frames)))


# ---------------------------------------------------------------------------- what the videos show


@pytest.mark.parametrize("drawing, number", DIRECTED)
def test_a_pair_is_one_rendering_played_both_ways(drawing, number):
    """The partner's video is what the forward rendering gives for the same random numbers, backwards, bit for bit."""
    index = 2 * number + 1  # label 2 number + 1: the backward one
    generator = np.random.default_rng([SMALL.seed, index])
    path = rendering.phases(SMALL.num_frames, generator)
    forward = rendering.render(drawing, path, SMALL.height, SMALL.width, generator)
    np.testing.assert_array_equal(render_video(SMALL, index), forward[::-1])


@pytest.mark.parametrize("codec", ["vp9", "h264"])
def test_a_reversed_video_decodes_to_exactly_the_reversed_frames(codec, tmp_path):
    """So nothing that encoding does can tell the direction: the one frame bag of a clip is that of its reverse."""
    settings = Settings(18, 18, 24, 72, 96, codec, 0)
    for index in (0, 6, 10, 14):
        frames = render_video(settings, index)
        forward, backward = encoded(frames, codec, tmp_path), encoded(frames[::-1], codec, tmp_path)
        np.testing.assert_array_equal(backward[::-1], forward)
        assert np.abs(forward.astype(int) - frames).mean() < 8


def test_the_test_clip_of_a_reversed_video_is_the_reversed_clip():
    chosen = segment_indices(24, 8, None)
    assert chosen == [23 - index for index in reversed(chosen)]


def test_encoding_does_not_depend_on_a_frame_s_position(tmp_path):
    """24 times one frame: all decoded alike, so no frame is finer or coarser for its place."""
    still = np.repeat(render_video(SMALL, 0)[:1], 24, axis=0)
    for codec in ("vp9", "h264"):
        out = encoded(still, codec, tmp_path)
        np.testing.assert_array_equal(out, np.repeat(out[:1], 24, axis=0))


@pytest.mark.parametrize("label", [0, 2, 4, 6, 8, 10, 12, 14])
def test_phases_run_from_one_end_to_the_other(label):
    for seed in range(50):
        path = rendering.phases(24, np.random.default_rng([label, seed]))
        assert path[0] == 0 and abs(path[-1] - 1) < 1e-9
        assert (np.diff(path) >= -1e-9).all()


def test_pretending_moves_out_and_back_and_never_arrives():
    for seed in range(50):
        path = rendering.there_and_back(24, np.random.default_rng(seed))
        np.testing.assert_allclose(path, path[::-1], atol=1e-12)
        assert path[0] == 0 and 0.4 < path.max() < 0.61


def test_pretended_actions_are_their_own_reversal():
    """But for the noise, the video is the same backwards."""
    for label in (16, 17):
        frames = render_video(Settings(18, 18, 24, 72, 96, "vp9", 0), label).astype(float)
        assert np.abs(frames - frames[::-1]).mean() < 6
        assert np.abs(frames[0] - frames[12]).max() > 60  # and yet something moves


def test_no_single_frame_reveals_the_direction(tmp_path):
    """A linear classifier on statistics of single decoded frames is at chance, forward against backward."""
    settings = Settings(18, 18, 24, 36, 48, "vp9", 5)
    features, backward = [], []
    for index in range(6, 18 * 40, 18):  # one pair, "Covering", 40 videos of each class
        for label in (0, 1):
            frames = encoded(render_video(settings, index + label), "vp9", tmp_path)[1::3].astype(float)
            edges = np.abs(np.diff(frames, axis=1)).mean((1, 2, 3)), np.abs(np.diff(frames, axis=2)).mean((1, 2, 3))
            features += list(np.stack([frames.mean((1, 2, 3)), frames.std((1, 2, 3)), *edges], 1))
            backward += [label] * len(frames)
    features, backward = np.array(features), np.array(backward) * 2.0 - 1
    features = np.column_stack([(features - features.mean(0)) / features.std(0), np.ones(len(features))])
    half = len(features) // 2
    weights = np.linalg.lstsq(features[:half], backward[:half], rcond=None)[0]
    accuracy = (np.sign(features[half:] @ weights) == backward[half:]).mean()
    assert 0.4 < accuracy < 0.6


def centre_of_change(frames: np.ndarray) -> np.ndarray:
    """(T, 2): where each frame, x and y, differs most from the mean of all."""
    change = np.abs(frames.astype(float) - np.median(frames, axis=0)).sum(-1)
    change *= change > 120
    y, x = np.mgrid[: change.shape[1], : change.shape[2]]
    total = change.sum((1, 2))
    return np.stack([(change * x).sum((1, 2)), (change * y).sum((1, 2))], 1) / total[:, None]


def test_class_names_describe_what_is_shown():
    """Left to right really goes right, up goes up, closer grows, lighting brightens, clockwise is clockwise."""
    settings = Settings(18, 18, 24, 72, 96, "vp9", 0)
    right, up = (centre_of_change(render_video(settings, label))[[0, -1]] for label in (0, 2))
    assert right[1, 0] - right[0, 0] > 25
    assert up[0, 1] - up[1, 1] > 20
    closer, lit = (render_video(settings, label).astype(float) for label in (4, 14))
    assert closer[-1].std() > 1.5 * closer[0].std()
    assert lit[-1].mean() > 2 * lit[0].mean()

    scene = rendering.Scene(72, 96, np.random.default_rng(0))
    angles = []
    for phase in np.linspace(0, 1, 24):
        scene.start_frame(phase)
        rendering.turn_clockwise(scene)
        painted = np.abs(scene.canvas - scene.background).sum(-1) > 30
        y, x = np.nonzero(painted)
        angles.append(np.arctan2(y.mean() - scene.center[1], x.mean() - scene.center[0]))
    turned = np.rad2deg(np.unwrap(angles))
    assert (np.diff(turned) > 0).all() and 150 < turned[-1] - turned[0] < 270  # y points down: clockwise grows


@pytest.mark.parametrize("index", LABELS)
def test_something_happens_in_every_class_and_differently_for_another_seed(index):
    frames = render_video(SMALL, index).astype(float)
    assert np.abs(frames[0] - frames[len(frames) // 2]).max() > 50
    assert np.abs(frames - render_video(replace(SMALL, seed=4), index)).mean() > 5


# ---------------------------------------------------------------------------- classes and lists


def test_classes_and_pairs():
    dataset = Synthetic("nowhere", SMALL)
    names = dataset.class_names()
    assert len(names) == len(set(names)) == 18
    pairs = {(names[forward], names[backward]) for forward, backward in dataset.reversed_pairs()}
    assert len(pairs) == 8
    assert ("Covering something with something", "Uncovering something") in pairs
    assert ("Turning something clockwise", "Turning something anticlockwise") in pairs
    exchanged = {
        (names[own], names[mirrored]) for own, mirrored in enumerate(dataset.mirror_labels()) if own < mirrored
    }
    assert exchanged == {
        ("Moving something from left to right", "Moving something from right to left"),
        ("Turning something clockwise", "Turning something anticlockwise"),
    }


def test_what_is_made_is_something_something_v2_as_published(made):
    plain = SSv2(made.data_dir)
    assert plain.class_names() == made.class_names()
    for split, count in (("train", 18), ("val", 9), ("test", 9)):
        records = made.records(split)
        assert records == plain.records(split)
        assert len(records) == count
        assert all(count_frames(record.path) == 8 for record in records)
    ids = [record.video_id for split in ("train", "val") for record in made.records(split)]
    assert len(set(ids)) == 27
    entry = json.loads((made.data_dir / "something-something-v2-train.json").read_text())[6]
    assert entry["template"] == "Covering [something] with [something]"
    assert len(entry["placeholders"]) == 2 and all(thing in entry["label"] for thing in entry["placeholders"])
    test = json.loads((made.data_dir / "something-something-v2-test.json").read_text())
    assert test[0] == {"id": "19"}


def test_classes_are_balanced():
    for num_train, num_val in ((36, 18), (40, 25)):
        indices = np.arange(num_train + num_val) % len(TEMPLATES)
        for part in (indices[:num_train], indices[num_train:]):
            counts = Counter(part.tolist())
            assert max(counts.values()) - min(counts[label] for label in LABELS) <= 1


def test_the_label_in_the_list_is_what_was_rendered(made):
    record = made.records("val")[4]
    index = int(record.video_id) - 1
    assert record.label == index % 18
    shown, meant = read_frames(record.path, range(8)).astype(int), render_video(SMALL, index)
    assert np.abs(shown - meant).mean() < 10 < np.abs(shown - render_video(SMALL, index + 1)).mean()


# ---------------------------------------------------------------------------- making them


def test_the_files_are_the_same_for_any_number_of_processes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_JOBS_WORTH_A_PROCESS", 13)
    monkeypatch.setattr(parallel, "num_cores", lambda: 2)
    before = set(multiprocessing.active_children())  # the readers of other tests' loaders
    other = Synthetic(tmp_path / "two", SMALL)
    other.prepare()
    assert contents(other.data_dir) == contents(made.data_dir)
    assert set(multiprocessing.active_children()) <= before


def test_h264_is_mp4_in_the_same_layout(tmp_path):
    dataset = Synthetic(tmp_path, replace(SMALL, codec="h264", num_train=3, num_val=1))
    dataset.prepare()
    records = dataset.records("train")
    assert [record.path[-6:] for record in records] == ["/1.mp4", "/2.mp4", "/3.mp4"]
    assert read_frames(records[0].path, [0, 7]).shape == (2, 36, 48, 3)


def test_made_once(made, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in made.data_dir.rglob("*")}
    monkeypatch.setattr(synthetic, "render_video", None)  # not called again
    Synthetic(made.data_dir, SMALL).prepare()
    assert {path: path.stat().st_mtime_ns for path in made.data_dir.rglob("*")} == before


def test_cut_off_anywhere_it_resumes_to_the_same_files(made, tmp_path, monkeypatch):
    """Stopped by Ctrl-C after ten videos: a sentence, no list that could be trained on; then only the rest is made."""
    calls = []

    def render_ten(settings, index):
        calls.append(index)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return render_video(settings, index)

    monkeypatch.setattr(synthetic, "render_video", render_ten)
    dataset = Synthetic(tmp_path, SMALL)
    with pytest.raises(Interrupted, match=r"\b10 of 27 videos\b"):
        dataset.prepare()
    assert json.loads((tmp_path / "synthetic.json").read_text())["complete"] is False
    with pytest.raises(DataError, match="no such file"):
        dataset.records("train")
    dataset.prepare()
    assert calls[11:] == list(range(10, 27))
    assert contents(tmp_path) == contents(made.data_dir)


def test_a_video_that_was_removed_is_made_again(made, tmp_path):
    dataset = Synthetic(tmp_path, SMALL)
    dataset.prepare()
    (tmp_path / "20bn-something-something-v2" / "5.webm").unlink()
    dataset.prepare()
    assert contents(tmp_path) == contents(made.data_dir)


def test_other_settings_in_the_folder_are_refused_not_mixed(made):
    before = contents(made.data_dir)
    with pytest.raises(DataError, match=r"SYNTHETIC\.SEED\b.*\b4\b.*\b3\b.*\banother DATA\.PATH_TO_DATA_DIR\b"):
        Synthetic(made.data_dir, replace(SMALL, seed=4)).prepare()
    with pytest.raises(DataError, match=r"SYNTHETIC\.NUM_VAL.*10,.*9; SYNTHETIC\.CODEC.*h264"):
        Synthetic(made.data_dir, replace(SMALL, codec="h264", num_val=10)).prepare()
    assert contents(made.data_dir) == before


def test_videos_of_an_older_drawing_are_refused(made, monkeypatch):
    monkeypatch.setattr(rendering, "VERSION", rendering.VERSION + 1)
    with pytest.raises(DataError, match="drawn by version"):
        made.prepare()


def test_another_data_set_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "something-something-v2-train.json").write_text("[]")
    with pytest.raises(DataError, match="not Synthetic"):
        Synthetic(tmp_path, SMALL).prepare()
    assert list(contents(tmp_path)) == ["something-something-v2-train.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"settings": 3, "complete": true}'])
def test_a_broken_settings_file_is_refused(tmp_path, text):
    (tmp_path / "synthetic.json").write_text(text)
    with pytest.raises(DataError, match="not the settings file"):
        Synthetic(tmp_path, SMALL).prepare()


def test_a_full_disk_is_reported_and_leaves_no_half_file(tmp_path):
    videos = tmp_path / "20bn-something-something-v2"
    videos.mkdir()
    (videos / f"3.webm.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(DataError, match=rf"{tmp_path}: {os.strerror(errno.ENOSPC)}\b.*\bkept\b"):
        Synthetic(tmp_path, SMALL).prepare()
    assert sorted(path.name for path in videos.iterdir()) == ["1.webm", "2.webm"]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=rf"{tmp_path / 'file' / 'videos'}.*{os.strerror(errno.ENOTDIR)}"):
        Synthetic(tmp_path / "file" / "videos", SMALL).prepare()


# ---------------------------------------------------------------------------- processes


def test_all_jobs_are_done_in_several_processes():
    assert sorted(parallel.on_all_cores(square, range(20), num_processes=2)) == [n**2 for n in range(20)]
    ids = set(parallel.on_all_cores(process_id, range(4), num_processes=2))
    assert len(ids) == 2 and os.getpid() not in ids


def test_few_jobs_are_done_here():
    assert set(parallel.on_all_cores(process_id, range(5))) == {os.getpid()}


def test_a_process_that_dies_is_reported():
    before = set(multiprocessing.active_children())
    with pytest.raises(DataError, match="exit code 7"):
        list(parallel.on_all_cores(die, range(4), num_processes=2))
    assert set(multiprocessing.active_children()) <= before


MAIN = """
import sys
from slowfast_gta.processes.parallel import on_all_cores
from isolated_jobs import process_id
if __name__ == "__main__":
    for worker in on_all_cores(process_id, range(10**8), num_processes=2):
        print(worker, flush=True)
"""


def test_no_process_outlives_a_killed_main_process(tmp_path):
    """The workers hold the pipe of standard output: it ends when the last of them has."""
    (tmp_path / "main.py").write_text(MAIN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
    main = subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, env=environment)
    workers = set()
    while len(workers) < 2:
        workers.add(int(main.stdout.readline()))
    main.kill()
    main.communicate(timeout=60)
