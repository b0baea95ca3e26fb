"""Sound beside the picture: copied or coded anew, at the same moments of the picture."""

import av
import pytest
from made_videos import write_frames, write_video
from videos_with_sound import frames_of, tones_of, write_with_sound

from slowfast_gta.video.output.sound import SoundTrack, open_file_sound
from slowfast_gta.video.output.writer import VideoWriter, container_of
from slowfast_gta.video.stream import open_stream


def rewritten(source, target) -> str:
    """The picture coded anew, with its sound; returns what became of that."""
    sound = open_file_sound(source)
    with target.open("wb") as file, open_stream(str(source)) as stream:
        writer = VideoWriter(file, container_of(target), (48, 64), stream.fps)
        track = SoundTrack(writer.container, container_of(target), sound.stream)
        for _, time_sec, image in stream:
            writer.write(image, time_sec)
            for packet, zero in sound.until(time_sec):
                track.put(packet, zero)
        for packet, zero in sound.until(1e9):
            track.put(packet, zero)
        track.close()
        writer.close()
    sound.close()
    return track.summary


@pytest.mark.parametrize(
    ("name", "codec", "target", "message"),
    [
        ("a.mp4", "aac", "b.mp4", "copied"),
        ("a.mkv", "mp3", "b.mkv", "copied"),
        ("a.mkv", "pcm_s16le", "b.mp4", "as AAC"),
        ("a.avi", "pcm_s16le", "b.mp4", "as AAC"),
        ("a.mkv", "flac", "b.mp4", "as AAC"),
        ("a.ts", "mp2", "b.mp4", "as AAC"),
    ],
)
def test_tones_stay_where_they_are(tmp_path, name, codec, target, message):
    source = write_with_sound(tmp_path / name, 40, 10, [0.5, 2.0, 3.2], codec)
    assert rewritten(source, tmp_path / target).endswith(message)
    assert tones_of(tmp_path / target) == pytest.approx([0.5, 2.0, 3.2], abs=0.04)
    assert len(frames_of(tmp_path / target)) == 40


def test_a_picture_that_begins_later_than_its_sound(tmp_path):
    """The times of both are counted from the first picture: what was heard before it is left out."""
    source = write_with_sound(tmp_path / "a.mkv", 30, 10, [0.5, 2.0], "aac", video_starts_sec=1.0)
    rewritten(source, tmp_path / "b.mp4")
    assert tones_of(tmp_path / "b.mp4") == pytest.approx([1.0], abs=0.04)
    assert frames_of(tmp_path / "b.mp4")[0][0] == 0


def test_where_there_is_none(tmp_path):
    assert open_file_sound(write_video(tmp_path / "a.mp4", 5)) is None
    assert open_file_sound(write_frames(tmp_path / "frames", 3)) is None
    (tmp_path / "text.mp4").write_text("no video")
    assert open_file_sound(tmp_path / "text.mp4") is None
    with av.open(str(write_with_sound(tmp_path / "b.mp4", 5, 5, []))) as container:
        assert container.streams.audio
