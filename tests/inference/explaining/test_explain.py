"""Everything there is to see of a clip, of every network: named, complete, and a picture of what was learned."""

import numpy as np
import pytest
import torch
from eval_networks import NETWORKS, config, write_weights
from made_videos import write_video

from slowfast_gta.errors import ConfigError, DataError
from slowfast_gta.inference.explaining.explain import build_explainer, pictures_by_name
from slowfast_gta.inference.explaining.shown import Query
from slowfast_gta.models.attention import ATTENTION_REGISTRY
from slowfast_gta.models.slowfast import slow_frame_indices

ATTENTION = ("ATTENTION.LOCATION", "[[[]],[[0]],[[0]],[[]]]", "ATTENTION.OPTIONS", "{}")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("videos") / "a.mp4", 80, fps=20))


def explainer_of(name, folder, *overrides):
    cfg = config(name, *overrides)
    return build_explainer(cfg, write_weights(cfg, folder / "w.pyth"))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network(name, tmp_path, video):
    explainer = explainer_of(name, tmp_path)
    window = explainer.window(video)
    found = explainer.explain(window)
    cams = [shown for shown in found.shown if shown.kind.startswith("gradcam")]
    assert len(cams) == (2 if name == "slowfast" else 1)
    best = int(found.probabilities.argmax())
    assert all(shown.kind.startswith(f"gradcam_{best}") and shown.block == "" for shown in cams)
    for shown in found.shown:
        assert len(shown.frames) == shown.values.shape[2 if shown.form == "matrix" else 1]
        assert all(0 <= frame < len(window.frames) for frame in shown.frames)
    if name == "slowfast":
        assert cams[0].frames == tuple(slow_frame_indices(16, 4).tolist()) and cams[1].frames == tuple(range(16))
    names = [name for name, _ in pictures_by_name(found)]
    assert len(set(names)) == len(names) == len(found.shown)
    assert bool(explainer.blocks()) == (name == "gta") and found.backwards.shape == found.probabilities.shape


@pytest.mark.parametrize("name", ATTENTION_REGISTRY.known())
def test_every_packaged_block_has_a_picture(name, tmp_path, video):
    explainer = explainer_of("gta", tmp_path, "ATTENTION.NAME", name, *ATTENTION)
    found = explainer.explain(explainer.window(video))
    assert {shown.block for shown in found.shown} == {"", "s3.pathway0_attention0", "s4.pathway0_attention0"}
    assert all(np.isfinite(shown.values).any() for shown in found.shown)


def test_pictures_show_what_was_learned(tmp_path, video):
    """With weights drawn anew from the top down each picture changes, at the latest with the part that it is of."""
    larger = ("DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64, "DATA.RESIZE", "[64,80]")
    explainer = explainer_of("gta", tmp_path, *larger)
    window, query = explainer.window(video), Query(12, 20, 1)

    def values() -> dict:
        explanation = explainer.explain(window, query, labels=[1])
        return {name: shown.values for name, shown in pictures_by_name(explanation)}

    first, model = values(), explainer.network.model
    changed: dict[str, set[str]] = {}
    generator = torch.Generator().manual_seed(5)
    for part in ("head", "s5", "s4", "s3", "s2", "s1"):
        with torch.no_grad():
            for value in model.get_submodule(part).parameters():
                value.copy_(torch.randn(value.shape, generator=generator) * value.std(correction=0).clamp_min(0.05))
        for module in model.modules():  # what is kept of packed weights is of the old ones
            module.__dict__.pop("_packed_for", None)
        now = values()
        changed[part] = {
            name for name in first if not np.allclose(first[name], now[name], rtol=1e-6, atol=0, equal_nan=True)
        }
    assert "gradcam_1" in changed["head"]
    for stage in ("s4", "s3"):
        assert {name for name in first if name.startswith(f"{stage}.")} <= changed[stage], stage
    assert changed["s1"] == set(first), "and in the end all of them"


def test_the_network_answers_as_before(tmp_path, video):
    explainer = explainer_of("gta", tmp_path)
    window = explainer.window(video)
    one, two = explainer.explain(window), explainer.explain(window)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    for first, second in zip(one.shown, two.shown, strict=True):
        np.testing.assert_array_equal(first.values, second.values)


def test_blocks_and_classes_by_name(tmp_path):
    explainer = explainer_of("gta", tmp_path)
    assert explainer.blocks(["s4.0", "s3.pathway0_attention0"]) == ["s4.pathway0_attention0", "s3.pathway0_attention0"]
    assert [explainer.label(name) for name in ("class 2", "Class 1", "0")] == [2, 1, 0]
    for wrong in (lambda: explainer.blocks(["s4.7"]), lambda: explainer.label("clas"), lambda: explainer.label("3")):
        with pytest.raises(ConfigError, match=r"--block|--class"):
            wrong()
    with pytest.raises(ConfigError, match="no attention block"):
        explainer_of("r2d", tmp_path).blocks(["s4.0"])


def test_several_outputs(tmp_path, video):
    explainer = explainer_of("r2d", tmp_path, "MODEL.NUM_CLASSES", "[3, 4]", "MODEL.OUTPUTS", "[verb, noun]")
    found = explainer.explain(explainer.window(video))
    assert len(found.shown) == 2 and found.probabilities.shape == (7,)
    assert explainer.label("noun: noun 1") == 4


def test_windows_of_a_moment(tmp_path, video):
    cfg = config("gta")
    explainer = build_explainer(cfg, write_weights(cfg, tmp_path / "w.pyth"), window="1s")
    assert [explainer.window(video, at).start_sec for at in (0, 0.99, 1.0, 3.9)] == pytest.approx([0, 0, 1, 3])
    with pytest.raises(ConfigError, match="--at"):
        explainer.window(video, 4.5)
    with pytest.raises(DataError):
        explainer.window(str(tmp_path / "gone.mp4"))


def test_weights_from_before_training(tmp_path):
    """--initial: where the seed does not tell, a file does."""
    cfg = config("gta")
    weights = write_weights(cfg, tmp_path / "w.pyth", seed=3)
    assert build_explainer(cfg, weights).no_initial and not build_explainer(cfg, weights).initial
    explainer = build_explainer(cfg, weights, initial=weights)
    assert not explainer.no_initial and set(explainer.initial) == {"s3.pathway0_attention0", "s4.pathway0_attention0"}
