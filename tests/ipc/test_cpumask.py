"""cpumasks against Python's sets."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from cpus import selftest_kernel

CPUS = 1024
cpus = st.one_of(st.integers(0, CPUS - 1), st.sampled_from([0, 1, 62, 63, 64, 65, 127, 128, 1022, 1023]))
masks = st.integers(0, 2)
operations = st.one_of(
    st.tuples(st.sampled_from(["set", "set", "set", "clear", "test"]), masks, cpus),
    st.tuples(st.just("next"), masks, st.integers(-1, CPUS - 1)),
    st.tuples(st.sampled_from(["copy", "and"]), masks, masks),
    st.tuples(st.sampled_from(["weight", "empty", "bits"]), masks, st.just(0)),
    st.tuples(st.just("wipe"), masks, st.just(0)),
)


def model(program: list[tuple[str, int, int]]) -> list[Any]:
    sets: list[set[int]] = [set(), set(), set()]
    answers: list[Any] = []
    for name, number, operand in program:
        mine = sets[number]
        answer: Any = None
        if name == "set":
            mine.add(operand)
        elif name == "clear":
            mine.discard(operand)
        elif name == "test":
            answer = operand in mine
        elif name == "next":
            answer = min((cpu for cpu in mine if cpu > operand), default=-1)
        elif name == "copy":
            sets[number] = set(sets[operand])
        elif name == "and":
            sets[number] = mine & sets[operand]
        elif name == "weight":
            answer = len(mine)
        elif name == "empty":
            answer = not mine
        elif name == "wipe":
            sets[number] = set()
        elif name == "bits":
            answer = [sum(1 << cpu % 64 for cpu in mine if cpu // 64 == word) for word in range(CPUS // 64)]
        answers.append(answer)
    return answers


@given(st.lists(operations, max_size=60))
@example([("next", 0, CPUS - 1), ("set", 0, CPUS - 1), ("next", 0, CPUS - 2), ("next", 0, -1)])
@example([("set", 0, 63), ("bits", 0, 0), ("weight", 0, 0), ("next", 0, 62), ("next", 0, 63)])
def test_against_sets(program: list[tuple[str, int, int]]) -> None:
    assert selftest_kernel.mask_program(program) == model(program)


@given(st.sets(cpus))
def test_walking_a_mask_finds_all_in_order(members: set[int]) -> None:
    program = [("set", 0, cpu) for cpu in members]
    found = []
    at = -1
    while True:
        at = selftest_kernel.mask_program([*program, ("next", 0, at)])[-1]
        if at < 0:
            break
        found.append(at)
    assert found == sorted(members)
