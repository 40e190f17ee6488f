"""Which of the waiting requests go through the model next."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.schedule import PATIENCE, Waiting, next_batch


def waiting(arrival: int, *, final: bool = False) -> Waiting:
    return Waiting(DecodeRequest(arrival, np.zeros(0, np.float32), 0, "ru", final=final), arrival)


def test_finals_go_first_then_the_oldest() -> None:
    """The end of an utterance is what a person waits for."""
    queue = [waiting(1), waiting(2, final=True), waiting(3), waiting(4, final=True)]
    finals = next_batch(queue, 3)
    assert [entry.arrival for entry in finals] == [2, 4]
    assert [entry.arrival for entry in next_batch([entry for entry in queue if entry not in finals], 3)] == [1, 3]


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


def asked(arrival: int, **fields: Any) -> Waiting:
    return Waiting(DecodeRequest(arrival, np.zeros(0, np.float32), 0, **{"language": "ru", **fields}), arrival)


def test_files_give_way_to_live_speech() -> None:
    """The end of a file's utterance waits even for a live partial that came later."""
    queue = [asked(1, realtime=False, final=True), asked(2)]
    assert [entry.arrival for entry in next_batch(queue, 8)] == [2]


def test_a_file_does_not_wait_for_ever() -> None:
    """After enough others it is the oldest, and its turn comes."""
    file = asked(1, realtime=False)
    assert next_batch([file, asked(PATIENCE, final=True)], 8)[0] is not file
    assert next_batch([file, asked(PATIENCE + 1, final=True)], 8) == [file]


def test_a_batch_is_of_one_kind() -> None:
    """What the model cannot decode in one go is not put together: nobody waits for another language's batch."""
    first = asked(1)
    others = [asked(2, language="en"), asked(3, prompt="Имя."), asked(4, hotwords=("слово",)), asked(5, realtime=False)]
    alike = asked(6)
    assert next_batch([first, *others, alike], 8) == [first, alike]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(["ru", "en", None])), max_size=30))
def test_every_request_is_served_while_others_keep_coming(kinds: list[tuple[bool, bool, str | None]]) -> None:
    """With a live final arriving for each one that is served, all requests are still served in bounded time."""
    queue = [
        asked(at, realtime=realtime, final=final, language=code) for at, (realtime, final, code) in enumerate(kinds)
    ]
    old = set(queue)
    newest = len(queue)
    for _ in range(len(kinds) + 2 * PATIENCE):
        batch = next_batch(queue, 1)
        queue = [entry for entry in queue if entry not in batch]
        old -= set(batch)
        newest += 1
        queue.append(asked(newest, final=True, realtime=True))
        if len(queue) > len(kinds) + 1:
            queue.pop()
    assert not old
