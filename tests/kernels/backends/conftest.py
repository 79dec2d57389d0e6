"""What tests that compile need."""

import pytest

from kernels.backends.aoti import compiler
from kernels.errors import BackendUnavailable


@pytest.fixture
def _has_compiler() -> None:
    """Skips where no C++ compiler is found."""
    try:
        compiler()
    except BackendUnavailable as error:
        pytest.skip(str(error))
