"""Judge whether somebody has been silent for too long, by one who can be held up together with them."""

from typing import Final

HELD_UP_SECONDS: Final = 1.0
"""One who looks so much later than they meant to was held up themselves."""


class Silence:
    """For how long nothing was heard, as far as somebody was there to hear it. All times are monotonic seconds.

    That clock runs on while a container is paused or a machine is frozen. Whoever wakes up first afterwards would take the
    others, which have not had a moment to say anything yet, for dead.
    """

    def __init__(self, now: float, *, bearable: float, look_within: float) -> None:
        self._bearable = bearable
        self._late_after = look_within + HELD_UP_SECONDS
        self._heard_at = now
        self._looked_at = now

    def heard(self, now: float) -> None:
        """Take note of a sign of life."""
        self._heard_at = now

    def lasts(self, now: float) -> float:
        """Return the seconds since the last sign of life; to be asked regularly: it begins anew where that was not done."""
        if now - self._looked_at > self._late_after:
            self._heard_at = now
        self._looked_at = now
        return now - self._heard_at

    def is_too_long(self, now: float) -> bool:
        """Return whether it lasts longer than is bearable."""
        return self.lasts(now) > self._bearable
