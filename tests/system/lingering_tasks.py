"""A task that starts programs in every way in which they could outlive everybody, and then waits."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

PATH = f"{__name__}:start_programs"
STARTED = 4


def start_programs(context: dict[str, Any]) -> None:
    """Start them and wait; once the file `gate` is there, be done at once."""
    if Path(context["gate"]).exists():
        return
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.run(["sh", "-c", "(sleep 1000 &)"], start_new_session=True, check=True)  # forked twice
    if os.fork() == 0:  # not a program, and so without its environment
        os.setsid()
    time.sleep(1000)
