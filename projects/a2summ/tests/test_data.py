"""The published layouts, and files that are broken or hostile."""

import json
import pickle

import h5py
import numpy as np
import pytest
import yaml
from a2summ.data.articles import load_articles
from a2summ.data.object_arrays import load_arrays
from a2summ.data.summe_tvsum import even_spans, load_summe_tvsum
from a2summ.samples import collate
from a2summ_packs import make_articles, make_summe_tvsum, save_arrays

from slowfast_gta.errors import DataError


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    root = tmp_path_factory.mktemp("packs")
    for dataset in ("SumMe", "TVSum"):
        make_summe_tvsum(root, dataset)
    for dataset in ("CNN", "Daily_Mail", "BLiSS"):
        make_articles(root, dataset)
    return root


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_out_as_they_went_in(tmp_path, protocol):
    generator = np.random.default_rng(0)
    arrays = {
        "a": generator.standard_normal((5, 3)).astype(np.float32),
        "b": generator.integers(0, 9, (2, 4)),
        "fortran": np.asfortranarray(generator.standard_normal((3, 4))),
        "big-endian": np.arange(4, dtype=">f4").reshape(2, 2),
        "empty": np.zeros((0, 7), np.float16),
    }
    box = np.array(arrays, dtype=object)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(box, file, protocol=protocol)
    found = load_arrays(tmp_path / "a.npy")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


class Exploit:
    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        Exploit((print, ("executed",))),
        Exploit((eval, ("1 + 1",))),
        Exploit((np.ndarray, ((10**9,),))),
        Exploit((np.dtype, ("V1000000000",))),
        Exploit((pickle.loads, (b"",))),
        np.array([Exploit((print, ("executed",))), 1], dtype=object),
        [1, 2],
        3,
        {"nested": object},
    ],
)
def test_nothing_of_a_hostile_file_is_run(tmp_path, capsys, value):
    save_arrays(tmp_path / "a.npy", {"good": np.zeros((2, 2)), "bad": value})
    with pytest.raises(DataError, match=r"a\.npy"):
        load_arrays(tmp_path / "a.npy")
    assert "executed" not in capsys.readouterr().out


def test_broken_files_are_refused(tmp_path):
    save_arrays(tmp_path / "good.npy", {"a": np.zeros((50, 20))})
    content = (tmp_path / "good.npy").read_bytes()
    for number, length in enumerate([0, 5, 40, 129, 200, len(content) - 7]):
        (tmp_path / f"cut{number}.npy").write_bytes(content[:length])
        with pytest.raises(DataError, match=f"cut{number}"):
            load_arrays(tmp_path / f"cut{number}.npy")
    generator = np.random.default_rng(0)
    for _ in range(60):  # any byte may be wrong: a sentence or other numbers, never anything else
        damaged = bytearray(content)
        damaged[int(generator.integers(0, 400))] = int(generator.integers(256))
        (tmp_path / "damaged.npy").write_bytes(damaged)
        try:
            load_arrays(tmp_path / "damaged.npy")
        except DataError as fault:
            assert "damaged.npy" in str(fault)
    np.save(tmp_path / "plain.npy", np.zeros(3))
    for name in ("plain.npy", "absent.npy"):
        with pytest.raises(DataError, match=name):
            load_arrays(tmp_path / name)
    with pytest.raises(DataError, match="good"):
        load_arrays(tmp_path / "good.npy", max_bytes=100)


@pytest.mark.parametrize("dataset", ["SumMe", "TVSum"])
def test_the_five_splits(packs, dataset):
    splits = yaml.safe_load((packs / dataset / "splits.yml").read_text())
    for number, split in enumerate(splits):
        loaded = load_summe_tvsum(packs, dataset, number)
        for part in ("train", "test"):
            assert [sample.id for sample in loaded[part]] == [key.rsplit("/", 1)[-1] for key in split[f"{part}_keys"]]
    with pytest.raises(DataError, match="split 5"):
        load_summe_tvsum(packs, dataset, 5)


