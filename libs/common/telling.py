"""What a command tells a person, who may stop reading: `make status | head`."""

import os
import sys
from collections.abc import Iterable


def tell(lines: Iterable[str]) -> None:
    """The last that a command does: it ends here, and well, when its reader has seen enough."""
    try:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
