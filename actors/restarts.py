"""Decide how long to wait before something that has died is started again."""

from dataclasses import dataclass


@dataclass(slots=True)
class Restarts:
    """Count deaths in a row: the first restart comes at once, later ones after a wait that doubles up to a cap.

    Something that lived for `healthy_seconds` is forgiven all that was before.
    """

    base_seconds: float = 0.1
    cap_seconds: float = 10.0
    healthy_seconds: float = 30.0
    in_a_row: int = 0

    def delay_after(self, lived_seconds: float) -> float:
        """Note a death after so long a life, and return the seconds to wait before the next start."""
        self.in_a_row = 1 if lived_seconds >= self.healthy_seconds else self.in_a_row + 1
        if self.in_a_row == 1:
            return 0.0
        # The exponent is bounded too: 2.0 ** 1024 overflows, and a broken installation gets there in three hours.
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(self.in_a_row - 2, 64))
