"""The networks. Importing this fills the registries of networks and attention blocks."""

from slowfast_gta.models import attention
from slowfast_gta.models.build import MODEL_REGISTRY, build_model
from slowfast_gta.models.resnet import ResNet
from slowfast_gta.models.slowfast import SlowFast

__all__ = ["MODEL_REGISTRY", "ResNet", "SlowFast", "attention", "build_model"]
