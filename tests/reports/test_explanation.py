"""Pictures of maps, weights, matrices and masks: their numbers are the ones drawn."""

from types import SimpleNamespace

import numpy as np
import pytest

from slowfast_gta.reports.explanation import DrawnClip, draw_shown, drawn_steps, enlarged, overlay_frames
from slowfast_gta.reports.style import picture_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)
CLIP = DrawnClip(IMAGES, (3, 9, 15, 21), (0.1, 0.3, 0.5, float("nan")), "开门.mp4: 70 % “Öffnen”")


def content(form: str, values: np.ndarray, **more):
    known = {"what": "something", "unit": "weight", "rows": (), "signed": False, "most": None, "block": "s3.0"}
    known |= {"query": None, "frames": (0, 1, 2, 3), "form": form, "values": values}
    return SimpleNamespace(**(known | more))


def maps_drawn(figure) -> list[np.ndarray]:
    return [image.get_array() for axes in figure.axes for image in axes.images if image.get_array().ndim == 2]


def test_maps_are_drawn_cell_by_cell():
    values = np.random.default_rng(1).random((1, 4, 5, 6))
    values[0, 2, 0] = np.nan
    figure = draw_shown(content("maps", values, query=(7, 9, 2)), CLIP)
    drawn = [image for image in maps_drawn(figure) if image.shape == (5, 6)]
    assert len(drawn) == 4
    for step, image in enumerate(drawn):
        np.testing.assert_array_equal(np.ma.filled(image, np.nan), values[0, step])
    crosses = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
    assert crosses and all(cross == [[7, 9]] for cross in crosses)
    assert any("point 7,9, frame 2" in text.get_text() for text in (*figure.texts, figure._suptitle))


def test_several_rows_have_a_scale_each():
    values = np.random.default_rng(1).normal(size=(8, 4, 3, 3))
    figure = draw_shown(content("maps", values, rows=tuple("abcdefgh"), signed=True), CLIP)
    drawn = [image for image in maps_drawn(figure) if image.shape == (3, 3)]
    assert len(drawn) == 6 * 4, "six of them"
    np.testing.assert_allclose(drawn[4], values[1, 0] / np.abs(values[1]).max())


def test_weights_are_bars():
    values = np.array([[0.1, 0.4, 0.3, 0.2]])
    figure = draw_shown(content("weights", values), CLIP)
    assert [bar.get_height() for axes in figure.axes for bar in axes.patches] == [0.1, 0.4, 0.3, 0.2]


@pytest.mark.parametrize("count", [1, 4, 64])
def test_matrices(count):
    values = np.random.default_rng(0).normal(size=(count, 4, 4))
    figure = draw_shown(content("matrix", values, signed=True), CLIP)
    drawn = [image for image in maps_drawn(figure) if image.shape == (4, 4)]
    assert len(drawn) == count and np.allclose(drawn[-1], values[-1])


def test_channels_and_files():
    values = np.random.default_rng(0).random((100, 4))
    figure = draw_shown(content("channels", values, most=1.0), CLIP)
    (drawn,) = [image for image in maps_drawn(figure) if image.shape == (48, 4)]
    assert np.allclose(drawn[0], values[values.std(1).argmax()])
    assert picture_bytes(figure).startswith(b"\x89PNG") and b"<svg" in picture_bytes(figure, "svg")


def test_of_many_steps_some_are_drawn():
    assert drawn_steps(4) == [0, 1, 2, 3] and drawn_steps(32) == [0, 4, 9, 13, 18, 22, 27, 31]


def test_frames_of_a_video():
    values = np.zeros((1, 4, 2, 2))
    values[0, 1, 0, 1] = 1
    frames = overlay_frames(content("maps", values), CLIP)
    assert len(frames) == 4 and frames[0].shape == (240, 576, 3)
    assert np.array_equal(frames[2][::12, ::12][:, :24], IMAGES[2])
    assert not np.array_equal(frames[1][:, 288:], frames[2][:, 288:])
    assert enlarged(np.array([[1, 2], [3, 4]]), (3, 4)).tolist() == [[1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
