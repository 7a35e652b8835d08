"""Ragged arrays against plain loops."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seampack.io.ragged import lengths_of, offsets_of, positions_of


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=20))
def test_offsets_cut_the_joined_lists(lists: list[list[int]]) -> None:
    lengths = lengths_of(lists)
    joined = [value for values in lists for value in values]
    offsets = offsets_of(lengths)
    assert offsets.dtype == lengths.dtype == np.int64
    assert [joined[a:b] for a, b in pairwise(offsets)] == lists
    assert positions_of(lengths).tolist() == [position for values in lists for position in range(len(values))]


def test_narrow_lengths_do_not_overflow() -> None:
    assert offsets_of(np.full(3, 200, np.uint8)).tolist() == [0, 200, 400, 600]
