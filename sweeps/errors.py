"""The one exception of this package."""


class SweepError(Exception):
    """A sweep cannot do what was asked; the message names the place, the rule, the value and the remedy.

    Attributes:
        message: The text for the user.
        exit_code: What the command line ends with: 2 for wrong usage or input, 1 for work that failed.
    """

    exit_code: int = 2

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
