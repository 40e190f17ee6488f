"""Which of the waiting requests form the next batch."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.schedule import (
    FINAL_FIRST_S,
    LIVE_S,
    PATIENCE,
    Waiting,
    may_share_batch,
    next_batch,
    room_for_files,
)
from whisperlivekit.engine.whisper import MIN_PARALLEL, SHORTEST, EngineConfig, WhisperModel


def asked(since_s: float, **fields: Any) -> Waiting:
    """A request that came at this time, which is its id too."""
    request = DecodeRequest(int(since_s), np.zeros(0, np.float32), 0, **{"language": "ru", **fields})
    return Waiting(request, since_s)


def times(batch: list[Waiting]) -> list[float]:
    return [entry.since_s for entry in batch]


def test_the_oldest_go_first_and_finals_a_little_earlier() -> None:
    """A person waits for the end of an utterance, but the others must not wait too long for it."""
    queue = [asked(1.0), asked(1.9, final=True), asked(1.5), asked(1.1 + FINAL_FIRST_S), asked(9, final=True)]
    order = []
    while queue:
        [first] = next_batch(queue, 1)
        queue.remove(first)
        order.append(first.since_s)
    assert order == [1.0, 1.9, 1.5, 1.1 + FINAL_FIRST_S, 9]


def test_without_requests_there_is_no_batch() -> None:
    """An empty queue gives an empty batch."""
    assert next_batch([], 8) == []


@given(st.lists(st.booleans(), max_size=20), st.integers(1, 8))
def test_everyone_is_served_once(finals: list[bool], max_batch: int) -> None:
    """Each request is in exactly one batch, and no batch is too large."""
    queue = [asked(at, final=final) for at, final in enumerate(finals)]
    served: list[float] = []
    while queue:
        batch = next_batch(queue, max_batch)
        assert 1 <= len(batch) <= max_batch
        served += times(batch)
        queue = [entry for entry in queue if entry not in batch]
    assert sorted(served) == list(range(len(finals)))


def test_equal_requests_are_two() -> None:
    """Sessions number their requests independently: of two requests with one id, none may be lost."""
    samples = np.zeros(1, np.float32)
    queue = [Waiting(DecodeRequest(1, samples, 0, "ru"), 1) for _ in range(2)]
    assert queue[0] != queue[1]
    assert len(next_batch(queue, 8)) == 2


def test_files_give_way_to_live_speech() -> None:
    """The last decode of a file's utterance waits even for a live partial that came later."""
    queue = [asked(1, realtime=False, final=True), asked(2)]
    assert times(next_batch(queue, 8)) == [2]


def test_a_file_does_not_wait_for_ever() -> None:
    """After ``PATIENCE`` live requests it is served before a live one, and a file that came later is not."""
    file, other = asked(1, realtime=False), asked(3, realtime=False)
    live = asked(2, final=True)
    assert next_batch([file, live, other], 1, PATIENCE - 1) == [live]
    assert next_batch([file, live, other], 1, PATIENCE) == [file]


@pytest.mark.parametrize(
    ("lanes", "busy", "room"), [(1, 0, True), (2, 0, True), (2, 1, False), (3, 1, True), (3, 2, False), (8, 4, False)]
)
def test_files_leave_half_of_the_lanes_to_people_who_speak(lanes: int, busy: int, room: bool) -> None:
    """Unless nobody has spoken for a while, or files have waited for long."""
    assert room_for_files(lanes, busy, live_s=0, overtaken=PATIENCE - 1) is room
    assert room_for_files(lanes, busy, live_s=LIVE_S, overtaken=0)
    assert room_for_files(lanes, busy, live_s=0, overtaken=PATIENCE)


def test_a_batch_is_of_one_kind() -> None:
    """What the model cannot decode with one call, or not without loss, is not put into one batch."""
    first = asked(1)
    others = [
        asked(2, language="en"),
        asked(3, prompt="Имя."),
        asked(5, realtime=False),
        asked(6, prefix=" раз"),
        asked(7, context_text=" раз"),
        asked(8, language=None),
        asked(9, beams=5),
        asked(11, task="translate"),
    ]
    alike = asked(10, hotwords=("слово",))
    assert next_batch([first, *others, alike], 8) == [first, alike]


def test_requests_with_forced_text_share_a_batch() -> None:
    """Whatever the text: it may come from the context or the prefix, and be long or short."""
    queue = [asked(1, prefix=" раз"), asked(2, context_text=" раз два"), asked(3, prefix=" раз", context_text=" два")]
    assert next_batch(queue, 8) == queue


