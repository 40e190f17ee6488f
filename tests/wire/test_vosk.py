"""Vosk's protocol: lockstep, and what each kind of client needs of the answers."""

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ClientError, ShuttingDown, UnsupportedFormat
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.vosk import MAX_WAITING, VoskAdapter

FRAME = bytes(3_200)
READY = events.Ready("7f3a9c21d0e84b56", "base", "ru")
EOF = '{"eof" : 1}'


def started(query: dict[str, str] | None = None, **config: Any) -> VoskAdapter:
    adapter = VoskAdapter(query or {})
    if config:
        assert adapter.receive(json.dumps({"config": config})) == []
    adapter.receive(FRAME)
    assert adapter.send(READY) == []
    return adapter


def committed(text: str, start: int = 0, end: int = 16_000) -> events.Committed:
    return events.Committed((Word(f" {text}", start, end, 0.9),), 0)


def answer(adapter: VoskAdapter, frame: bytes = FRAME) -> dict[str, Any]:
    [text] = [item.message for item in adapter.receive(frame) if isinstance(item, Reply)]
    found: dict[str, Any] = json.loads(text)
    return found


def commands(adapter: VoskAdapter, message: str | bytes) -> list[Command]:
    return [item for item in adapter.receive(message) if not isinstance(item, Reply)]


# ------------------------------------------------------------------------------------------------------- lockstep


def test_every_frame_is_answered_at_once() -> None:
    """With a partial text, whatever is known; the answer comes before the audio, which may have to wait."""
    adapter = VoskAdapter({})
    begin, reply, audio = adapter.receive(FRAME)
    assert begin == Start(commit="utterance")
    assert reply == Reply('{"partial" : ""}')
    assert isinstance(audio, Audio)
    adapter.send(READY)
    adapter.send(events.Partial(" Добрый день,", 0, 8_000))
    assert answer(adapter) == answer(adapter, b"") == {"partial": "добрый день"}


def test_a_final_text_rides_on_the_next_frame() -> None:
    """Nothing is sent unasked; two finals are two answers, in order; then partials go on."""
    adapter = started()
    assert adapter.send(committed("Раз.")) == adapter.send(committed("Два.")) == []
    adapter.send(events.Partial(" Три", 0, 1))
    told = [(answer(adapter).get("text"), adapter.holds_text) for _ in range(2)]
    assert told == [("раз", True), ("два", False)]
    assert answer(adapter) == {"partial": "три"}


def test_a_final_text_voids_the_partial_one() -> None:
    """The frame after a final text has an empty partial text."""
    adapter = started()
    adapter.send(events.Partial(" Раз", 0, 1))
    adapter.send(committed("Раз."))
    assert answer(adapter)["text"] == "раз"
    assert answer(adapter) == {"partial": ""}


def test_finals_do_not_pile_up() -> None:
    """A client that sends a minute in each frame gets several utterances in one answer, and loses none."""
    adapter = started()
    said = [f"слово{letter}" for letter in "абвгдежзиклмнопрстуфхц"]
    for word in said:
        adapter.send(committed(word))
    told = [answer(adapter)["text"] for _ in range(MAX_WAITING)]
    assert " ".join(told) == " ".join(said)
    assert answer(adapter) == {"partial": ""}


def test_what_says_nothing_is_no_final_text() -> None:
    """An utterance of which only a mark was recognised: nobody said anything."""
    adapter = started()
    adapter.send(committed("..."))
    assert answer(adapter) == {"partial": ""}


@given(
    turns=st.lists(
        st.sampled_from([FRAME, b"", "{}"])
        | st.builds(
            committed, st.text(st.sampled_from('аБ1 ".\\—'), max_size=8), st.integers(0, 9), st.integers(10, 99)
        )
        | st.builds(events.Partial, st.text(st.sampled_from('аБ1 ".\\'), max_size=8), st.just(0), st.just(1)),
        max_size=30,
    ),
    query=st.sampled_from([{}, {"text": "written"}, {"numbers": "digits"}]),
)
def test_one_answer_a_frame_and_quotes_where_nothing_was_said(turns: list[Any], query: dict[str, str]) -> None:
    """Whatever happens: two quotation marks side by side are in an answer exactly if it has no text."""
    adapter = started(query)
    for turn in turns:
        if isinstance(turn, str | bytes):
            replies = [item for item in adapter.receive(turn) if isinstance(item, Reply)]
            assert len(replies) == isinstance(turn, bytes)
            for reply in replies:
                assert isinstance(reply.message, str)
                found = json.loads(reply.message)
                assert ('""' in reply.message) == (not (found.get("partial") or found.get("text")))
        else:
            assert adapter.send(turn) == []


# ------------------------------------------------------------------------------------------------------- results


