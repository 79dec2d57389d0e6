"""Generators of faces: the protocol, the default network and its readers, statistics of its latent space."""

from engine.generators.default import load_default_generator
from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Generator, Region
from engine.generators.stats import WStatistics

__all__ = ["Generator", "MobileStyleGAN", "Region", "WStatistics", "load_default_generator"]
