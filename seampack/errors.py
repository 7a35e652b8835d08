"""The errors that seampack raises on purpose.

    SeampackError
    |- ConfigError (ValueError)         an option is wrong, or two options contradict each other
    |- DataError (ValueError)           the input is missing, broken or of an unexpected kind
    |- ShardError                       a folder of output is missing, incomplete or damaged, or cannot be written
    |- RemoteError                      a server does not answer, or refuses
    `- MissingExtraError (ImportError)  an optional package is not installed

A message says what is wrong, where, what was expected, what was found, and how to fix it. The command line prints it
on one line and exits with code 1.
"""

import os


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out; torch raises RuntimeErrors for it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def reason_of_os(error: BaseException) -> str:
    """Return the reason of an error of the system in words; libraries such as Arrow put their own text around it."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or " ".join(str(error).split())


class SeampackError(Exception):
    """Base class of the errors that seampack raises on purpose."""


class ConfigError(SeampackError, ValueError):
    """An option whose value is invalid or contradicts another option."""


class DataError(SeampackError, ValueError):
    """Input that is missing or broken, or of a kind that the options do not allow."""


class ShardError(SeampackError):
    """A folder or file of output that is missing, incomplete or damaged, or that cannot be written or replaced."""


class RemoteError(SeampackError):
    """A server of remote files that does not answer, refuses access, or gives less than it promised."""


class MissingExtraError(SeampackError, ImportError):
    """An optional package that is not installed.

    Args:
        package: Name of the missing package.
        extra: Extra of seampack that installs it.
        purpose: Feature that needs the package, for the message.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'seampack[{extra}]'")
        self.package = package
        self.extra = extra
        self._purpose = purpose

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        """Return the arguments for pickling, so that a worker process can send the error to its parent."""
        return type(self), (self.package, self.extra, self._purpose)
