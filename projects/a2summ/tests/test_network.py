"""Frame features of the core's networks: which frames, in which clips, of which network."""

import numpy as np
import pytest
import torch
from a2summ.frames import RATE, read_frames_of, read_times, sampled_indices
from a2summ.network import build_network, digest_from_cfg
from a2summ_videos import make_video
from eval_networks import config, write_weights

from slowfast_gta import build_model
from slowfast_gta.engine.device import build_normalize
from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.loading.transforms import TestTransform, to_clips
from slowfast_gta.models.weights.load import load_weights_for


@pytest.fixture(scope="module")
def gta(tmp_path_factory):
    """A network that mixes the 4 frames of a clip: (its config, its weights)."""
    cfg = config("gta")
    return cfg, write_weights(cfg, tmp_path_factory.mktemp("network") / "gta.pyth")


@torch.no_grad()
def by_hand(cfg, weights, frames: list[np.ndarray]) -> np.ndarray:
    """Clips of four frames one after the other, the last filled up with the last frame; the mean over space."""
    model = build_model(cfg)
    load_weights_for(cfg, model, weights, fine_tune=False)
    model.eval()
    transform, rows = TestTransform.from_cfg(cfg, 1), []
    for start in range(0, len(frames), 4):
        clip = frames[start : start + 4]
        filled = np.stack(clip + clip[-1:] * (4 - len(clip)))
        inputs = build_normalize(cfg)(to_clips(transform(filled)[0][None]))
        rows.extend(model.features(inputs)[0].mean((0, 3, 4)).T[: len(clip)])
    return torch.nn.functional.normalize(torch.stack(rows), dim=1).numpy()


def changing_rate() -> np.ndarray:
    return np.concatenate([np.arange(0, 2, 0.1), np.arange(2, 5, 0.75)])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant.mp4", {"duration_sec": 4.7, "fps": 25}),
        ("changing.mkv", {"times_sec": changing_rate()}),
        ("slow.mp4", {"duration_sec": 6.0, "fps": 1}),
        ("untimed.avi", {"duration_sec": 3.0}),
    ],
)
def test_features_are_those_of_the_frames_two_a_second(gta, tmp_path, name, options):
    cfg, weights = gta
    network = build_network(cfg, weights)
    times = read_times(make_video(tmp_path / name, sound=False, shot_sec=0.4, **options))
    indices, rows = network(times)
    assert indices.tolist() == sampled_indices(times).tolist()
    assert rows.shape == (len(indices), network.dim) and rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    moments = np.arange(0, times.times_sec[-1] + 1e-9, 1 / RATE)
    shown = np.searchsorted(times.times_sec, moments + 1e-6, side="right") - 1  # a slow video shows a frame twice
    frames = dict(zip(indices.tolist(), read_frames_of(times, indices), strict=True))
    expected = by_hand(cfg, weights, [frames[index] for index in shown.tolist()])
    assert rows == pytest.approx(expected[np.unique(shown, return_index=True)[1]], abs=1e-4)


def test_a_network_that_halves_time_is_refused(tmp_path):
    cfg = config("slowfast")
    with pytest.raises(ConfigError, match="16 frames"):
        build_network(cfg, write_weights(cfg, tmp_path / "slowfast.pyth"))


def test_a_digest_names_weights_network_input_and_rate(gta, tmp_path, monkeypatch):
    cfg, weights = gta
    digest = digest_from_cfg(cfg, weights)
    assert digest == build_network(cfg, weights).digest == digest_from_cfg(config("gta"), weights)
    others = [
        digest_from_cfg(cfg, write_weights(cfg, tmp_path / "other.pyth", seed=1)),
        digest_from_cfg(config("gta", "DATA.MEAN", [0.1, 0.2, 0.3]), weights),
        digest_from_cfg(config("gta", "DATA.TEST_CROP_SIZE", 36), weights),
        digest_from_cfg(config("r2d"), weights),
    ]
    monkeypatch.setattr("a2summ.network.RATE", 2 * RATE)
    others.append(digest_from_cfg(cfg, weights))
    assert len({digest, *others}) == 6


def test_a_video_that_breaks_is_reported(gta, tmp_path):
    network = build_network(*gta)
    path = make_video(tmp_path / "a.mp4", 3.0, sound=False)
    times = read_times(path)
    path.write_bytes(b"no video any more")
    with pytest.raises(DataError, match=r"a\.mp4"):
        network(times)
