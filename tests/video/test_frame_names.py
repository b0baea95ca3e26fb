"""Frames of a folder are the files of one naming pattern; strangers are passed over, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
from made_videos import number_of
from numbered_images import write_images

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.video.frame_names import FramePattern, find_sequence
from slowfast_gta.video.readers import open_video

SPANS = (None, (3, 8))


def numbers_in(folder: Path, span=None, pattern: str = "") -> list[int]:
    with open_video(folder, span, frame_pattern=pattern) as video:
        return [number_of(frame) for frame in video.read(range(video.num_frames))]


@pytest.mark.parametrize("names", ["{:05d}.jpg", "img_{:05d}.jpg", "78687_{:06d}.png", "{}.jpeg", "frame{}.JPG"])
def test_strangers_are_passed_over(tmp_path, names):
    folder = write_images(tmp_path / "a", names)
    for stranger in (".DS_Store", "._" + names.format(3), "." + names.format(4), "Thumbs.db", "notes.txt", "1.txt"):
        (folder / stranger).write_bytes(b"\0\5\26\7 no image")
    for stranger in ("thumbnail.jpg", "cover.png", "einschließlich.jpg"):
        (folder / stranger).write_bytes(b"no image either")
    (folder / "@eaDir").mkdir()
    assert numbers_in(folder) == list(range(1, 13))
    assert numbers_in(folder, (3, 8)) == list(range(3, 9))
    with open_video(folder) as video:
        assert video.num_gaps == 0


@pytest.mark.parametrize("span", SPANS)
def test_several_patterns_are_refused_and_one_can_be_chosen(tmp_path, span):
    folder = write_images(tmp_path / "a", "flow_x_{:05d}.jpg", shift=50)
    write_images(folder, "img_{:05d}.jpg")
    write_images(folder, "flow_y_{:05d}.jpg", range(1, 12), shift=80)
    with pytest.raises(DataError) as caught:
        numbers_in(folder, span)
    for name in (
        "img_{:05d}.jpg (12 files)",
        "flow_x_{:05d}.jpg",
        "flow_y_{:05d}.jpg (11",
        "DATA.FRAME_PATTERN",
        "3 ways",
    ):
        assert name in str(caught.value)
    wanted = list(range(1, 13)) if span is None else list(range(3, 9))
    for pattern in ("img_{:05d}.jpg", "img_{}.jpg", "img_{:d}.jpg", "img_%05d.jpg", "img_%d.jpg"):
        assert numbers_in(folder, span, pattern) == wanted
    assert numbers_in(folder, span, "flow_x_{:05d}.jpg") == [number + 50 for number in wanted]
    with pytest.raises(DataError, match=r"DATA\.FRAME_PATTERN rgb_\{\}\.jpg"):
        numbers_in(folder, span, "rgb_{}.jpg")


@pytest.mark.parametrize(
    "names",
    [
        ("{:05d}.jpg", "{:05d}.png"),  # other suffixes
        ("{:05d}.jpg", "{:05d}.JPG"),
        ("{:05d}.jpg", "{:05d}_mask.png"),
        ("cam1_{:05d}.jpg", "cam2_{:05d}.jpg"),  # another number
        ("a_{:05d}_left.jpg", "a_{:05d}_right.jpg"),
    ],
)
def test_patterns_that_differ_a_little(tmp_path, names):
    folder = write_images(write_images(tmp_path / "a", names[0]), names[1], shift=50)
    for span in SPANS:
        with pytest.raises(DataError, match="named in 2 ways"):
            numbers_in(folder, span)
    assert numbers_in(folder, None, names[0]) == list(range(1, 13))
    assert numbers_in(folder, (2, 3), names[1]) == [52, 53]


def test_numbers_with_and_without_zeros(tmp_path):
    folder = write_images(tmp_path / "a", "{}.jpg", [*range(1, 13), 101])
    assert numbers_in(folder) == [*range(1, 13), 101]
    assert numbers_in(folder, (9, 12)) == [9, 10, 11, 12]
    with open_video(folder) as video:
        assert video.num_gaps == 88
    grown = write_images(tmp_path / "b", "{:03d}.jpg", [998, 999, 1000, 1001])
    with open_video(grown) as video:
        assert [file.name for file in video.files] == ["998.jpg", "999.jpg", "1000.jpg", "1001.jpg"]
    with open_video(grown, (999, 1000)) as video:
        assert [file.name for file in video.files] == ["999.jpg", "1000.jpg"]
    write_images(folder, "{:05d}.jpg", [7], shift=90)
    for span in SPANS:
        with pytest.raises(DataError, match=r"0*7\.jpg.*0*7\.jpg"):
            numbers_in(folder, span)
    assert numbers_in(folder, None, "{:05d}.jpg") == [97]


def test_two_numbers_in_a_name(tmp_path):
    folder = tmp_path / "times"
    folder.mkdir()
    for number in range(1, 13):
        write_images(folder, f"frame_{{:04d}}_{number * 40:05d}ms.jpg", [number])
    assert numbers_in(folder) == list(range(1, 13))
    with pytest.raises(DataError, match="more than one number changes"):
        numbers_in(folder, (3, 8))
    assert numbers_in(write_images(tmp_path / "of", "{:04d}_of_0300.jpg"), (3, 8)) == list(range(3, 9))
    assert numbers_in(write_images(tmp_path / "size", "a_{:04d}_256x256.jpg")) == list(range(1, 13))


def test_digits_of_other_scripts_and_no_digits(tmp_path):
    for name, files in {
        "a": ["٠٠٠١.jpg", "٠٠٠٢.jpg"],
        "b": ["x.jpg", "y.jpg"],
        "c": ["²½.jpg"],
        "d": [".1.jpg"],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            (folder / file).write_bytes(b"")
        for span in SPANS:
            with pytest.raises(DataError, match="there are no frames"):
                open_video(folder, span)


def test_a_changed_folder_is_examined_again(tmp_path):
    folder = write_images(tmp_path / "a", "{:05d}.jpg")
    assert numbers_in(folder, (3, 4)) == [3, 4]
    write_images(folder, "flow_{:05d}.jpg")
    with pytest.raises(DataError, match="named in 2 ways"):
        numbers_in(folder, (3, 4))


@pytest.mark.parametrize(
    "pattern", ["img_.jpg", "img_{}_{}.jpg", "{}", "img_{:05d}.mp4", "a/{}.jpg", "img_{:5x}.jpg", "%s.jpg"]
)
def test_a_pattern_that_is_none(pattern):
    with pytest.raises(ConfigError, match=r"DATA\.FRAME_PATTERN"):
        FramePattern.parse(pattern)


def test_patterns_describe_themselves():
    for text in ("img_{:05d}.jpg", "{}.png", "a{{b}}_{:03d}.JPG"):
        pattern = FramePattern.parse(text)
        assert str(pattern) == text and pattern.number(pattern.name(17)) == 17
    assert FramePattern.parse("a{{b}}_{:03d}.jpg").name(5) == "a{b}_005.jpg"
    assert FramePattern("", ".jpg", 3).number("12.jpg") is None


def test_many_names_are_quick_to_sort(tmp_path):
    names = [f"frame_{number:010d}.jpg" for number in np.random.default_rng(0).permutation(100_000)]
    sequence = find_sequence(tmp_path, names, None)
    assert list(sequence.names) == list(range(100_000)) and str(sequence) == "frame_{:010d}.jpg"
