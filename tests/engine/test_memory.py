"""Memory that is full ends a run with the keys to change."""

import pytest
import torch

from slowfast_gta.engine.memory import explain_out_of_memory
from slowfast_gta.errors import RunError


def test_memory_that_is_full_is_reported():
    with pytest.raises(RunError) as caught, explain_out_of_memory():
        torch.empty(2**50)
    assert "SOLVER.ACCUMULATE_STEPS" in str(caught.value) and "TRAIN.BATCH_SIZE" in str(caught.value)


def test_other_faults_stay_as_they_are():
    with pytest.raises(RuntimeError, match="mat1") as other, explain_out_of_memory():
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(other.value, RunError)
