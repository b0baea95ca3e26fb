"""Annotations of strangers: each is refused in a sentence that names the file."""

import pytest
from a2summ.data.annotations import read_json, read_splits
from a2summ.data.own import read_annotations

from slowfast_gta.errors import DataError

SPLITS = {
    "laughs": "- &a [x]\n" + "\n".join(f"- &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]" for n in range(9)),
    "an empty number": '- {train_keys: [!!int ""], test_keys: [b]}',
    "no truth": "- {train_keys: [!!bool a], test_keys: [b]}",
    "in itself": "- &a {train_keys: [*a], test_keys: [b]}",
    "code": '- {train_keys: [!!python/object/apply:os.system ["true"]], test_keys: [b]}',
    "brackets": "[" * 20_000,
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits(tmp_path, name):
    (tmp_path / "splits.yml").write_text(SPLITS[name])
    with pytest.raises(DataError, match=r"splits\.yml"):
        read_splits(tmp_path / "splits.yml")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", "[1]", "\0"])
def test_json(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("row", ["1,2", "1,2,", "1,nan,a", "a,b,c", "2,1,a", "1," + "9" * 400 + ",a"])
def test_rows(tmp_path, row):
    (tmp_path / "annotations.csv").write_text(f"start_sec,end_sec,video\n{row}\n")
    with pytest.raises(DataError, match=r"annotations\.csv"):
        read_annotations(tmp_path / "annotations.csv")
