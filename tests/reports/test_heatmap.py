"""Pictures: the values are where they belong, and the files are written whole."""

import json

import cv2
import numpy as np
import pytest
from miniatures import CFG, TINY

from slowfast_gta import build_model, load_config
from slowfast_gta.reports.confusion import draw_confusion, save_confusion_picture
from slowfast_gta.reports.global_matrices import draw_global_matrices
from slowfast_gta.reports.heatmap import beside, draw_heatmap, save_picture


def test_a_heatmap_is_white_at_zero_and_dark_at_the_largest():
    matrix = np.array([[0.0, 1.0], [-2.0, 0.0]])
    picture = draw_heatmap(matrix, "", ["", ""], ["", ""], cell_px=20)
    top, left = 32, 16
    centres = [[picture[top + 10 + 20 * r, left + 10 + 20 * c].astype(int).sum() for c in (0, 1)] for r in (0, 1)]
    assert centres[0][0] == centres[1][1] == 3 * 255
    assert centres[1][0] < centres[0][1] < 3 * 255


def test_beside_fills_up_with_white():
    small, large = np.zeros((2, 3, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)
    both = beside([small, large])
    assert both.shape == (5, 7, 3)
    assert both[:2, :3].max() == 0 and both[2:, :3].min() == 255 and both[:, 3:].max() == 0


def test_pictures_are_png_files(tmp_path):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    save_picture(tmp_path / "a.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png")), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OSError, match="No such file"):
        save_picture(tmp_path / "nowhere" / "a.png", picture)


@pytest.mark.parametrize("num_classes", [3, 60])
def test_the_confusion_matrix_of_a_run(tmp_path, num_classes):
    names = [{"name": f"Class {number}"} for number in range(num_classes)]
    results = {"top1": 50.0, "num_missing": 1, "per_class": names}
    (tmp_path / "results.json").write_text(json.dumps(results))
    scores = np.eye(num_classes, dtype=np.float32)[[0, 1, 1, 0]]
    np.savez(tmp_path / "scores.npz", video_id=np.array(list("abcd")), scores=scores, label=np.array([0, 1, 2, 2]))
    path = save_confusion_picture(tmp_path)
    picture = cv2.imread(str(path))
    assert picture.shape == draw_confusion(tmp_path).shape
    assert (picture.min(2) < 120).sum() > 30, "the diagonal is dark"


def test_the_global_matrices_of_a_network():
    location = [[[]], [[0]], [[0]], [[]]]
    cfg = load_config(CFG, [*TINY, "ATTENTION.NAME", "GTA", "ATTENTION.LOCATION", location])
    picture = draw_global_matrices(build_model(cfg))
    assert picture.ndim == 3 and picture.dtype == np.uint8 and picture.min() < 120
    with pytest.raises(ValueError, match="no GTA block"):
        draw_global_matrices(build_model(load_config(CFG, TINY)))
