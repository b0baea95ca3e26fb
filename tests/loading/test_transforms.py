"""Transforms: where crops lie, that one crop-and-resize is the two steps, and that mirrors are what they say."""

import cv2
import numpy as np
import pytest
import torch

from slowfast_gta.config.defaults import get_defaults
from slowfast_gta.loading.transforms import (
    TestTransform,
    TrainTransform,
    crop_and_resize,
    crop_offsets,
    jitter_colours,
    mirror_image,
    multi_scale_box,
    permute_channels,
    resize_frames,
    short_side_box,
    short_side_size,
    to_clips,
)

SCALES = (1.0, 0.875, 0.75, 0.66)


def _gradient(num_frames=3, height=48, width=64) -> np.ndarray:
    """Frames whose red is x, whose green is y and whose blue is the time."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[..., 0] = (np.arange(width) * 255 / (width - 1)).astype(np.uint8)
    frames[..., 1] = (np.arange(height) * 255 / (height - 1)).astype(np.uint8)[:, None]
    frames[..., 2] = (np.arange(num_frames) * 20)[:, None, None]
    return frames


def _config(**keys):
    cfg = get_defaults()
    for key, value in keys.items():
        cfg.DATA[key] = value
    return cfg


def test_multi_scale_boxes_are_tsns():
    generator = np.random.default_rng(0)
    boxes = {multi_scale_box((240, 320), SCALES, 224, generator) for _ in range(6000)}
    heights = {box[2] for box in boxes}
    assert heights == {240, 210, 180, 158}
    shapes = {(box[2], box[3]) for box in boxes}
    assert (240, 210) in shapes and (240, 180) not in shapes
    assert len(shapes) == 4 + 2 * 3
    assert len({box[:2] for box in boxes if box[2:] == (158, 158)}) == 13
    assert all(min(top, left) >= 0 and top + h <= 240 and left + w <= 320 for top, left, h, w in boxes)
    assert (20, 40, 158, 158) in boxes  # one quarter of the room of 82 x 162, in both directions
    assert (40, 80, 158, 158) in boxes  # the centre


def test_a_scale_that_is_almost_the_crop_is_the_crop():
    shapes = {multi_scale_box((226, 300), (1.0,), 224, np.random.default_rng(i))[2:] for i in range(5)}
    assert shapes == {(224, 224)}
    shapes = {multi_scale_box((227, 300), (1.0, 0.875), 224, np.random.default_rng(i))[2:] for i in range(50)}
    assert shapes == {(227, 227), (227, 198), (198, 227), (198, 198)}, "198.6 is cut off, as TSN does"
    assert {multi_scale_box((100, 300), (1.0,), 50, np.random.default_rng(i))[0] for i in range(50)} == {0}


@pytest.mark.parametrize("inverse", [False, True])
def test_short_side_boxes(inverse):
    generator = np.random.default_rng(0)
    drawn = [short_side_box((240, 320), (256, 320), 224, inverse, generator) for _ in range(2000)]
    shorts = [size[0] for size, _ in drawn]
    assert min(shorts) == 256 and max(shorts) == 320
    assert (np.mean(shorts) < 287) == inverse  # uniform in the inverse favours small ones
    for (height, width), (top, left, *sides) in drawn:
        assert width == height * 320 // 240 and sides == [224, 224]
        assert 0 <= top <= height - 224 and 0 <= left <= width - 224


def test_a_short_side_box_reaches_both_ends_of_both_sides():
    drawn = [short_side_box((60, 90), (60, 60), 58, False, np.random.default_rng(seed))[1] for seed in range(400)]
    assert {top for top, *_ in drawn} == set(range(3)) and {left for _, left, *_ in drawn} == set(range(33))


def test_resizing_is_bilinear():
    row = np.array([0, 100], np.uint8)
    frames = np.tile(row[None, None, :, None], (1, 2, 1, 3))
    assert resize_frames(frames, (2, 4))[0, 0, :, 0].tolist() == [0, 25, 75, 100]


def test_each_key_reaches_the_training_transform():
    keys = {"TRAIN_CROP_SIZE": 40, "RESIZE": [60, 80], "MULTI_SCALES": [1.0, 0.5], "TRAIN_JITTER_SCALES": [50, 70]}
    keys |= {"INV_UNIFORM_SAMPLE": True, "RANDOM_FLIP": False, "COLOR_JITTER": 0.25, "CHANNEL_PERMUTE_PROB": 0.75}
    found = TrainTransform.from_cfg(_config(**keys))
    assert found == TrainTransform(40, (60, 80), (1.0, 0.5), (50, 70), True, False, 0.25, 0.75)


def test_short_side_size():
    assert short_side_size((240, 320), 120) == (120, 160)
    assert short_side_size((320, 241), 120) == (159, 120)


def test_one_step_equals_resizing_then_cropping():
    frames = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8), (0, 0), 6)[None]
    two_steps = resize_frames(frames, (192, 256))[:, 40:152, 60:172]
    one_step = crop_and_resize(frames, (192, 256), (40, 60, 112, 112), 112)
    assert one_step.shape == (1, 112, 112, 3)
    assert np.abs(one_step.astype(int) - two_steps)[:, 4:-4, 4:-4].max() <= 1


def test_height_and_width_are_scaled_by_themselves():
    frames = _gradient(height=48, width=64)
    found = crop_and_resize(frames, (96, 64), (24, 16, 48, 32), 24)
    assert np.array_equal(found, resize_frames(frames[:, 12:36, 16:48], (24, 24)))
    tiny = crop_and_resize(frames, (4800, 6400), (0, 0, 40, 40), 24)
    assert np.array_equal(tiny, np.broadcast_to(frames[:, :1, :1], (3, 24, 24, 3))), "at least one pixel"


def test_training_clip_layout_and_the_same_crop_for_all_frames():
    transform = TrainTransform.from_cfg(_config(RESIZE=[60, 80], TRAIN_CROP_SIZE=56, RANDOM_FLIP=False))
    frames = transform(_gradient(), np.random.default_rng(1))
    clip = to_clips(frames[None])[0]
    assert clip.shape == (3, 3, 56, 56) and clip.dtype == torch.uint8
    assert clip[2, :, 5, 5].tolist() == [0, 20, 40]
    assert torch.equal(clip[:2, 0], clip[:2, 1]) and torch.equal(clip[:2, 0], clip[:2, 2])


def test_colours_change_equally_in_all_frames_and_within_their_limits():
    frames = np.tile(np.random.default_rng(0).integers(70, 180, (1, 24, 24, 3), np.uint8), (3, 1, 1, 1))
    for seed in range(20):
        changed = jitter_colours(frames, 0.2, np.random.default_rng(seed))
        assert changed.shape == frames.shape and changed.dtype == np.uint8
        assert np.array_equal(changed[0], changed[1]) and not np.array_equal(changed, frames)
        assert 0.79 * frames.mean() < changed.mean() < 1.21 * frames.mean()
    grey = np.repeat(frames[..., :1], 3, -1)
    assert np.ptp(jitter_colours(grey, 0.4, np.random.default_rng(0)), axis=-1).max() == 0  # grey has no hue


def test_colours_are_the_product_of_the_four_changes():
    frames = np.random.default_rng(1).integers(60, 190, (2, 8, 8, 3), np.uint8)
    generator = np.random.default_rng(3)
    brightness, contrast, saturation = generator.uniform(0.7, 1.3, 3)
    angle = generator.uniform(-0.3, 0.3) * np.pi / 2
    axis, expected = np.full(3, 3**-0.5), frames * brightness
    expected = (expected - expected.mean()) * contrast + expected.mean()
    grey = expected.mean(-1, keepdims=True)
    expected = grey + saturation * (expected - grey)
    along = (expected @ axis)[..., None] * axis  # Rodrigues' formula
    expected = expected * np.cos(angle) + np.cross(axis, expected) * np.sin(angle) + along * (1 - np.cos(angle))
    changed = jitter_colours(frames, 0.3, np.random.default_rng(3))
    assert np.abs(changed - np.clip(expected, 0, 255)).max() < 0.6  # OpenCV rounds after sums in fixed point


def test_colours_stay_unless_asked_for():
    frames = np.random.default_rng(0).integers(0, 255, (2, 112, 112, 3), np.uint8)
    plain = _config(RANDOM_FLIP=False, TRAIN_JITTER_SCALES=[64, 64], TRAIN_CROP_SIZE=64)
    jittered = _config(RANDOM_FLIP=False, TRAIN_JITTER_SCALES=[64, 64], TRAIN_CROP_SIZE=64, COLOR_JITTER=0.4)
    one, other = (TrainTransform.from_cfg(cfg)(frames, np.random.default_rng(5)) for cfg in (plain, jittered))
    assert np.array_equal(other, jitter_colours(one, 0.4, _after_crop(np.random.default_rng(5))))


def test_channels_are_permuted_equally_in_all_frames_of_the_configured_share_of_clips():
    frames = np.random.default_rng(0).integers(0, 255, (3, 80, 80, 3), np.uint8)
    keys = {"RANDOM_FLIP": False, "TRAIN_JITTER_SCALES": [64, 64], "TRAIN_CROP_SIZE": 64}
    plain = TrainTransform.from_cfg(_config(**keys))
    for prob, expected in ((0.0, 0), (0.5, 5 / 12), (1.0, 5 / 6)):  # one order in six is the one that it was
        transform = TrainTransform.from_cfg(_config(**keys, CHANNEL_PERMUTE_PROB=prob))
        orders = []
        for seed in range(300):
            clip, before = (which(frames, np.random.default_rng(seed)) for which in (transform, plain))
            orders.append(tuple(next(c for c in range(3) if (clip[..., n] == before[..., c]).all()) for n in range(3)))
        changed = sum(order != (0, 1, 2) for order in orders) / len(orders)
        assert abs(changed - expected) < 0.1 and all(sorted(order) == [0, 1, 2] for order in orders)
        assert len(set(orders)) == (6 if prob else 1)


def test_channels_are_permuted_after_the_colours_and_draw_nothing_where_switched_off():
    clip = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), np.uint8)
    both = TrainTransform(8, None, (1.0,), (8, 8), False, False, colour_jitter=0.4, channel_permute_prob=1.0)
    jittered = TrainTransform(8, None, (1.0,), (8, 8), False, False, colour_jitter=0.4)
    generators = [np.random.default_rng(1) for _ in range(2)]
    changed, before = (which(clip, drawn) for which, drawn in zip((both, jittered), generators, strict=True))
    generators[1].random()
    assert np.array_equal(changed, permute_channels(before, generators[1]))
    assert generators[0].bit_generator.state == generators[1].bit_generator.state


def _after_crop(generator: np.random.Generator) -> np.random.Generator:
    short_side_box((112, 112), (64, 64), 64, False, generator)
    return generator


def test_half_of_the_clips_are_mirrored():
    transform = TrainTransform.from_cfg(_config(RANDOM_FLIP="swap-labels"))
    assert 170 < sum(transform.mirrors(np.random.default_rng(seed)) for seed in range(400)) < 230
    never = TrainTransform.from_cfg(_config(RANDOM_FLIP=False))
    assert not any(never.mirrors(np.random.default_rng(seed)) for seed in range(60))
    assert np.array_equal(mirror_image(_gradient()), _gradient()[:, :, ::-1])


@pytest.mark.parametrize("keys", [{"RESIZE": [60, 80]}, {"RESIZE": [], "TRAIN_JITTER_SCALES": [60, 80]}])
def test_every_frame_of_a_clip_has_the_same_crop(keys):
    """Frames that are all alike stay so, whatever scale and place are drawn, and those differ from clip to clip."""
    transform = TrainTransform.from_cfg(_config(TRAIN_CROP_SIZE=56, **keys))
    still = np.repeat(_gradient(num_frames=1), 5, axis=0)
    clips = [transform(still, np.random.default_rng(seed)) for seed in range(20)]
    assert all((clip == clip[:1]).all() for clip in clips)
    assert len({clip.tobytes() for clip in clips}) > 10


def test_test_crops_lie_along_the_longer_side():
    assert crop_offsets((240, 320), 224, 1) == [(8, 48)]
    assert crop_offsets((256, 340), 256, 3) == [(0, 0), (0, 42), (0, 84)]
    assert crop_offsets((341, 256), 256, 3) == [(0, 0), (43, 0), (85, 0)]
    assert crop_offsets((48, 48), 32, 3) == [(8, 0), (8, 8), (8, 16)]  # of squares along the width, as PySlowFast


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images():
    assert crop_offsets((48, 64), 32, 5) == [(0, 0), (0, 32), (16, 0), (16, 32), (8, 16)]
    frames = _gradient()
    crops = TestTransform(32, (48, 64), 10)(frames)
    assert len(crops) == 10
    for (top, left), crop, mirror in zip(crop_offsets((48, 64), 32, 5), crops[:5], crops[5:], strict=True):
        np.testing.assert_array_equal(crop, frames[:, top : top + 32, left : left + 32])
        np.testing.assert_array_equal(mirror, np.flip(crop, 2))


def test_test_views_are_resized_then_cropped():
    frames = _gradient(height=48, width=64)
    crops = TestTransform.from_cfg(_config(RESIZE=[], TEST_CROP_SIZE=24), 3)(frames)
    resized = resize_frames(frames, (24, 32))
    assert [crop.shape for crop in crops] == [(3, 24, 24, 3)] * 3
    for crop, left in zip(crops, (0, 4, 8), strict=True):
        assert np.array_equal(crop, resized[:, :, left : left + 24])
    only = TestTransform.from_cfg(_config(RESIZE=[60, 80], TEST_CROP_SIZE=56), 1)(frames)
    assert np.array_equal(only[0], resize_frames(frames, (60, 80))[:, 2:58, 12:68])


def test_full_resolution_crops_nothing_and_keeps_the_shape():
    cfg = _config(RESIZE=[60, 80], TEST_CROP_SIZE=24)
    cfg.TEST.FULL_RESOLUTION = True
    for height, width, wanted in ((48, 64, (24, 32)), (64, 48, (32, 24)), (24, 50, (24, 50))):
        frames = _gradient(height=height, width=width)
        (whole,) = TestTransform.from_cfg(cfg, 1)(frames)
        assert np.array_equal(whole, resize_frames(frames, wanted))
