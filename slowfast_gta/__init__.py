"""slowfast_gta: video recognition with Global Temporal Attention, and the networks it is compared with.

from slowfast_gta import load_config, build_model, load_weights, load_clip, Predictor
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slowfast_gta.config.load import load_config
    from slowfast_gta.inference.clip import load_clip
    from slowfast_gta.inference.predictor import Predictor
    from slowfast_gta.models.build import build_model
    from slowfast_gta.models.weights.load import load_weights

_PUBLIC = {
    "load_config": "slowfast_gta.config.load",
    "build_model": "slowfast_gta.models",
    "load_weights": "slowfast_gta.models.weights",
    "load_clip": "slowfast_gta.inference.clip",
    "Predictor": "slowfast_gta.inference.predictor",
    "ATTENTION_REGISTRY": "slowfast_gta.models.attention",
    "MODEL_REGISTRY": "slowfast_gta.models",
    "DATASET_REGISTRY": "slowfast_gta.datasets",
    "METRICS_WRITER_REGISTRY": "slowfast_gta.engine.writers",
}

__all__ = ["Predictor", "build_model", "load_clip", "load_config", "load_weights"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: `--help` and errors in a config need no torch."""
    import importlib

    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'slowfast_gta' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names, imported or not yet."""
    return sorted({*globals(), *_PUBLIC})
