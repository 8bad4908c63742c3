"""Times that are set in the environment."""

import math
import os

from sweeps.errors import SweepError


def seconds_of(variable: str, default: float, *, above: float = 0.0) -> float:
    """The number of seconds in an environment variable.

    Args:
        variable: Its name.
        default: Used where it is unset or empty.
        above: Bound; the number must be greater.

    Raises:
        SweepError: If it holds no such number.
    """
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > above:
        raise SweepError(
            f"{variable}: must be a number of seconds above {above:g}, but got {text!r}. Write for example {default:g}."
        )
    return seconds
