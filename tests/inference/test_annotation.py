"""Answers along a video: of whole windows those of `predict --windows`, before that of what there was."""

import numpy as np
import pytest
from eval_networks import config, write_weights
from made_videos import write_video

from slowfast_gta import Predictor
from slowfast_gta.errors import ConfigError
from slowfast_gta.inference.annotation import build_annotator, crop_box
from slowfast_gta.inference.windows import Cut
from slowfast_gta.loading.transforms import TestTransform
from slowfast_gta.video.stream import open_stream


@pytest.mark.parametrize(("name", "fps"), [("gta", None), ("gta", 5.0), ("slowfast", None)])
def test_whole_windows_are_those_of_predict(tmp_path, name, fps):
    cfg = config(name)
    weights = write_weights(cfg, tmp_path / "w.pyth")
    video = write_video(tmp_path / "a.mp4", 60, fps=10)
    annotator = build_annotator(cfg, weights, "1.6s", "0.4s", fps)
    with open_stream(str(video)) as stream:
        frames = list(annotator(stream, cut := Cut()))
    assert [frame.index for frame, _ in frames] == list(range(60)), "each once, in order"
    answers = {id(answer): answer for _, answer in frames if answer is not None}
    found = {round(answer.start_sec, 3): answer for answer in answers.values()}
    windows = list(Predictor(cfg, weights, batch_size=1).windows(video, "1.6s", "0.4s", fps))
    compared = 0
    for window in windows:
        answer = found.get(round(window.start_sec, 3))
        if answer is not None and window.start_sec > 0 and window.end_sec - window.start_sec > 1.5:
            np.testing.assert_allclose(answer.probabilities, window.probabilities, rtol=1e-5)
            compared += 1
    assert compared > 5 and cut.num_windows >= len(answers)
    first = next(answer for _, answer in frames if answer is not None)
    assert first.start_sec == 0 and first.time_sec < 0.5, "it does not wait for a whole window"
    for frame, answer in frames:
        assert answer is None or answer.time_sec <= frame.time_sec, "nothing of what comes later is known"


def test_what_is_asked_by_default(tmp_path):
    weights = write_weights(config("gta"), tmp_path / "w.pyth")
    plan = build_annotator(config("gta"), weights).plan
    assert (str(plan.length), str(plan.stride)) == ("2s", "0.5s")
    plan = build_annotator(config("gta"), weights, window="16").plan
    assert (str(plan.length), str(plan.stride)) == ("16", "4")
    slowfast = config("slowfast")
    plan = build_annotator(slowfast, write_weights(slowfast, tmp_path / "s.pyth")).plan
    assert plan.length.value == slowfast.DATA.NUM_FRAMES * slowfast.DATA.SAMPLING_RATE and plan.fps == 30
    with pytest.raises(ConfigError, match="--overlay"):
        build_annotator(config("gta"), weights, overlay="heat")


@pytest.mark.parametrize(("name", "overlay"), [("gta", "gradcam"), ("slowfast", "gradcam"), ("gta", "attention")])
def test_an_overlay_lies_on_the_crop(tmp_path, name, overlay):
    large = ("DATA.TEST_CROP_SIZE", 96, "DATA.RESIZE", "[96,96]") if name == "gta" else ()
    cfg = config(name, *large)
    annotator = build_annotator(cfg, write_weights(cfg, tmp_path / "w.pyth"), "0.5s", overlay=overlay)
    with open_stream(str(write_video(tmp_path / "a.mp4", 20, fps=10))) as stream:
        answers = [answer for _, answer in annotator(stream, Cut()) if answer is not None]
    maps = [answer.overlay for answer in answers]
    assert maps and all(one.ndim == 2 and 0 <= one.min() <= one.max() <= 1 for one in maps)
    assert any(one.max() > 0 for one in maps)


@pytest.mark.parametrize("size", [(48, 64), (90, 70), (101, 33)])
@pytest.mark.parametrize("resize", [None, (40, 56)])
def test_where_the_crop_is(size, resize):
    """A frame whose pixels say where they are, through the crop itself."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    frame = np.stack([rows * 255 / size[0], columns * 255 / size[1], rows * 0], -1).astype(np.uint8)
    transform = TestTransform(32, resize, 1)
    crop = transform(frame[None])[0][0]
    top, left, bottom, right = crop_box(transform, size)
    assert top * 255 == pytest.approx(crop[0, :, 0].mean(), abs=9) and bottom * 255 == pytest.approx(
        crop[-1, :, 0].mean(), abs=9
    )
    assert left * 255 == pytest.approx(crop[:, 0, 1].mean(), abs=9) and right * 255 == pytest.approx(
        crop[:, -1, 1].mean(), abs=9
    )
