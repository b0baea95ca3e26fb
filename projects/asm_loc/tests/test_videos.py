"""End to end on video, in small: made videos, features, localisation, against other ways; and a video of one's own."""

import csv
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from asm_loc.annotated_video import Strip, readable, write_annotated
from asm_loc.commands.prove import Plan, prove, table
from asm_loc.localization import clearest, load_run
from asm_loc.segments import Segments
from asm_loc.video_world import VideoSizes, halves, make_video_world, render, untrimmed
from asm_loc.world import WorldSizes, write_pack
from eval_networks import config, write_weights

from slowfast_gta.commands import run_command
from slowfast_gta.config.load import load_config
from slowfast_gta.errors import DataError, WeightsError

SIZES = VideoSizes(num_classes=2, num_trimmed=1, num_train=2, num_test=1, seconds=(4.0, 5.0))
WAYS = ["sliding-window classifier", "multiple instances alone", "ASM-Loc, base", "ASM-Loc, step 1", "ASM-Loc, step 2"]


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """(The folder of prove.py's small form, which tests only read; what it found.)"""
    folder = tmp_path_factory.mktemp("proof")
    opts = ("RESNET.WIDTH_PER_GROUP", "8", "TEST.BATCH_SIZE", "16", "DATA_LOADER.NUM_WORKERS", "0")
    rows, top1 = prove(folder, 0, Plan(SIZES, 1, 1, opts))
    return folder, rows, top1


@pytest.fixture(scope="module")
def proof(proven):
    return proven[0]


# ------------------------------------------------------------ the world


def test_no_class_of_one_half_is_drawn_as_one_of_the_other():
    learned, localised = halves()
    assert len(learned) == len(localised) == 9
    assert not {a.name for a in learned} & {a.name for a in localised}
    moving = [{a.drawing for a in half if not a.returns} for half in (learned, localised)]
    assert not moving[0] & moving[1]


def test_an_untrimmed_video_is_what_its_annotations_say():
    for seed in range(5):
        pieces, instances = untrimmed(halves()[1], SIZES, np.random.default_rng(seed))
        at, spans = 0, []
        for number, (_, phases) in enumerate(pieces):
            if number % 2:  # gaps and actions take turns
                spans.append((at / 12, (at + len(phases)) / 12))
                assert np.all(np.diff(phases) != 0)
            at += len(phases)
        assert spans == [(i.start, i.end) for i in instances]
        assert len(render(pieces, SIZES, np.random.default_rng(0))) == at


def test_a_world_is_a_function_of_its_number(tmp_path):
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        make_video_world(tmp_path / name, number, SIZES)
    a, b, c = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in sorted((tmp_path / name).rglob("*")) if p.is_file()}
        for name in "abc"
    )
    assert a == b
    assert a != c
    assert sum(path.suffix == ".webm" for path in a) == 2 * (1 + 1) + 2 + 1
    header = (tmp_path / "a" / "train.csv").read_text().splitlines()[0]
    assert header == "video,label"  # nothing about when
    with pytest.raises(DataError):
        make_video_world(tmp_path / "a", 2, SIZES)


# ------------------------------------------------------------ the proof


def test_all_ways_are_tested_on_the_same_data(proven):
    folder, rows, top1 = proven
    assert list(rows) == WAYS
    assert 0 <= top1 <= 100
    for way, run in (("multiple instances alone", "VideoMIL"), ("ASM-Loc, step 2", "VideoWorld/step2")):
        results = json.loads((folder / run / "results.json").read_text())
        # The table's last step is tested from its checkpoint: the same as run.py's own test.
        assert rows[way]["mAP .1:.7"] == pytest.approx(results["mAP"], abs=1e-9)
        assert results["num_videos"] == SIZES.num_test
    for made_of in ("videos/train.csv", "videos/test.csv"):
        names = {row["video"] for row in csv.DictReader((folder / made_of).open())}
        assert names <= {record["video"] for record in map(json.loads, (folder / "features/manifest.jsonl").open())}
    lines = table([rows, rows])
    assert len(lines) == 2 + len(WAYS) + 3 + 2 + len(WAYS) - 1
    assert all("± 0.0" in line for line in lines if line.startswith("| ASM"))


def test_wrong_numbers(tmp_path):
    for words in (["--epochs", "0"], ["--classes", "10"], ["--train", "0"]):
        assert run_command("prove", [*words, "--output", str(tmp_path)], package="asm_loc.commands") == 2


# ------------------------------------------------------------ localize


