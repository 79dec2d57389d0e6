"""Which generator it is: a hash of its weights, by which profiles are bound to it."""

import hashlib

from torch import nn


def generator_hash(module: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 over names, shapes and values of a generator's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
