"""Files of features: what is missing, and what is damaged."""

import numpy as np
import pytest

from slowfast_gta.errors import DataError
from slowfast_gta.inference.feature_files import FORMATS, load_features, save_features

ARRAYS = {"features": np.ones((2, 3), np.float32), "times": np.zeros((2, 2)), "frames": np.zeros((2, 4), int)}


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_and_damaged(tmp_path, suffix):
    if suffix == "h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(FileNotFoundError):
        load_features(path)
    save_features(path, ARRAYS, {"fps": 5})
    assert (load_features(path)[0]["features"] == 1).all()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"a\.{suffix}\b.*\bagain\b"):
        load_features(path)