def test_detecting_the_language_takes_a_batch() -> None:
    """The prompt of each request depends on what is detected, so that such requests share nothing."""
    queue = [asked(1, language=None), asked(2, language=None)]
    assert times(next_batch(queue, 8)) == [1]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(["ru", "en", None])), max_size=30))
def test_every_request_is_served_while_others_keep_coming(kinds: list[tuple[bool, bool, str | None]]) -> None:
    """With a live final arriving for each one that is served, all requests are still served in bounded time."""
    queue = [
        asked(at, realtime=realtime, final=final, language=code) for at, (realtime, final, code) in enumerate(kinds)
    ]
    old = set(queue)
    newest = len(queue)
    overtaken = 0
    for _ in range(len(kinds) * (PATIENCE + 1) + 1):
        batch = next_batch(queue, 1, overtaken)
        overtaken = overtaken + 1 if batch and batch[0].request.realtime else 0
        queue = [entry for entry in queue if entry not in batch]
        old -= set(batch)
        newest += 1
        queue.append(asked(newest, final=True, realtime=True))
        if len(queue) > len(kinds) + 1:
            queue.pop()
    assert not old


# ---- with the real model


@pytest.fixture(scope="module")
def model(base_model: Path) -> WhisperModel:
    return WhisperModel(EngineConfig(base_model, "cpu", beams=2))


class Spy:
    """CTranslate2's model, with its calls of ``generate`` counted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.generated: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
        self.generated.append(len(prompts))
        return self._inner.generate(encoded, prompts, **options)


NOISE = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)

texts = st.sampled_from(["", " раз", " раз два три четыре пять"])

any_request = st.builds(
    lambda samples, language, prompt, hotwords, prefix, context_text, final, realtime: DecodeRequest(
        7,
        NOISE[:samples],
        0,
        language,
        NOISE[:1600] if context_text else NOISE[:0],
        context_text,
        prefix,
        prompt,
        hotwords,
        final,
        realtime,
    ),
    st.sampled_from([0, SHORTEST - 1, SHORTEST, 5_000, 9_000]),
    st.sampled_from(["ru", "ru", "en", None]),
    st.sampled_from(["", "", "Имя.", "Иной"]),
    st.sampled_from([(), ("слово",)]),
    texts,
    texts,
    st.booleans(),
    st.booleans(),
)


def batches(queue: list[Waiting], max_batch: int) -> Iterator[list[DecodeRequest]]:
    while queue:
        batch = next_batch(queue, max_batch)
        queue = [entry for entry in queue if entry not in batch]
        yield [entry.request for entry in batch]


@pytest.mark.model
@hypothesis_settings(max_examples=15)
@given(st.lists(any_request, min_size=1, max_size=8), st.integers(1, 8))
def test_every_batch_is_decoded_with_one_call(model: WhisperModel, asked: list[DecodeRequest], max_batch: int) -> None:
    """Whatever waits: the model takes each batch as it is, generates once for it, and answers each request once."""
    asked = [replace(request, id=number) for number, request in enumerate(asked)]
    spied = model.lane()
    answered: list[int] = []
    for batch in batches([Waiting(request, request.id) for request in asked], max_batch):
        spied._model = spy = Spy(model._model)
        hypotheses = spied.decode(batch)
        assert [hypothesis.request_id for hypothesis in hypotheses] == [request.id for request in batch]
        answered += [hypothesis.request_id for hypothesis in hypotheses]
        audible = sum(len(request.samples) >= SHORTEST for request in batch)
        # With the blank row where forced text is read in one pass.
        assert len(spy.generated) == (audible > 0)
        assert not audible or spy.generated[0] in {audible, audible + 1}
    assert sorted(answered) == list(range(len(asked)))


@pytest.mark.model
def test_forced_text_of_a_batch_is_read_in_one_pass(model: WhisperModel) -> None:
    """As far as the shortest of the batch reaches."""
    spied = model.lane()
    spied._model = spy = Spy(model._model)
    long, longer = " раз два три четыре пять", " раз два три четыре пять шесть семь"
    requests = [DecodeRequest(1, NOISE, 0, "ru", prefix=long), DecodeRequest(2, NOISE, 0, "ru", prefix=longer)]
    assert all(len(model._tokenizers.request(request, "ru").forced) > MIN_PARALLEL for request in requests)
    spied.decode(requests)
    assert spy.generated == [3]


@pytest.mark.model
def test_the_model_refuses_a_mixture(model: WhisperModel) -> None:
    """One rule in one place: what may not share a batch is a mistake of the caller, not a second sorting."""
    one, other = DecodeRequest(1, NOISE, 0, "ru"), DecodeRequest(2, NOISE, 0, "ru", final=True)
    assert not may_share_batch(one, other)
    with pytest.raises(ValueError, match="cannot share a batch"):
        model.decode([one, other])
