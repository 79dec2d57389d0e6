"""The default generator, ready to use: public weights, and the coarse read-out that comes with the package."""

from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from engine import weights
from engine.errors import WeightsFormatError
from engine.generators.mobile import MobileStyleGAN
from engine.generators.mobile_ir import read_mobile_stylegan

COARSE_FILE: Final = Path(__file__).with_name("mobile_coarse.safetensors")
"""Read-out for `MobileStyleGAN.coarse`, fitted by `python -m engine.generators.coarse`."""

COARSE_KEY: Final = "coarse_weight"
"""Name of the tensor in that file: [3,2C+1], columns in order of `MobileStyleGAN.coarse_inputs`."""


def load_coarse(model: MobileStyleGAN, file: Path = COARSE_FILE) -> None:
    """Fills the coarse read-out of a generator.

    Raises:
        WeightsFormatError: the file is damaged or belongs to another generator.
    """
    expected = tuple(model.coarse_weight.shape[:2])
    try:
        weight = load_file(file)[COARSE_KEY]
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsFormatError(
            f"{file} holds no coarse read-out ({error!r}); expected {COARSE_KEY} {expected}: "
            "reinstall, or fit it by `python -m engine.generators.coarse`"
        ) from error
    if tuple(weight.shape) != expected:
        raise WeightsFormatError(f"{file}: {COARSE_KEY} is {tuple(weight.shape)}; expected {expected} (other weights?)")
    with torch.no_grad():
        model.coarse_weight.copy_(weight[:, :, None, None])


def read_default_generator() -> MobileStyleGAN:
    """The default generator with its public weights alone (fetched at need); `coarse` is not filled.

    Raises:
        WeightsError: the weights cannot be had.
    """
    synthesis = (weights.path("mobilestylegan-synthesis-xml"), weights.path("mobilestylegan-synthesis-bin"))
    mapping = (weights.path("mobilestylegan-mapping-xml"), weights.path("mobilestylegan-mapping-bin"))
    model = read_mobile_stylegan(synthesis, mapping)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks this overload
    return model


def load_default_generator() -> MobileStyleGAN:
    """The default generator: weights (fetched at need), coarse read-out; evaluation mode, no gradients of weights.

    Raises:
        WeightsError: the weights cannot be had.
    """
    model = read_default_generator()
    load_coarse(model)
    return model.eval().requires_grad_(False)