def test_words_with_times_and_confidence() -> None:
    """As Vosk shows them, in its spacing."""
    adapter = started()
    adapter.send(events.Committed((Word(" Добрый", 1_600, 8_000, 0.98), Word(" день!", 8_000, 16_000, 0.7)), 0))
    [reply] = [item for item in adapter.receive(FRAME) if isinstance(item, Reply)]
    assert reply.message == (
        '{"result" : [{"conf" : 0.98, "end" : 0.5, "start" : 0.1, "word" : "добрый"}, '
        '{"conf" : 0.7, "end" : 1.0, "start" : 0.5, "word" : "день"}], "text" : "добрый день"}'
    )


@pytest.mark.parametrize("value", [0, False, "0", "false"])
def test_words_can_be_left_out(value: object) -> None:
    """Also where the number is text."""
    adapter = started(words=value)
    adapter.send(committed("Раз"))
    assert answer(adapter) == {"text": "раз"}


@pytest.mark.parametrize("value", [3, "3", 3.0, True])
def test_alternatives(value: object) -> None:
    """One is known, and its confidence is the mean of its words."""
    adapter = started(max_alternatives=value)
    adapter.send(events.Committed((Word(" раз", 0, 1_600, 0.9), Word(" два", 1_600, 3_200, 0.7)), 0))
    [only] = answer(adapter)["alternatives"]
    assert (only["confidence"], only["text"], len(only["result"])) == (0.8, "раз два", 2)


def test_written_text() -> None:
    """``?text=written``: as the model writes it. A quotation mark does not make a non-empty answer look empty."""
    adapter = started({"text": "written"})
    adapter.send(committed('Это "Лада" 2110, "Лада"'))
    [reply] = [item for item in adapter.receive(FRAME) if isinstance(item, Reply)]
    assert isinstance(reply.message, str)
    assert '""' not in reply.message
    assert json.loads(reply.message)["text"] == 'Это "Лада" 2110, "Лада"'


def test_numbers_are_words_or_digits() -> None:
    """Words by default: that is what scripts compare."""
    texts = []
    for query in ({}, {"numbers": "words"}, {"numbers": "digits"}):
        adapter = started(query)
        adapter.send(committed("Номер 25."))
        texts.append(answer(adapter)["text"])
    assert texts == ["номер двадцать пять", "номер двадцать пять", "номер 25"]


# ------------------------------------------------------------------------------------------------- eof and reset


def test_eof_is_answered_by_one_final_text() -> None:
    """With everything that was not told, when all of it is known; afterwards nothing is answered."""
    adapter = started()
    adapter.send(committed("Раз."))
    assert isinstance(commands(adapter, EOF)[-1], Stop)
    adapter.send(committed("Два."))
    assert adapter.receive(FRAME) == adapter.receive(EOF) == adapter.receive("x") == []
    [text] = adapter.send(events.Done(0, 0, 0, 0, 0))
    assert isinstance(text, str)
    assert json.loads(text)["text"] == "раз два"
    assert not adapter.holds_text


@pytest.mark.parametrize("text", [EOF, '{"eof":1}', ' {"eof": 1 }'])
def test_eof_without_audio(text: str) -> None:
    """An empty final text; the spacing does not matter."""
    adapter = VoskAdapter({})
    assert commands(adapter, text) == [Start(commit="utterance"), Stop()]
    assert adapter.send(events.Done(0, 0, 0, 0, 0)) == ['{"text" : ""}']


def test_reset_is_answered_and_the_stream_goes_on() -> None:
    """With everything before it; each reset gets its answer."""
    adapter = started()
    assert commands(adapter, '{"reset" : 1}') == commands(adapter, '{"reset" : 1}') == [Flush()]
    adapter.send(committed("Раз."))
    [first] = adapter.send(events.Flushed(0, 0))
    [second] = adapter.send(events.Flushed(0, 0))
    assert isinstance(first, str)
    assert (json.loads(first)["text"], second) == ("раз", '{"text" : ""}')
    assert answer(adapter) == {"partial": ""}
    assert VoskAdapter({}).receive('{"reset" : 1}') == [Reply('{"text" : ""}')]


def test_final_texts_are_told_before_the_connection_ends() -> None:
    """The protocol has no message for errors, and one that looks like a text would be taken for one."""
    adapter = started()
    for word in ("раз", "два"):
        adapter.send(committed(word))
    told = adapter.fail(ShuttingDown("this worker is shutting down"), "")
    assert [json.loads(text)["text"] for text in told] == ["раз", "два"]
    assert adapter.fail(ShuttingDown("this worker is shutting down"), "") == []


def test_eof_is_answered_whatever_ends_the_connection() -> None:
    """The client waits for it."""
    adapter = started()
    adapter.receive(EOF)
    assert adapter.fail(ShuttingDown("this worker is shutting down"), "") == ['{"text" : ""}']


