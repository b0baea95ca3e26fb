"""Evaluation of a split: both counts of THUMOS-14, broken videos, formats of data, pictures."""

import json

import numpy as np
import pytest
import torch
from asm_loc.config import DataFiles
from asm_loc.datasets import acmnet_pack
from asm_loc.evaluation import Found, evaluation_of, find
from asm_loc.loading import TestLoader
from asm_loc.network import ASMLoc
from asm_loc.pictures import save_pages
from asm_loc.refinement import detect, propose, run_chain
from asm_loc.settings import NetworkSettings, thumos14
from asm_loc.world import SEC_PER_SNIPPET, WorldSizes, make_world, write_pack

from slowfast_gta.engine.evaluation.results import write_results
from slowfast_gta.errors import DataError

SIZES = WorldSizes(dim=16, num_classes=3, num_train=4, num_test=4)
SUBSETS = {"train": "validation", "test": "test"}
SETTINGS = thumos14(network=NetworkSettings(num_heads=4), num_rows=60)


@pytest.fixture
def pack(tmp_path):
    write_pack(1, tmp_path / "pack", SIZES)
    return tmp_path / "pack"


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return [ASMLoc(SIZES.dim, SIZES.num_classes, step > 0, SETTINGS.network).eval() for step in range(2)]


def test_both_map_where_annotated_videos_have_no_features(pack, networks):
    names = (pack / "split_test.txt").read_text().split()
    (pack / "split_test.txt").write_text("\n".join(names[:3]))
    (pack / "test" / f"{names[3]}.npy").unlink()
    test = acmnet_pack(pack, SEC_PER_SNIPPET, SUBSETS)["test"]
    truth = test.truth(with_missing=True)
    found = Found(detections={name: truth[name] for name in names[:3]})
    found.scores = {a.video: row for a, row in zip(test.videos, test.labels(), strict=True)}
    results = evaluation_of(found, test, (0.5,), SETTINGS, {}).results
    missing = len(truth[names[3]])
    assert results["num_instances_without_features"] == missing > 0
    assert results["mAP"] == 100.0
    other = results["with_videos_without_features"]
    assert other["num_instances"] == results["num_instances"] + missing
    assert other["mAP"] < 100.0
    assert results["video_accuracy"] == 100.0


def test_a_broken_video_is_counted_and_its_instances_stay(pack, networks):
    np.save(pack / "test" / "test_0001.npy", np.full((5, SIZES.dim), np.nan))
    test = acmnet_pack(pack, SEC_PER_SNIPPET, SUBSETS)["test"]
    found = find(networks[0], TestLoader(test), None, SETTINGS)
    assert [bad.video_id for bad in found.bad] == ["test_0001"]
    evaluation = evaluation_of(found, test, (0.5,), SETTINGS, {})
    assert evaluation.results["num_missing"] == 1
    assert evaluation.results["num_instances"] == sum(map(len, test.truth().values()))
    json.dumps(evaluation.results, allow_nan=False)


def test_the_chain_is_its_steps_one_after_another(networks):
    features = make_world(1, SIZES)[1].features(0)
    given = propose(networks[0], features, None, SETTINGS)
    expected = detect(networks[1], features, given, SETTINGS)
    assert run_chain(networks, features, SETTINGS).to_rows() == expected.to_rows()
    assert len(expected) > 0


def test_pictures_of_hostile_names(pack, networks, tmp_path):
    test = acmnet_pack(pack, SEC_PER_SNIPPET, SUBSETS)["test"]
    found = find(networks[0], TestLoader(test), None, SETTINGS, num_pictures=1)
    renamed = "../<script>&.mp4"
    for part in (found.detections, found.scores, found.signals):
        part[renamed] = part.pop("test_0000")
    test.videos[0] = type(test.videos[0])(renamed, "test", test.videos[0].labels, test.videos[0].instances)
    evaluation = evaluation_of(found, test, (0.5,), SETTINGS, {})
    write_results(tmp_path, evaluation.results, evaluation.arrays)
    save_pages(tmp_path)
    (page,) = (tmp_path / "videos").glob("*.html")
    assert "<script>" not in page.read_text()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        *("average_precision.csv", "detections.csv", "detections.json", "results.json", "scores.npz")
    ]


def data_files(**values):
    common = {"test_features": "", "annotations": "", "test_annotations": "", "subsets": ("validation", "test")}
    rest = {"sec_per_snippet": SEC_PER_SNIPPET, "val_share": 0.0, "select_on_test": False, "seed": 1}
    return DataFiles(**{**common, **rest, **values})


def test_splits_of_a_run(pack):
    sets = data_files(format="acmnet", features=str(pack)).load()
    assert {name: len(s) for name, s in sets.items()} == {"train": 4, "val": 4, "test": 4}
    assert all(not a.instances for name in ("train", "val") for a in sets[name].videos)
    held = data_files(format="acmnet", features=str(pack), val_share=0.25).load()
    assert {name: len(s) for name, s in held.items()} == {"train": 3, "val": 1, "test": 4}
    assert held["val"].videos[0].instances
    on_test = data_files(format="acmnet", features=str(pack), select_on_test=True).load()
    assert [a.video for a in on_test["val"].videos] == [a.video for a in on_test["test"].videos]


def write_extracted(folder, names, **made_by):
    folder.mkdir()
    lines = []
    for name in names:
        rows = np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)
        times = np.stack([np.arange(9) * 0.4, np.arange(9) * 0.4 + 0.8], 1)
        np.savez(folder / f"{name}.npz", features=rows, times=times)
        lines.append(json.dumps({"video": name, "file": f"{name}.npz", "network": "R2D", "fps": 25, **made_by}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return str(folder)


def test_own_features_with_csv_files(tmp_path):
    train, test = write_extracted(tmp_path / "a", ["x", "y"]), write_extracted(tmp_path / "b", ["z"])
    (tmp_path / "train.csv").write_text("video,label\nx,Run\ny,Jump;Run\n")
    (tmp_path / "test.csv").write_text("video,label,start,end\nz,Run,0.5,1.5\nnone,Run,0,1\n")
    keys = {"format": "extracted", "features": train, "test_features": test}
    keys |= {"annotations": str(tmp_path / "train.csv"), "test_annotations": str(tmp_path / "test.csv")}
    sets = data_files(**keys).load()
    assert sets["train"].classes == ["Jump", "Run"]
    assert sets["test"].counts()["num_instances_without_features"] == 1
    other = write_extracted(tmp_path / "c", ["z"], fps=30)
    with pytest.raises(DataError, match="fps"):
        data_files(**{**keys, "test_features": other}).load()
    (tmp_path / "test.csv").write_text("video,label\nz,Swim\n")
    with pytest.raises(DataError, match="Swim"):
        data_files(**keys).load()
