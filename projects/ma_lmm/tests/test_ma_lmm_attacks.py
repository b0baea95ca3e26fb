"""Model folders and tables of strangers: each is refused in a sentence."""

import struct

import pytest
from ma_lmm.loading import _num_bytes, read_config, weight_files
from ma_lmm.tasks.samples import read_table

from slowfast_gta.errors import DataError, WeightsError

TEXTS = ["[" * 100_000, '{"model_type": ' + "9" * 5000 + "}", '{"model_type": [1]}', '{"model_type": {}}', "[]", "3"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_configs(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"\bconfig\.json\b|: the model must be instructblip or blip-2; "):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "names", ['"../a.safetensors"', '"/etc/passwd"', "3", '["x"]', '"a\\u0000b"', '""', '"a", "y": 3', "[" * 100_000]
)
def test_names_of_weight_files(tmp_path, names):
    (tmp_path.parent / "a.safetensors").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"x": {names}}}}}')
    with pytest.raises(WeightsError, match=r"index\.json"):
        weight_files(tmp_path)


HEADERS = [
    b"[" * 90_000,
    b'{"a": {"dtype": 3, "data_offsets": ["x", 1]}}',
    b'{"a": {"dtype": "F32", "data_offsets": [0]}}',
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(WeightsError, match=r"a\.safetensors"):
        _num_bytes(tmp_path / "a.safetensors", 2)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": 3}', "{}", "[1]"])
def test_tables(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json"):
        read_table(tmp_path / "a.json", "the table")
