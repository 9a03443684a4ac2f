"""Detectors: what tells poisoned images from clean ones in use. GoodNet is one."""

from sweep.detectors.goodnet import GoodNet

__all__ = ["GoodNet"]
