"""Where an inversion starts when the user has an encoder: its code, in a generator's own rows and whitened W."""

from typing import Final

from torch import Tensor
from torch.nn import functional

from engine.errors import BadInputError, ShapeError
from engine.generators.encoders import SIDE, FaceEncoder
from engine.generators.stats import WStatistics

LARGEST_MISMATCH: Final = 0.3
"""Root mean square of the encoder's average face in a generator's whitened W, above which it is another generator's."""


def start_code(encoder: FaceEncoder, statistics: WStatistics, rows: int, picture: Tensor) -> Tensor:
    """Where an inversion starts: the encoder's code of a face, for a generator's own rows and whitened W.

    Args:
        encoder: of any number of rows.
        statistics: whitened W of the generator.
        rows: R of the generator.
        picture: [1,3,Q,Q] float in -1...1, aligned as FFHQ is.

    Returns:
        [R,K] whitened coordinates per row.

    Raises:
        BadInputError: the encoder was trained with another generator.
    """
    check_encoder(encoder, statistics, rows)
    small = functional.interpolate(picture, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return statistics.encode(spread_rows(encoder(small)[0], rows))


def check_encoder(encoder: FaceEncoder, statistics: WStatistics, rows: int) -> None:
    """Refuses an encoder of another generator: its average face has to be this generator's, and its rows fit.

    Raises:
        BadInputError: it does not belong to the generator.
    """
    advice = "import the generator that the same file holds (`livedub weights import`) and enrol with it"
    if len(statistics.mean) != encoder.width or row_sources(encoder.rows, rows) is None:
        raise BadInputError(
            f"{encoder.source}: an encoder of {encoder.rows} rows of {encoder.width}, the generator takes {rows} of "
            f"{len(statistics.mean)}; {advice}"
        )
    apart = float(statistics.encode(encoder.average).square().mean().sqrt())
    if apart > LARGEST_MISMATCH:
        raise BadInputError(
            f"{encoder.source}: its average face is {apart:.2f} deviations from the generator's, expected at most "
            f"{LARGEST_MISMATCH}: it was trained with another one; {advice}"
        )


def spread_rows(code: Tensor, rows: int) -> Tensor:
    """A code [R,512] for a generator of `rows` rows, each taken from the row that acts at the same size (ours).

    Raises:
        ShapeError: there is no such generator.
    """
    sources = row_sources(len(code), rows)
    if sources is None:
        raise ShapeError(f"a code of {len(code)} rows cannot be spread over {rows} rows")
    return code[sources]


def row_sources(given: int, rows: int) -> list[int] | None:
    """Which of `given` StyleGAN2 rows each of a generator's rows takes; None where there is no telling.

    The default generator has three rows a size where StyleGAN2 has two: its up-sampling and first convolution take the
    first of the two. Its last size, twice that of its last three rows, has the output layer alone.
    """
    if given == rows:
        return list(range(rows))
    sizes = (rows - 2) // 3
    if (rows - 2) % 3 or given != 2 * (sizes + 1) + 2:
        return None
    middle = [row for size in range(1, sizes + 1) for row in (2 * size - 1, 2 * size - 1, 2 * size)]
    return [0, *middle, given - 1]
