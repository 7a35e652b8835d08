"""The errors that seampack raises on purpose.

    SeampackError
    |- ConfigError (ValueError)         an option is wrong, or two options contradict each other
    |- DataError (ValueError)           the input is not what it was said to be
    |- ShardError                       a packed folder is missing, incomplete or damaged
    `- MissingExtraError (ImportError)  an optional dependency is not installed

Each message says what is wrong, where, what was expected, what was found and what to do about it. The command
line prints it on one line and exits with code 1.
"""


class SeampackError(Exception):
    """Base of every error that seampack raises on purpose."""


class ConfigError(SeampackError, ValueError):
    """An option has a value that cannot work, or contradicts another option."""


class DataError(SeampackError, ValueError):
    """The input is missing, broken, or of another kind than the options say."""


class ShardError(SeampackError):
    """A packed folder is missing, incomplete, damaged, or would be overwritten."""


class MissingExtraError(SeampackError, ImportError):
    """An optional dependency is needed; ``extra`` names what to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'seampack[{extra}]'")
        self.package = package
        self.extra = extra
        self._purpose = purpose

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        return type(self), (self.package, self.extra, self._purpose)  # workers send it to their parent
