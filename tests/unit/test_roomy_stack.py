import sys

from callboard.actors.roomy_stack import STACK_SLOTS, in_roomy_stack


def test_a_call_returns_what_its_function_returns() -> None:
    assert in_roomy_stack(divmod, 7, 2) == (3, 1)


def test_the_function_runs_below_a_frame_of_that_size() -> None:
    def caller_slots() -> int:
        return sys._getframe(1).f_code.co_stacksize

    assert in_roomy_stack(caller_slots) == STACK_SLOTS


def test_hundreds_of_calls_have_room_below_it() -> None:
    def down(levels: int) -> int:
        return 0 if levels == 0 else 1 + down(levels - 1)

    assert in_roomy_stack(down, 500) == 500
