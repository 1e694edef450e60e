"""OrganoID's parting, written anew."""

import numpy as np

from benchmarks.organoid_peer import part, part_whole, to_instances


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:512, :512]
    return np.clip(radius + 0.5 - np.hypot(rows - y, columns - x), 0, 1).astype(np.float32)


def test_touching_discs_are_parted_and_specks_dropped() -> None:
    belief = np.maximum(disc(200, 200, 30), disc(200, 255, 30))
    belief = np.maximum(belief, disc(400, 400, 40))
    belief = np.maximum(belief, disc(50, 50, 4))
    labels = part(belief)
    found = to_instances(labels, belief, (512, 512))
    assert len(found) == 3
    assert labels[50, 50] == 0
    assert labels[200, 190] != labels[200, 265]
    assert np.array_equal(labels > 0, (belief >= 0.5) & (disc(50, 50, 6) == 0))
    assert found.scores.min() > 0.9


def test_an_empty_belief_has_no_organoids() -> None:
    belief = np.zeros((512, 512), np.float32)
    assert len(to_instances(part(belief), belief, (450, 450))) == 0


def test_both_ways_of_parting_agree() -> None:
    belief = np.maximum(disc(200, 200, 30), disc(200, 255, 30))
    ways = [to_instances(way(belief), belief, (512, 512)) for way in (part, part_whole)]
    assert np.diag(ways[0].iou(ways[1])).min() > 0.97