def test_targets_are_the_knapsack_of_the_scores(packs):
    sample = load_summe_tvsum(packs, "TVSum", 0)["test"][0]
    timeline = sample.reference.timeline
    assert len(sample.frames) == -(-timeline.num_frames // 15) == len(sample.frame_labels)
    assert sample.frames.shape[1] == 1024
    assert 0 < sample.frame_labels.sum() <= 0.15 * len(sample.frames) + 4
    for (start, stop), label in zip(sample.spans, sample.sentence_labels, strict=True):
        assert bool(label) == bool(sample.frame_labels[start:stop].any())
    assert sample.reference.user_summaries.shape == (4, timeline.num_frames)
    assert sample.reference.ratings.shape == (20, timeline.num_frames)
    assert load_summe_tvsum(packs, "SumMe", 0)["test"][0].reference.ratings is None
    collate(load_summe_tvsum(packs, "TVSum", 0)["train"])


def test_captions_without_times_share_the_frames_evenly():
    assert even_spans(10, 3).tolist() == [[0, 4], [4, 8], [8, 10]]
    assert even_spans(10, 6).tolist() == [[0, 2], [2, 4], [4, 6], [6, 8], [8, 10], [10, 10]]
    assert even_spans(10, 0).shape == (0, 2)


def test_articles_and_streams(packs):
    for dataset in ("CNN", "Daily_Mail", "BLiSS"):
        for part in ("train", "test"):
            samples = load_articles(packs, dataset, part)
            assert len(samples) == 4
            for sample in samples:
                assert (sample.frame_labels is None) == (dataset == "CNN")
                assert (sample.spans is None) == (dataset != "BLiSS")
                assert len(sample.reference.sentences) == len(sample.sentences)
                assert isinstance(sample.reference.highlight, str)
            collate(samples)
    assert (samples[0].spans <= len(samples[0].frames)).all(), "spans past the end are clipped"


def test_faults_of_a_pack_name_file_and_entry(tmp_path):
    root = make_summe_tvsum(tmp_path, "SumMe", num_videos=5)
    path = tmp_path / "SumMe" / "feature" / "eccv16_dataset_summe_google_pool5.h5"
    good = path.read_bytes()

    def check(change, match):
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(DataError, match=match):
            load_summe_tvsum(root, "SumMe", 0)

    def replace(name, value):
        def change(file):
            for key in file:
                del file[key][name]
                if value is not None:
                    file[key][name] = value

        return change

    check(lambda file: [file.pop(key) for key in list(file)], "no such video")
    check(replace("gtscore", None), "gtscore")
    check(replace("gtscore", np.zeros(3)), "gtscore")
    check(replace("picks", np.zeros(7, int)), "picks")
    check(replace("change_points", np.array([[5, 2]])), "change_points")
    check(replace("features", np.full((4, 4), b"x")), "features")
    check(replace("n_frames", h5py.ExternalLink("other.h5", "/secret")), "n_frames")
    path.write_text("not hdf5")
    with pytest.raises(DataError, match="HDF5"):
        load_summe_tvsum(root, "SumMe", 0)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_summe_tvsum(root, "SumMe", 0)


@pytest.mark.parametrize(
    "splits",
    [
        "",
        "7",
        "- a",
        "- {train_keys: [a]}",
        "- {train_keys: [a], test_keys: [x/a]}",
        "]:",
        "!!python/object:os.system {}",
    ],
)
def test_broken_splits_are_refused(tmp_path, splits):
    root = make_summe_tvsum(tmp_path, "SumMe", num_videos=5)
    (root / "SumMe" / "splits.yml").write_text(splits)
    with pytest.raises(DataError, match="splits"):
        load_summe_tvsum(root, "SumMe", 0)


def test_broken_annotations_are_refused(tmp_path):
    root = make_articles(tmp_path, "BLiSS", num_samples=1)
    path = root / "BLiSS" / "annotation" / "test.json"
    good = json.loads(path.read_text())
    for key, value in {
        "text_label": [1, 2, 3],
        "video_label": None,
        "sentence": [1],
        "sentence_time": [[0, 1]],
        "highlight": 7,
    }.items():
        broken = {"test0": {**good["test0"], key: value}}
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match="test0"):
            load_articles(root, "BLiSS", "test")
    for text in ("[1]", "{", "\x00"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"test\.json"):
            load_articles(root, "BLiSS", "test")
