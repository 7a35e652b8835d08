"""Predecessor and successor queries against a sorted list."""

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack._jit import kernel
from seampack.packer._bitset import add_member, make_bitset, predecessor, remove_member, successor


@kernel
def change(bits, x, present):
    if present:
        add_member(bits, x)
    else:
        remove_member(bits, x)


@kernel
def find(bits, x):
    return predecessor(bits, x), successor(bits, x)


@pytest.mark.parametrize("size", [1, 64, 65, 4096, 4097, 262_145, 1_100_000])
@given(data=st.data())
def test_queries(size: int, data: st.DataObject) -> None:
    value = st.one_of(st.integers(0, size - 1), st.sampled_from([0, size - 1, size // 2]))
    changes = data.draw(st.lists(st.tuples(value, st.booleans()), max_size=40))
    bits = make_bitset(size)
    members: set[int] = set()
    for x, present in changes:
        (members.add if present else members.discard)(x)
        change(bits, x, present)
    ordered = sorted(members)
    for x in data.draw(st.lists(value, max_size=20)) + [x for x, _ in changes]:
        index = bisect.bisect_right(ordered, x)
        below = ordered[index - 1] if index else -1
        index = bisect.bisect_left(ordered, x)
        assert find(bits, x) == (below, ordered[index] if index < len(ordered) else -1)


def test_dense_and_empty() -> None:
    bits = make_bitset(130)
    assert find(bits, 129) == find(bits, 0) == (-1, -1)
    for x in range(130):
        change(bits, x, True)
    assert all(find(bits, x) == (x, x) for x in range(130))
    assert find(bits, -1) == (-1, 0)
    assert np.all([words.dtype == np.uint64 for words in bits])
