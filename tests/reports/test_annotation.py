"""What is drawn on frames."""

import numpy as np
import pytest

from slowfast_gta.reports.annotation import Panel, text_mask, with_map

GREY = np.full((180, 320, 3), 120, np.uint8)


def test_the_panel_is_at_the_bottom_and_changes_with_the_scores():
    panel = Panel(GREY.shape[:2], ["开门 Öffnen", "closing", "waiting"], 2)
    before = panel.draw(GREY, 0.0)
    top = 180 - 2 * panel.line_px
    assert np.array_equal(before[:top], GREY[:top]) and before[top:].mean() < 80 and GREY.min() == 120
    panel.add(0.5, np.array([0.7, 0.2, 0.1]))
    one = panel.draw(GREY, 0.6)
    panel.add(1.0, np.array([0.2, 0.7, 0.1]))
    two = panel.draw(GREY, 1.1)
    assert not np.array_equal(one[top:], two[top:]) and one.shape == GREY.shape
    for number in range(1000):
        panel.add(1 + number, np.array([0.2, 0.7, 0.1]))
    assert len(panel._history) <= 21, "what has left the strip is forgotten"


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (144, 176), (1080, 1920), (300, 90)])
def test_any_size_of_frames(size):
    panel = Panel(size, [f"a long name of class {number}" for number in range(9)], 5)
    panel.add(0, np.full(9, 1 / 9))
    assert panel.draw(np.zeros((*size, 3), np.uint8), 0).max() > 100


def test_a_map_tints_its_part_alone():
    out = with_map(GREY, np.ones((2, 2), np.float32), (0.25, 0.5, 0.75, 1.0))
    changed = np.argwhere((out != GREY).any(2))
    assert changed.min(0).tolist() == [45, 160] and changed.max(0).tolist() == [134, 319]
    assert np.array_equal(with_map(GREY, np.zeros((2, 2)), (0, 0, 1, 1)), GREY), "where the map is 0 the frame stays"


def test_text_has_ink_of_its_height():
    wide, narrow = text_mask("Moving something up", 20), text_mask("Mo", 20)
    assert wide.shape[0] == narrow.shape[0] == 20 and wide.shape[1] > 3 * narrow.shape[1] and wide.max() > 0.9
