"""Arrays as PostgreSQL reads them."""

import pytest

from callboard.actors.store.columns import numbers, storable, texts


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([], "{}"),
        ([""], '{""}'),
        (["a", "b c", "NULL"], '{"a","b c","NULL"}'),
        (['say "no"', "back\\slash", "{1,2}"], '{"say \\"no\\"","back\\\\slash","{1,2}"}'),
    ],
)
def test_texts_are_quoted(values: list[str], written: str) -> None:
    assert texts(iter(values)) == written


@pytest.mark.parametrize("values", [["a\x00b"], ["a", "b\x00"], ["\x00"]])
def test_a_text_with_a_nul_is_refused(values: list[str]) -> None:
    with pytest.raises(ValueError, match=r"U\+0000"):
        texts(values)


def test_numbers_may_be_missing() -> None:
    assert numbers([1, None, -(2**63)]) == "{1,NULL,-9223372036854775808}"
    assert numbers([]) == "{}"


def test_what_can_not_be_stored_is_not_asked_for() -> None:
    assert storable(["a", "b\x00", "\ud800", "ü", ""]) == ["a", "ü", ""]
    assert storable(iter(["a"])) == ["a"]