def localize(proof, output, *words):
    line = ["--run", proof / "VideoWorld", "--network", proof / "network", "--output", output, *words]
    return run_command("localize", [str(word) for word in line], package="asm_loc.commands")


def write_with_sound(path, source, tone_sec):
    """The frames of `source` with a tone from `tone_sec` to the end."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        frames = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
        picture = writer.add_stream("libx264", rate=12)
        picture.height, picture.width, picture.pix_fmt = *frames[0].shape[:2], "yuv420p"
        sound = writer.add_stream("aac", rate=16000, layout="mono")
        for frame in frames:
            writer.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        writer.mux(picture.encode(None))
        time = np.arange(round(len(frames) / 12 * 16000)) / 16000
        wave = (0.5 * np.sin(2 * np.pi * 500 * time) * (time >= tone_sec)).astype(np.float32)
        for start in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = 16000, start, Fraction(1, 16000)
            writer.mux(sound.encode(part))
        writer.mux(sound.encode(None))
    return len(frames)


def onset(path):
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        frames = list(container.decode(audio=0))
    wave = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in frames]))
    return frames[0].time + np.flatnonzero(wave > 0.15)[0] / rate


def shown(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_a_video_of_ones_own(proof, tmp_path, capsys):
    source = proof / "videos" / "untrimmed" / "test" / "000.webm"
    num_frames = write_with_sound(tmp_path / "match.1.mp4", source, 3.0)
    assert localize(proof, tmp_path / "out", tmp_path / "match.1.mp4", "--min-score", "-1", "--json") == 0
    results = json.loads(capsys.readouterr().out)
    document = json.loads((tmp_path / "out" / "match.1.json").read_text())
    assert results["videos"] == [document]
    assert document["has_sound"] is True
    starts = [segment["start"] for segment in document["segments"]]
    assert starts
    assert starts == sorted(starts)
    assert all(0 <= s["start"] < s["end"] <= num_frames / 12 + 0.34 for s in document["segments"])
    drawn = shown(tmp_path / "out" / document["annotated"])
    assert len(drawn) == num_frames
    assert [round(time * 12) for time, _ in drawn] == list(range(num_frames))
    assert onset(tmp_path / "out" / "match.1.mp4") == pytest.approx(onset(tmp_path / "match.1.mp4"), abs=0.05)
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())["results"]
    assert len(detections["match.1"]) == document["num_detections"] >= len(starts)
    for suffix in (".html", ".svg"):
        assert document["segments"][0]["label"] in (tmp_path / "out" / f"match.1{suffix}").read_text()
    # The same as run.py's test of the same frames, but for their second encoding: the same network and chain.
    assert set(document["classes"]) == set(load_run(proof / "VideoWorld").classes)


def test_a_folder_of_frames_is_drawn_at_the_rate_that_its_features_were_made_with(proof, tmp_path):
    with av.open(str(proof / "videos" / "untrimmed" / "test" / "000.webm")) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "frames" / f"{number:05d}.png")
    rate = load_config(proof / "network" / "config.yaml").DATA.TARGET_FPS
    assert localize(proof, tmp_path / "out", tmp_path / "frames", "--min-score", "-1") == 0
    times = [time for time, _ in shown(tmp_path / "out" / "frames.mp4")]
    assert times == pytest.approx([number / rate for number in range(len(pictures))], abs=1e-3)
    ends = [segment["end"] for segment in json.loads((tmp_path / "out" / "frames.json").read_text())["segments"]]
    assert max(ends) <= times[-1] + 1 / rate + 1e-3


def test_a_test_video_gets_the_detections_of_the_run(proof, tmp_path):
    folder = proof / "videos" / "untrimmed"
    assert localize(proof, tmp_path, folder, "--no-video") == 0
    ours = json.loads((tmp_path / "detections.json").read_text())["results"]
    theirs = json.loads((proof / "VideoWorld" / "step2" / "detections.json").read_text())["results"]
    assert set(theirs) <= set(ours)
    for name, rows in theirs.items():
        assert len(ours[name]) == len(rows)
        for a, b in zip(ours[name], rows, strict=True):
            assert a["label"] == b["label"]
            np.testing.assert_allclose([a["score"], *a["segment"]], [b["score"], *b["segment"]], atol=1e-4)
    assert not list(tmp_path.rglob("*.mp4"))


def test_what_cannot_be_localized(proof, tmp_path, capsys):
    good = proof / "videos" / "untrimmed" / "test" / "000.webm"
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    words = ("--no-video", "--json", tmp_path / "broken.mp4", tmp_path / "empty.mp4", good)
    assert localize(proof, tmp_path / "out", *words) == 1
    results = json.loads(capsys.readouterr().out)
    assert set(results["failed"]) == {"broken", "empty"}
    assert [video["video"] for video in results["videos"]] == ["000"]
    # Weights of the same shapes that did not make the features of the run; then a run that is none.
    shutil.copytree(proof / "network", tmp_path / "network")
    newest = sorted((tmp_path / "network" / "checkpoints").glob("*.pyth"))[-1]
    newest.write_bytes(newest.read_bytes() + b"\0")
    assert localize(proof, tmp_path / "out", good, "--network", tmp_path / "network") == 1
    assert localize(proof, tmp_path / "out", good, "--run", proof / "network") == 1
    assert localize(proof, tmp_path / "out", good, "--run", tmp_path) == 1
    assert localize(proof, tmp_path / "out", good, "--network", tmp_path) == 2


def test_no_video_is_overwritten_by_its_annotated_copy(proof, tmp_path):
    write_with_sound(tmp_path / "match.mp4", proof / "videos" / "untrimmed" / "test" / "000.webm", 1.0)
    before = (tmp_path / "match.mp4").read_bytes()
    assert localize(proof, tmp_path, tmp_path / "match.mp4") == 2
    assert (tmp_path / "match.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["match.mp4"]


def test_a_run_on_a_pack_knows_no_network(tmp_path, capsys):
    write_pack(3, tmp_path / "pack", WorldSizes(dim=16, num_classes=3, num_train=4, num_test=2))
    cfg = Path(__file__).resolve().parents[1] / "configs" / "World.yaml"
    keys = {"ASM_LOC.FEATURES": tmp_path / "pack", "OUTPUT_DIR": tmp_path / "run", "SOLVER.MAX_EPOCH": 1}
    line = ["--cfg", cfg, *(word for pair in keys.items() for word in pair), "TEST.ENABLE", "False"]
    assert run_command("run", [str(word) for word in line], package="asm_loc.commands") == 0
    write_weights(config("r2d"), tmp_path / "w.pyth")
    words = ["--run", tmp_path / "run", "--network", cfg, "--weights", tmp_path / "w.pyth", "--output", tmp_path / "o"]
    assert run_command("localize", [*map(str, words), "x.mp4"], package="asm_loc.commands") == 2
    shutil.rmtree(tmp_path / "run" / "step1")
    with pytest.raises(WeightsError):
        load_run(tmp_path / "run")


def test_clearest_takes_one_of_those_that_overlap():
    found = Segments([0, 0, 1, 0, 0], [5.0, 0.0, 0.0, 1.0, 8.0], [6.0, 2.0, 2.0, 3.0, 9.0], [0.5, 0.9, 0.3, 0.8, 0.05])
    kept = clearest(found, 0.1)
    assert kept.to_rows() == [[0, 0.0, 2.0, 0.9], [1, 0.0, 2.0, 0.3], [0, 5.0, 6.0, 0.5]]
    assert len(clearest(found, 1.0)) == len(clearest(Segments.empty(), 0.0)) == 0


# ------------------------------------------------------------ the annotated video


def test_the_strip_shows_what_is_going_on():
    classes = ["Run", "Schlüssel drehen 鍵"]
    strip = Strip(classes, Segments([0, 1], [1.0, 2.0], [3.0, 4.0], [0.7, 0.6]), 10.0)
    frame = np.zeros((90, 481, 3), np.uint8)
    pictures = {time: strip.below(frame, time) for time in (0.5, 1.5, 2.5, 3.5, 5.0)}
    for picture in pictures.values():
        assert picture.shape[1] == 481
        assert not picture[:90].any()
    text = {time: picture[90 : 90 + 22].copy() for time, picture in pictures.items()}
    assert np.array_equal(text[0.5], text[5.0])  # nothing is going on
    assert len({text[time].tobytes() for time in (0.5, 1.5, 2.5, 3.5)}) == 4
    assert readable(classes[1]) == "Schlussel drehen ?"


@pytest.mark.parametrize("size", [(48, 64), (49, 65), (720, 1281)])
def test_sizes_and_folders_of_frames(size, tmp_path):
    import cv2

    (tmp_path / "frames").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{number:03d}.png"), np.full((*size, 3), 40 * number, np.uint8))
    has_sound = write_annotated(str(tmp_path / "frames"), tmp_path / "out.mp4", ["Run"], Segments.empty(), 5.0)
    assert has_sound is False
    assert [time for time, _ in shown(tmp_path / "out.mp4")] == pytest.approx([0.0, 0.2, 0.4])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "out.mp4"]
