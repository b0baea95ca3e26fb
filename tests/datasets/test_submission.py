"""Official test lists without labels, and the files that their servers take."""

import csv
import io
import json
import math
import zipfile

import pytest
from epic_miniature import NOUNS, VERBS, action, make_epic, make_video
from miniatures import make_ssv1, make_ssv2

from slowfast_gta.datasets.epic import EPIC
from slowfast_gta.datasets.kinetics import Kinetics
from slowfast_gta.datasets.records import NO_LABEL
from slowfast_gta.datasets.something import SSv1, SSv2
from slowfast_gta.datasets.submission import epic_document, top_labels
from slowfast_gta.errors import DataError


def test_something_something_v2(tmp_path):
    dataset = SSv2(make_ssv2(tmp_path / "v2", 1, 1))
    (record,) = dataset.unlabelled_parts()["test"]
    assert (record.video_id, record.label, record.path.endswith("9000.webm")) == ("9000", NO_LABEL, True)
    files = dataset.submission_files({"test": {"9000": [0.1, 0.2, 0.05, 0.3, 0.01, 0.34], "9001": [1, 0, 0, 0, 0, 0]}})
    assert list(files.values()) == [b"9000;5;3;1;0;2\n9001;0;1;2;3;4\n"]
    assert all("unscored" in name for name in files)


def test_something_something_v1(tmp_path):
    dataset = SSv1(make_ssv1(tmp_path / "v1", 1, 1, num_classes=3))
    (record,) = dataset.unlabelled_parts()["test"]
    assert (record.video_id, record.label) == ("9000", NO_LABEL)
    assert list(dataset.submission_files({"test": {"9000": [0.1, 0.7, 0.2]}}).values()) == [
        b"9000;Moving something left\n"
    ]


@pytest.mark.parametrize("release", [100, 55])
def test_epic(tmp_path, release):
    data = make_epic(tmp_path / "epic", release, [action(1, "P01_01", 0, 1, 0, 0)], [action(2, "P28_01", 0, 1, 1, 1)])
    make_video(data, "P01_11")
    dataset = EPIC(data)
    with pytest.raises(DataError, match="timestamps"):
        dataset.unlabelled_parts()
    ids = "narration_id" if release == 100 else "uid"
    head = [ids, "participant_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame", "stop_frame"]
    names = ["EPIC_100_test_timestamps"] if release == 100 else ["EPIC_test_s1_timestamps", "EPIC_test_s2_timestamps"]
    for number, name in enumerate(names):
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerows([head, [f"id{number}", "P01", "P01_11", "00:00:00.50", "00:00:01.50", 6, 18]])
        (data / f"{name}.csv").write_text(buffer.getvalue())
    parts = dataset.unlabelled_parts()
    (record,) = parts["test" if release == 100 else "seen"]
    assert (record.video_id, record.label, record.span) == ("id0", (NO_LABEL, NO_LABEL), (0.5, 1.5))
    scores = [0.7, 0.2, 0.1, 0.4, 0.3, 0.2, 0.1]
    ((name, content),) = dataset.submission_files({part: {"id0": scores} for part in parts}).items()
    assert "unscored" in name and name.endswith(".zip")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.namelist() == (["test.json"] if release == 100 else ["seen.json", "unseen.json"])
    document = json.loads(archive.read(archive.namelist()[0]))
    assert document["challenge"] == "action_recognition" and document["version"] == ("0.2" if release == 100 else "0.1")
    result = document["results"]["id0"]
    assert list(result["verb"]) == [str(n) for n in range(len(VERBS))] and len(result["noun"]) == len(NOUNS)
    # The server's softmax gives back the probabilities.
    exponents = [math.exp(value) for value in result["verb"].values()]
    assert [value / sum(exponents) for value in exponents] == pytest.approx(scores[:3], abs=1e-4)
    assert ("sls_pt" in document) == (release == 100)
    if release == 55:
        assert next(iter(result["action"])) == "0,0" and len(result["action"]) == 12


def test_levels_of_supervision_and_ties():
    document = epic_document({"a": [0.5, 0.5, 1.0]}, {"verb": 2, "noun": 1}, "0.2", (1, 3, 3))
    assert (document["sls_pt"], document["sls_tl"], document["sls_td"]) == (1, 3, 3)
    assert top_labels([0.5, 0.5, 0.1], 5) == [0, 1, 2]


def test_impossible_lists_are_refused(tmp_path):
    with pytest.raises(DataError):
        Kinetics(tmp_path).unlabelled_parts()
    data = make_ssv2(tmp_path / "v2", 1, 1)
    path = data / "something-something-v2-test.json"
    for content in ('[{"id": "1"}, {"id": "1"}]', "[]", '[["1"]]', "{}"):
        path.write_text(content)
        with pytest.raises(DataError, match="something-something-v2-test"):
            SSv2(data).unlabelled_parts()
    path.unlink()
    with pytest.raises(DataError, match="something-something-v2-test"):
        SSv2(data).unlabelled_parts()