def test_a_partial_text_becomes_final_if_there_is_no_time_for_more() -> None:
    """Words that were heard are not lost, whatever ends the connection."""
    adapter = started()
    adapter.send(committed("раз"))
    adapter.send(events.Partial(" Два", 0, 1))
    told = adapter.fail(ShuttingDown("this worker is shutting down"), "")
    assert [json.loads(text)["text"] for text in told] == ["раз", "два"]
    assert adapter.fail(ShuttingDown("this worker is shutting down"), "") == []


# ------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("rate", [16_000, 16_000.0, "16000", "16000.0"])
def test_a_sample_rate_in_any_form(rate: object) -> None:
    """In a config or in the address."""
    for adapter in (started(sample_rate=rate), started({"sample_rate": str(rate)})):
        [audio] = commands(adapter, FRAME)
        assert isinstance(audio, Audio)
        assert len(audio.samples) == 1_600


def test_the_default_is_telephone_audio() -> None:
    """8000 Hz, twice the samples of which are recognised."""
    adapter = started()
    samples = 0
    for _ in range(100):
        samples += sum(len(item.samples) for item in commands(adapter, FRAME) if isinstance(item, Audio))
    assert samples == pytest.approx(2 * 100 * 1_600, rel=0.02)


@pytest.mark.parametrize("rate", [0, 7_999, "fast", None, [], True, -1, 10**400, "nan", "1e400"])
def test_a_wrong_sample_rate_is_an_error(rate: object) -> None:
    """Anything else would make noise of all the audio."""
    adapter = VoskAdapter({})
    with pytest.raises(UnsupportedFormat, match="expected 8000 to 192000"):
        adapter.receive(json.dumps({"config": {"sample_rate": rate}}))


def test_a_config_in_the_stream() -> None:
    """The rate and the phrases change from here on; no audio is lost. The answer is none."""
    adapter = started({"language": "ru-RU"}, sample_rate=8_000)
    rest, configure = adapter.receive('{"config": {"sample_rate": 16000, "phrase_list": ["склад"]}}')
    assert isinstance(rest, Audio)
    assert configure == Configure("ru", hotwords=("склад",))
    [audio] = commands(adapter, FRAME)
    assert isinstance(audio, Audio)
    assert len(audio.samples) == 1_600


def test_phrases_are_hotwords() -> None:
    """A string of many words is a list of words; what is no text, and Vosk's "[unk]", are left out."""
    adapter = VoskAdapter({})
    digits = "ноль один два три четыре пять шесть семь восемь девять десять сто тысяча"
    adapter.receive(json.dumps({"config": {"phrase_list": ["да", " нет ", "[unk]", 5, digits, "ы" * 70]}}))
    [start, _] = commands(adapter, FRAME)
    assert start == Start(hotwords=("да", "нет", *digits.split()), commit="utterance")
    adapter = VoskAdapter({})
    adapter.receive(json.dumps({"config": {"phrase_list": [f"слово {number}" for number in range(1_000)]}}))
    [start, _] = commands(adapter, FRAME)
    assert isinstance(start, Start)
    assert len(start.hotwords) == 100


@pytest.mark.parametrize("query", [{"language": "xx"}, {"text": "x"}, {"numbers": "x"}, {"sample_rate": "x"}])
def test_wrong_options_of_the_address_are_refused(query: dict[str, str]) -> None:
    """Before the connection is accepted: who wrote the address should see it."""
    with pytest.raises(ClientError):
        VoskAdapter(query)


def test_half_a_sample_waits_for_the_next_frame() -> None:
    """A program that forwards bytes may cut them anywhere; Vosk does not mind either."""
    adapter = started(sample_rate=16_000)
    counts = [
        sum(len(item.samples) for item in commands(adapter, frame) if isinstance(item, Audio))
        for frame in (bytes(3), bytes(3), bytes(1))
    ]
    assert counts == [1, 2, 0]


# --------------------------------------------------------------------------------------------------- any message

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["config", "eof", "reset", "sample_rate", "phrase_list", "words", "max_alternatives", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(messages=st.lists(st.binary(max_size=9) | st.text(max_size=9) | _json.map(json.dumps), max_size=8))
def test_any_messages(messages: list[str | bytes]) -> None:
    """Commands in the right order or an error for the client, and one answer for each frame until the end."""
    adapter = VoskAdapter({})
    taken: deque[Command] = deque()
    for message in messages:
        ended = any(isinstance(command, Stop) for command in taken)
        try:
            found = adapter.receive(message)
        except ClientError:
            return
        assert sum(isinstance(item, Reply) for item in found) == (isinstance(message, bytes) and not ended) or not (
            isinstance(message, bytes)
        )
        taken += [item for item in found if not isinstance(item, Reply)]
    assert not taken or isinstance(taken[0], Start)
    assert sum(isinstance(command, Start) for command in taken) <= 1
    assert not any(isinstance(command, Stop) for command in list(taken)[:-1])
