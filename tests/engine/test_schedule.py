"""Which of the waiting requests go through the model next."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.schedule import Waiting, next_batch


def waiting(arrival: int, *, final: bool = False) -> Waiting:
    return Waiting(DecodeRequest(arrival, np.zeros(0, np.float32), 0, "ru", final=final), arrival)


def test_finals_go_first_then_the_oldest() -> None:
    """The end of an utterance is what a person waits for."""
    queue = [waiting(1), waiting(2, final=True), waiting(3), waiting(4, final=True)]
    assert [entry.arrival for entry in next_batch(queue, 3)] == [2, 4, 1]


def test_nobody_waits() -> None:
    """An empty queue makes an empty batch."""
    assert next_batch([], 8) == []


@given(st.lists(st.booleans(), max_size=20), st.integers(1, 8))
def test_everyone_is_served_once(finals: list[bool], max_batch: int) -> None:
    """Batch after batch the queue is worked off, each request in exactly one batch, none too large."""
    queue = [waiting(arrival, final=final) for arrival, final in enumerate(finals)]
    served: list[int] = []
    while queue:
        batch = next_batch(queue, max_batch)
        assert 1 <= len(batch) <= max_batch
        served += [entry.arrival for entry in batch]
        queue = [entry for entry in queue if entry not in batch]
    assert sorted(served) == list(range(len(finals)))


def test_equal_requests_are_two() -> None:
    """Sessions number their requests on their own: the same id in two of them must not make one of them vanish."""
    samples = np.zeros(1, np.float32)
    queue = [Waiting(DecodeRequest(1, samples, 0, "ru"), 1) for _ in range(2)]
    assert queue[0] != queue[1]
    assert len(next_batch(queue, 8)) == 2
