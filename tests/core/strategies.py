"""Random organoids for hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from organoseg.core import Instances


@st.composite
def stacks(draw: st.DrawFn, max_count: int = 5, max_side: int = 12) -> NDArray[np.bool_]:
    """Bool (N, H, W), no empty plane; N may be 0."""
    height = draw(st.integers(1, max_side))
    width = draw(st.integers(1, max_side))
    count = draw(st.integers(0, max_count))
    dense = draw(hnp.arrays(np.bool_, (count, height, width)))
    return dense[dense.any(axis=(1, 2))]


@st.composite
def organoids(draw: st.DrawFn, max_count: int = 5, max_side: int = 12) -> Instances:
    """Instances with random masks, scores (ties happen), classes and ids."""
    dense = draw(stacks(max_count, max_side))
    n = len(dense)
    tenths = draw(st.lists(st.integers(0, 10), min_size=n, max_size=n))
    ids = draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n, unique=True))
    classes = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    return Instances.from_dense(
        dense,
        scores=np.array(tenths, np.float32) / 10,
        ids=ids,
        classes=classes,
        sources=[f"rater {i % 2}" for i in range(n)],
    )


def same(a: Instances, b: Instances) -> bool:
    """Whether two sets are equal in every field and pixel."""
    return (
        a.shape == b.shape
        and a.sources == b.sources
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.classes, b.classes)
        and np.array_equal(a.ids, b.ids)
        and np.array_equal(a.to_dense(), b.to_dense())
    )
