"""Errors of the kernels; the engine turns them into its own.

KernelError
├── BackendUnavailable   this machine cannot run or build for a backend: something is not installed
├── BackendMismatch      a backend's results differ from the reference by more than is allowed
└── ArgumentMismatch     a compiled function was called with other shapes, types or devices than it is for

Every message says what was wrong, what was got, what was expected and how to mend it.
"""


class KernelError(RuntimeError):
    """Root of the errors that kernels raise on purpose."""


class BackendUnavailable(KernelError):
    """A backend cannot be used on this machine."""


class BackendMismatch(KernelError):
    """A backend computes something else than the reference."""


class ArgumentMismatch(KernelError):
    """Arguments that a compiled function is not for."""
