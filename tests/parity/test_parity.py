"""What PySlowFast computed, computed by us: ../shared/parity holds its checkpoints, clips and probabilities."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from slowfast_gta import build_model, load_config, load_weights

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "parity"
ON_DISK = sorted(FOLDER.glob("*.json"))

# What matters of PySlowFast's own YAMLs: the keys that shape the network.
NONLOCAL = {"LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]], "GROUP": [[1]] * 4, "INSTANTIATION": "softmax"}
PLAIN = {"LOCATION": [[[]]] * 4, "GROUP": [[1]] * 4, "INSTANTIATION": "dot_product"}
TWO_PATHWAYS = {
    "NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
    "SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]],
    "SPATIAL_DILATIONS": [[1, 1]] * 4,
}


def one_pathway(arch: str, frames: int, nonlocal_node: dict) -> dict:
    return {
        "MODEL": {"MODEL_NAME": "ResNet", "ARCH": arch},
        "DATA": {"NUM_FRAMES": frames, "INPUT_CHANNEL_NUM": [3]},
        "RESNET": {"DEPTH": 50, "NUM_BLOCK_TEMP_KERNEL": [[3], [4], [6], [3]], "ZERO_INIT_FINAL_BN": True},
        "NONLOCAL": nonlocal_node,
    }


def two_pathways(alpha: int, location: list) -> dict:
    return {
        "MODEL": {"MODEL_NAME": "SlowFast", "ARCH": "slowfast"},
        "DATA": {"NUM_FRAMES": 32, "INPUT_CHANNEL_NUM": [3, 3]},
        "SLOWFAST": {"ALPHA": alpha, "BETA_INV": 8, "FUSION_CONV_CHANNEL_RATIO": 2, "FUSION_KERNEL_SZ": 5},
        "RESNET": {"DEPTH": 50, "ZERO_INIT_FINAL_BN": True} | TWO_PATHWAYS,
        "NONLOCAL": {"LOCATION": location, "GROUP": [[1, 1]] * 4, "INSTANTIATION": "dot_product"},
    }


YAMLS = {
    "configs/Kinetics/C2D_8x8_R50.yaml": one_pathway("c2d", 8, NONLOCAL | {"LOCATION": [[[]]] * 4}),
    "configs/Kinetics/C2D_NLN_8x8_R50.yaml": one_pathway("c2d", 8, NONLOCAL),
    "configs/Kinetics/I3D_NLN_8x8_R50.yaml": one_pathway("i3d", 8, NONLOCAL),
    "configs/Kinetics/SLOW_4x16_R50.yaml": one_pathway("slow", 4, PLAIN),
    "configs/Kinetics/SLOWFAST_4x16_R50.yaml": two_pathways(8, [[[], []]] * 4),
    "configs/Kinetics/SLOWFAST_NLN_8x8_R50.yaml": two_pathways(4, [[[], []], [[1, 3], []], [[1, 3, 5], []], [[], []]]),
}

if not ON_DISK:
    pytest.skip(f"{FOLDER} is not here: nothing of PySlowFast's to compare with", allow_module_level=True)


@pytest.mark.parametrize("case", ON_DISK, ids=lambda path: path.stem)
def test_probabilities_are_pyslowfast_s(case, tmp_path):
    described = json.loads(case.read_text())
    assert described["yaml"] in YAMLS, "a new case: write the keys of its YAML that shape the network into YAMLS"
    file = tmp_path / "network.yaml"
    file.write_text(yaml.safe_dump(YAMLS[described["yaml"]]))
    cfg = load_config(file, [part for pair in described["opts"].items() for part in pair])
    model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) == described["num_params"]

    checkpoint = case.with_suffix(".pyth")
    report = load_weights(model, checkpoint)
    in_file = set(torch.load(checkpoint, weights_only=True)["model_state"])
    assert set(report.loaded) == in_file == set(model.state_dict())

    recorded = torch.load(case.with_suffix(".io.pt"), weights_only=True)
    with torch.no_grad():
        probabilities = model.eval()(recorded["clip"].float())
    torch.testing.assert_close(probabilities, recorded["probabilities"], rtol=0, atol=1e-5)
    assert recorded["probabilities"].std() > 1e-3  # a network that answers anything, not 1/K everywhere
