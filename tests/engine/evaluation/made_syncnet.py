"""SyncNet written down a second time, with torch's own layers and the public names; random weights."""

import collections
from pathlib import Path

import torch
from torch import Tensor, nn


def public_syncnet(seed: int = 0) -> nn.Module:
    """The network as its authors lay it out, in evaluation mode, with normalisations that matter."""

    def normalised(convolution: nn.Module, pool: nn.Module | None = None) -> list[nn.Module]:
        channels = convolution.out_channels
        assert isinstance(channels, int)
        norm = nn.BatchNorm3d(channels) if isinstance(convolution, nn.Conv3d) else nn.BatchNorm2d(channels)
        return [convolution, norm, nn.ReLU()] + ([] if pool is None else [pool])

    sound = [
        *normalised(nn.Conv2d(1, 64, 3, padding=1), nn.MaxPool2d((1, 1), (1, 1))),
        *normalised(nn.Conv2d(64, 192, 3, padding=1), nn.MaxPool2d((3, 3), (1, 2))),
        *normalised(nn.Conv2d(192, 384, 3, padding=1)),
        *normalised(nn.Conv2d(384, 256, 3, padding=1)),
        *normalised(nn.Conv2d(256, 256, 3, padding=1), nn.MaxPool2d((3, 3), (2, 2))),
        *normalised(nn.Conv2d(256, 512, (5, 4))),
    ]
    lips = [
        *normalised(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
        *normalised(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
        *normalised(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
        *normalised(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
        *normalised(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
        *normalised(nn.Conv3d(256, 512, (1, 6, 6))),
    ]
    model = nn.ModuleDict(
        {
            "netcnnaud": nn.Sequential(*sound),
            "netfcaud": _head(),
            "netfclip": _head(),
            "netcnnlip": nn.Sequential(*lips),
        }
    )
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=random)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(0.3, 0.3, generator=random)
            elif tensor.is_floating_point():
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=random)
    return model.eval()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


def embed(model: nn.Module, branch: str, x: Tensor) -> Tensor:
    """One branch: "aud" for [B,1,13,20], "lip" for [B,3,5,224,224] blue first."""
    parts = dict(model.named_children())
    with torch.no_grad():
        convolved = parts[f"netcnn{branch}"](x)
        found: Tensor = parts["netfcaud" if branch == "aud" else "netfclip"](convolved.flatten(1))
    return found


def write(path: Path, model: nn.Module, *, old: bool = True, drop: str = "") -> Path:
    """The state dict as a file: by default in torch's form of 2018, as the public one, without counters of batches."""
    state = collections.OrderedDict(
        (name, value)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked") and name != drop
    )
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path
