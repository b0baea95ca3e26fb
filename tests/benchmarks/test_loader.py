"""The loader's benchmark: both ways read the same clips, the figures are medians of what was timed."""

import json
import re

import av
import numpy as np
import pytest
import torch
from made_videos import write_video
from miniatures import ROOT, keys

from slowfast_gta import load_config
from slowfast_gta.benchmarks import loader as loader_benchmark
from slowfast_gta.benchmarks.plain_loading import PlainLoading
from slowfast_gta.benchmarks.videos import KINDS, write_benchmark_video
from slowfast_gta.commands import run_command
from slowfast_gta.datasets.records import VideoRecord
from slowfast_gta.loading.clips import TestViews
from slowfast_gta.loading.sampling import ClipSampling
from slowfast_gta.loading.transforms import TestTransform

CFG = ROOT / "configs" / "Kinetics" / "SLOWFAST_8x8_R50.yaml"
SMALL = [
    *("DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 2, "SLOWFAST.ALPHA", 4, "TEST.NUM_ENSEMBLE_VIEWS", 3),
    *("DATA.TRAIN_JITTER_SCALES", "[34,40]", "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
]


def write_ramp(path, encoder: str, num_frames: int = 60):
    """A video that gets lighter to the right, and by 2 levels a frame: a clip says where and when it was taken."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(num_frames):
            row = np.linspace(0, 100, 64) + 2 * number
            image = np.repeat(np.tile(row, (48, 1))[:, :, None], 3, axis=2).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name, encoder", [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")])
def test_both_ways_read_the_same_views(tmp_path, name, encoder):
    path = str(write_ramp(tmp_path / name, encoder))
    cfg = load_config(CFG, keys(*SMALL))
    plain, num_clips = PlainLoading.from_cfg(cfg), cfg.TEST.NUM_ENSEMBLE_VIEWS
    records = [VideoRecord(path, 0, "a")]
    ours = TestViews(records, ClipSampling.from_cfg(cfg), TestTransform.from_cfg(cfg, 3), num_clips)[0].frames
    for view in range(num_clips * 3):
        clip, crop = divmod(view, 3)
        frames = plain.decode(plain.open(path), clip / num_clips)
        slow, fast = plain.test_transform(frames, 32, crop, 3)
        assert (slow.shape, fast.shape) == ((3, 2, 32, 32), (3, 8, 32, 32))
        in_levels = (fast * 0.225 + 0.45) * 255
        assert (in_levels - ours[view].float()).abs().max() < 12  # the next crop: 24 levels; the next clip: 30
        torch.testing.assert_close(slow, fast[:, [0, 7]])


def test_the_plain_training_clip_has_the_sizes_of_ours(tmp_path):
    path = str(write_ramp(tmp_path / "a.mp4", "libx264"))
    cfg = load_config(CFG, keys(*SMALL))
    plain = PlainLoading.from_cfg(cfg)
    frames = plain.decode(plain.open(path), 0.5)
    slow, fast = plain.train_transform(frames, (34, 40), 32, np.random.default_rng(0))
    assert (slow.shape, fast.shape) == ((3, 2, 32, 32), (3, 8, 32, 32))
    assert fast.std() > 0.05


def test_the_made_videos_are_what_their_names_say(tmp_path):
    for kind in KINDS:
        assert kind.name.split(".")[0].endswith(f"_{kind.width}x{kind.height}_{kind.num_frames}")
    small = loader_benchmark.KINDS[1]
    path = write_benchmark_video(tmp_path, type(small)("s.webm", small.encoder, small.options, 48, 64, 10, 12))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 10 and frames[0].shape == (48, 64, 3)
    assert np.abs(frames[0].astype(int) - frames[5]).mean() > 3  # it moves


def test_figures_are_medians_over_pairs_of_all_files_together():
    def seconds(total):
        return {"open": 0.0, "decode": total / 2, "transform": total / 2, "collate": 0.0}

    first = [(seconds(10), seconds(1)), (seconds(30), seconds(1)), (seconds(30), seconds(2))]
    second = [(seconds(10), seconds(3)), (seconds(10), seconds(1)), (seconds(10), seconds(2))]
    found = loader_benchmark._summary("test", "s_per_video", [first, second], 1)
    assert found == {"test_speedup": 10.0, "test_s_per_video": 2.0, "plain_test_s_per_video": 20.0}  # 5, 20, 10
    stages = loader_benchmark._stages(first, num_clips=4)
    assert stages["speedup"] == 15.0  # 10, 30, 15
    assert stages["ms_per_clip"] == {"open": 0.0, "decode": 125.0, "transform": 125.0, "collate": 0.0}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", 60)


def test_the_command_prints_what_was_timed(video, capsys):
    small = keys("--cfg", CFG, *SMALL)
    assert run_command("benchmark", ["loader", "--files", str(video), "--pairs", "2", "--json", *small]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["test_speedup"] > 0 and answer["train_speedup"] > 0
    for split, unit, clips in (("test", "s_per_video", 9), ("train", "s_per_clip", 1)):
        found = answer["files"][0][split]
        assert found["speedup"] == pytest.approx(answer[f"{split}_speedup"])
        for key in ("ms_per_clip", "plain_ms_per_clip"):  # decoding is a difference, at least 0
            assert min(found[key].values()) >= 0 and found[key]["transform"] > 0
        assert answer[f"{split}_clips_per_s"] == pytest.approx(clips / answer[f"{split}_{unit}"])
    before = torch.get_num_threads()
    assert run_command("benchmark", ["loader", "--files", str(video), "--pairs", "1", "--feed", "1e9", *small]) == 0
    assert torch.get_num_threads() == before
    out = capsys.readouterr().out
    assert "a.mp4" in out and re.search(r"\b1e\+09 clips/s\b.*\bDATA_LOADER\.NUM_WORKERS\b.*\d", out)


def test_what_pyslowfast_cannot_load_has_no_speedup(video, capsys):
    arguments = keys("--cfg", CFG, *SMALL, "DATA.SAMPLING", "segment")
    assert run_command("benchmark", ["loader", "--files", str(video), "--pairs", "1", *arguments]) == 0
    out = capsys.readouterr().out
    assert "No speed-ups" in out and "PySlowFast's way  " not in out


def test_wrong_usage_and_broken_files_end_in_a_sentence(video, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:500])
    small = keys("--cfg", CFG, *SMALL)
    assert run_command("benchmark", ["loader", "--files", str(broken), *small]) == 1
    assert str(broken) in capsys.readouterr().err
    assert run_command("benchmark", ["loader", "--feed", "0"]) == 2
    assert run_command("benchmark", ["model"]) == 2
    assert "Traceback" not in capsys.readouterr().err
