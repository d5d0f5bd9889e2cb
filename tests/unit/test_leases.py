"""Leases as plain data: how they are named, stored, and in what order they end."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.crew import Moment
from callboard.actors.leases import Claim, Leases, is_lease, new_lease, read_lease
from callboard.actors.messages import Want
from callboard.actors.options import MAX_LEASE_MS
from callboard.actors.store import HandOut
from tests.support.made_tasks import WALL, ready_task

NOW = Moment(WALL, 500.0)


def later(seconds: float) -> Moment:
    return Moment(WALL + round(seconds * 1_000_000), 500.0 + seconds)


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = Claim("mail.new-1", 7, "0190-a")
    assert Claim.read(str(claim)) == claim


@given(st.text())
def test_any_text_can_be_shown_as_a_claim(text: str) -> None:
    claim = Claim.read(text)
    assert claim is None or Claim.read(str(claim)) == claim


def test_what_is_no_claim_is_read_as_none() -> None:
    texts = ("", "q", "q:1", "q:x:t", "q:-1:t", "q:1:t:u", "q:²:t", "q:" + "9" * 19 + ":t")
    assert [Claim.read(text) for text in texts] == [None] * len(texts)


def test_a_lease_is_read_as_it_was_stored_for_what_is_left_of_it() -> None:
    task = ready_task(state="executing", attempt=1, context='{"a": 1}')
    lease = new_lease(task, 3, Want("want", 1, 5_000, "ada: the: first"), NOW)
    row = lease.row()
    assert is_lease(row)
    assert row.ids == (task.id,)
    read = read_lease(row, task, later(2))
    assert (read.number, read.want, read.consumer, read.started_at) == (3, "want", "ada: the: first", WALL)
    assert (read.until, read.ends) == (WALL + 5_000_000, 505.0)
    assert read.task == task._replace(context="")


def test_a_workers_hand_out_is_no_lease() -> None:
    assert not is_lease(HandOut(1, "w1-1", ("a",)))


def test_a_clock_that_was_set_back_makes_no_lease_longer_than_the_longest() -> None:
    task = ready_task(state="executing", attempt=1)
    row = new_lease(task, 3, Want("want", 1, 5_000), NOW).row()
    assert read_lease(row, task, Moment(0, 1.0)).ends == 1.0 + MAX_LEASE_MS / 1_000


def test_leases_end_in_the_order_of_their_time_and_once() -> None:
    leases = Leases()
    for number, milliseconds in enumerate((300, 100, 200)):
        leases.put(new_lease(ready_task(f"t{number}"), number, Want("w", 1, milliseconds), NOW))
    assert leases.next_end() == 500.1
    assert [lease.task.id for lease in leases.expired(500.0)] == []
    for task_id, moment in (("t1", 500.1), ("t2", 500.2), ("t0", 501.0)):
        (over,) = leases.expired(moment)
        assert over.task.id == task_id
        leases.remove(task_id)
    assert (len(leases), leases.next_end(), leases.of_want("w")) == (0, float("inf"), [])


def test_a_renewed_lease_ends_when_it_says_now() -> None:
    leases = Leases()
    lease = new_lease(ready_task(), 1, Want("w", 1, 1_000), NOW)
    leases.put(lease)
    leases.put(lease.renewed(5_000, later(0.5)))
    assert leases.expired(505.4) == []
    assert [over.number for over in leases.expired(505.5)] == [1]


def test_a_lease_can_be_made_shorter() -> None:
    leases = Leases()
    lease = new_lease(ready_task(), 1, Want("w", 1, 60_000), NOW)
    leases.put(lease)
    leases.put(lease.renewed(1, NOW))
    assert len(leases.expired(501.0)) == 1


def test_heartbeats_without_end_fill_no_memory() -> None:
    leases = Leases()
    lease = new_lease(ready_task(), 1, Want("w", 1, 60_000), NOW)
    for beat in range(2_000):
        leases.put(lease.renewed(60_000, later(beat)))
    assert len(leases._ends) < 200
    assert leases.expired(500.0 + 1_999 + 59.9) == []
    assert len(leases.expired(500.0 + 1_999 + 60)) == 1


def test_what_a_want_got_is_known_as_long_as_it_is_held() -> None:
    leases = Leases()
    for name in ("a", "b"):
        leases.put(new_lease(ready_task(name), 1, Want("w", 2, 1_000), NOW))
    leases.remove("a")
    assert [lease.task.id for lease in leases.of_want("w")] == ["b"]
    assert leases.of_want("another") == []
