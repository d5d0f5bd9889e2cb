"""How the server tells its supervisor that it is up, that it lives, or why it failed."""

import contextlib
import json
import os


class Reporter:
    """Tell the supervisor, through a pipe, one JSON object a line; a supervisor that doesn't read holds nobody up."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)

    def tell(self, **what: object) -> None:
        """Send a report; what doesn't fit into the pipe is dropped."""
        with contextlib.suppress(OSError):
            os.write(self.descriptor, json.dumps(what).encode() + b"\n")
