"""How errors are nested as the body is, and which keys may stand where."""

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from callboard.http.problems import Errors
from callboard.http.schemas import TaskRequest
from callboard.http.seed_schemas import EnqueueRequest
from callboard.http.validation import known_fields, nested


class Parcel(BaseModel):
    """A body with an object in it."""

    inside: dict[str, int]


def found(*places: tuple[int | str, ...]) -> Errors:
    """Nest errors that name their own places."""
    wrong = [
        InitErrorDetails(type=PydanticCustomError("wrong", "at {at}", {"at": place}), loc=place, input=None)
        for place in places
    ]
    return nested(Parcel, ValidationError.from_exception_data("parcel", wrong).errors())


def test_all_that_is_wrong_at_one_place_is_said_there() -> None:
    assert found(("inside", "a"), ("inside", 7), ("inside", "a")) == {
        "inside": {"a": ["at ('inside', 'a')"] * 2, "7": ["at ('inside', 7)"]}
    }


def test_what_is_wrong_with_a_value_and_with_something_in_it_is_said_by_whichever_comes_first() -> None:
    whole, part = ("inside",), ("inside", "a")
    assert found(whole, part) == {"inside": ["at ('inside',)"]}
    assert found(part, whole) == {"inside": {"a": ["at ('inside', 'a')"]}}


def test_an_error_of_the_whole_body_is_said_of_the_body() -> None:
    assert found(()) == {"body": ["at ()"]}


def test_the_known_keys_are_those_of_the_place() -> None:
    assert "queue" in known_fields(TaskRequest, [])
    assert known_fields(TaskRequest, ["options", "backoff"]) == ["strategy", "base_ms", "factor", "cap_ms", "jitter"]
    assert "taskType" in known_fields(EnqueueRequest, ["tasks", 3])


def test_where_anything_may_stand_no_key_is_known() -> None:
    assert known_fields(Parcel, ["inside"]) == []
