"""Encoders of pSp and e4e written down a second time, with torch's own layers and the public names; random weights."""

import collections
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.generators.encoders import PUBLIC, Layout

NARROW = Layout((4, 6, 8, 16), 16, 2)
"""The public layout with few channels: all layers, milliseconds a picture."""
ROWS = 8
"""Of a generator of 32 px: all three kinds of rows."""


class Squeeze(nn.Module):
    """Attention over channels."""

    def __init__(self, channels: int, narrower: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // narrower, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // narrower, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W]."""
        inner = self.fc1(functional.adaptive_avg_pool2d(x, 1)).relu()
        scale: Tensor = self.fc2(inner).sigmoid()
        return x * scale


class Residual(nn.Module):
    """A unit of IR-SE-50."""

    def __init__(self, before: int, after: int, stride: int, narrower: int) -> None:
        super().__init__()
        if before == after:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, 1, 1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            Squeeze(after, narrower),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W]."""
        found: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return found


class Row(nn.Module):
    """The network of one row; its last layer is scaled at run time."""

    def __init__(self, width: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> [B,C]."""
        flat = self.convs(x).flatten(1)
        return functional.linear(flat, self.linear.weight * flat.shape[1] ** -0.5, self.linear.bias)


class PublicEncoder(nn.Module):
    """The whole encoder."""

    def __init__(self, layout: Layout = PUBLIC, rows: int = ROWS) -> None:
        super().__init__()
        stem, *_ = layout.channels
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        units, before = [], stem
        for after, count in zip(layout.channels, (3, 4, 14, 3), strict=True):
            units.append(Residual(before, after, 2, layout.squeeze))
            units += [Residual(after, after, 1, layout.squeeze) for _ in range(count - 1)]
            before = after
        self.body = nn.Sequential(*units)
        self.styles = nn.ModuleList(Row(layout.width, 4 if n < 3 else 5 if n < 7 else 6) for n in range(rows))
        self.latlayer1 = nn.Conv2d(layout.channels[2], layout.width, 1)
        self.latlayer2 = nn.Conv2d(layout.channels[1], layout.width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What each row's network gives: R of [B,512]."""
        x, seen = self.input_layer(x), []
        for unit in self.body:
            x = unit(x)
            seen.append(x)
        c1, c2, c3 = seen[6], seen[20], seen[23]
        p2 = self.latlayer1(c2) + functional.interpolate(c3, c2.shape[2:], mode="bilinear", align_corners=True)
        p1 = self.latlayer2(c1) + functional.interpolate(p2, c1.shape[2:], mode="bilinear", align_corners=True)
        return tuple(style(c3 if n < 3 else p2 if n < 7 else p1) for n, style in enumerate(self.styles))


def random_encoder(layout: Layout = NARROW, rows: int = ROWS, seed: int = 0) -> PublicEncoder:
    """An encoder in evaluation mode whose every layer matters."""
    model = PublicEncoder(layout, rows)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=random)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(0.2, 0.3, generator=random)
            elif tensor.is_floating_point():
                scale = 1.0 if name.endswith("linear.weight") else (2 / tensor[0].numel()) ** 0.5
                tensor.normal_(0, scale, generator=random)
    return model.eval()


def checkpoint(model: PublicEncoder, kind: str, average: Tensor | None, **options: Any) -> dict[str, Any]:
    """What the public training scripts save; a generator's tensor stands for the generator."""
    state = collections.OrderedDict((f"encoder.{name}", value) for name, value in model.state_dict().items())
    state["decoder.input.input"] = torch.zeros(1, 4, 4, 4)
    known = {"encoder_type": kind, "device": "cuda:0", "lpips_lambda": 0.8, "start_from_latent_avg": True}
    found: dict[str, Any] = {
        "state_dict": state,
        "opts": known | {"exp_dir": None, "progressive_steps": [0, 2000]} | options,
    }
    return found if average is None else found | {"latent_avg": average}


def write(path: Path, root: object) -> Path:
    """A file of `torch.save`."""
    torch.save(root, path)
    return path
