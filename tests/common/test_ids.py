from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.ids import derive, new_id, unix_time


def test_new_ids_are_uuid7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(100)]
    assert {i.version for i in made} == {7}
    assert made == sorted(made)


@given(st.uuids(version=4), st.text(), st.integers())
def test_a_derived_id_always_follows_from_its_cause_and_names(random: UUID, name: str, n: int) -> None:
    cause = new_id()
    assert derive(cause, name, n) == derive(cause, name, n)
    assert derive(cause, name, n) != derive(cause, name, n + 1)
    assert derive(cause, name, n) != derive(random, name, n)
    assert derive(cause, name, n).version == 7


def test_a_derived_id_keeps_the_time_of_its_cause() -> None:
    cause = new_id()
    assert unix_time(derive(cause, "exit")) == unix_time(cause)
