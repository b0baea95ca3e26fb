"""The style of the pictures: letters, colours, files, and what is said where matplotlib is missing."""

import builtins
import logging
import re

import cv2
import numpy as np
import pytest

from slowfast_gta.errors import ConfigError
from slowfast_gta.reports.style import (
    draw_matrix,
    fonts_for,
    has_matplotlib,
    new_figure,
    picture_bytes,
    save_picture,
)


@pytest.fixture
def no_matplotlib(monkeypatch):
    """As if it were not installed."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def text_picture(text: str) -> np.ndarray:
    with new_figure(3, 1, [text]) as figure:
        figure.text(0.05, 0.4, text)
    return cv2.imdecode(np.frombuffer(picture_bytes(figure), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_names_that_are_not_ascii_are_drawn(caplog):
    for text in ("Öffnen", "Закрывание", "$5 x_1^2"):
        picture = text_picture(text)
        assert (picture.min(2) < 128).sum() > 100
        assert not np.array_equal(picture, text_picture("?" * len(text)))
    assert not [record for record in caplog.records if "no font" in record.message]


def test_letters_that_no_font_has_are_reported(caplog):
    fonts_for.cache_clear()
    with caplog.at_level(logging.WARNING, "slowfast_gta"):
        fonts_for("a\U000f1234")  # of the private use area
    assert re.search(r"\bfont\b.*: 1\b.*\\U000f1234", caplog.text.encode("unicode_escape").decode())


def test_equal_figures_are_equal_files(tmp_path):
    def figure():
        with new_figure(2, 2) as drawn:
            draw_matrix(drawn.add_subplot(), np.eye(3), "abc", "abc", numbers="{:.0f}")
        return drawn

    for suffix in ("png", "svg"):
        save_picture(tmp_path / f"a.{suffix}", figure())
        assert (tmp_path / f"a.{suffix}").read_bytes() == picture_bytes(figure(), suffix)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg"}
    with pytest.raises(OSError, match="No such file"):
        save_picture(tmp_path / "nowhere" / "a.png", figure())


def test_colours_of_a_matrix():
    """With signs, white is 0, red positive and blue negative; grey is nothing."""
    with new_figure(2, 2) as figure:
        drawn = draw_matrix(figure.add_subplot(), np.array([[0, 2.0], [-2.0, np.nan]]), signed=True)
    red, blue, nothing, zero = (drawn.to_rgba(np.ma.masked_invalid([value]))[0][:3] for value in (2, -2, np.nan, 0))
    assert red[0] > red[2] and blue[2] > blue[0] and nothing == pytest.approx((0.8, 0.8, 0.8)) and min(zero) > 0.95


def test_without_matplotlib_it_is_refused(no_matplotlib):
    assert not has_matplotlib()
    with pytest.raises(ConfigError, match=r"slowfast_gta\[pictures\]"), new_figure(1, 1):
        pass
