"""The adapter for FreeSWITCH's mod_audio_fork and mod_audio_stream. The conversations are those of their sources."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.calls import HEARD, HELLO, MESSAGES, SILENT, check_any_input, pcm, told
from tests.wire.telephony_conversations import SESSION
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Flush, Start, Stop
from whisperlivekit.errors import ShuttingDown, UnsupportedFormat
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.audio_fork import AudioForkAdapter


def fork(**query: str) -> AudioForkAdapter:
    return AudioForkAdapter(query)


def test_a_call_of_one_channel() -> None:
    """The stream begins with the connection. Metadata means nothing, and an empty frame asks for the last words."""
    adapter = fork(language="ru-RU")
    assert adapter.open(SESSION) == [Start("ru", commit="utterance")]
    assert adapter.receive('{"to": "6173333456", "callid": "a"}') == adapter.receive("any text") == []
    commands = adapter.receive(pcm(1_600)) + adapter.receive(b"")
    assert isinstance(commands[-1], Stop)
    audio = [command.samples for command in commands if isinstance(command, Audio)]
    assert np.concatenate(audio).shape == (3_200,)
    # mod_audio_fork goes on sending empty frames.
    assert adapter.receive(b"") == adapter.receive("bye") == adapter.receive(pcm(160)) == []


def test_a_stereo_call_has_two_speakers() -> None:
    """Caller and callee are streams of their own, and each text says whose it is."""
    adapter = fork(channels="2", sample_rate="16000")
    assert adapter.open(SESSION) == [Start(commit="utterance", channels=2)]
    [audio] = adapter.receive(pcm(160, channels=2))
    assert isinstance(audio, Audio)
    assert audio.samples.shape == (2, 160)
    [message] = told(adapter, events.Committed(HELLO.words, 24_000, channel=1))
    assert message["data"]["channel"] == 1


def test_texts_of_a_call() -> None:
    """mod_audio_fork makes an event of ``data``, because of the type; mod_audio_stream of the whole message."""
    adapter = fork()
    [interim] = told(adapter, HEARD)
    [final] = told(adapter, HELLO)
    assert interim == {"type": "transcription", "data": {"text": "Алло", "start": 0.6, "end": 0.9, "is_final": False}}
    assert final == {
        "type": "transcription",
        "data": {
            "text": "Алло, Максим?",
            "start": 0.6,
            "end": 1.25,
            "is_final": True,
            "confidence": 0.825,
            "words": [
                {"text": "Алло,", "start": 0.6, "end": 0.9, "probability": 0.75},
                {"text": "Максим?", "start": 0.938, "end": 1.25, "probability": 0.9},
            ],
        },
    }
    assert not [message for event in SILENT for message in adapter.send(event)]
    assert not fork(interim="false").send(HEARD)
    [error] = adapter.fail(ShuttingDown("this worker is shutting down"), SESSION)
    assert json.loads(error) == {
        "type": "error",
        "data": {"code": "shutting_down", "message": "this worker is shutting down", "session": SESSION},
    }


def test_an_application_can_end_or_flush_the_stream() -> None:
    """mod_audio_stream has no other way to get the last words than to send a text before it stops."""
    adapter = fork()
    assert adapter.receive('{"type": "flush"}') == [Flush()]
    commands = adapter.receive('{"type": "flush"}{"type": "stop"}{"type": "flush"}')
    assert [type(command) for command in commands][:: len(commands) - 1] == [Flush, Stop]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"channels": "3"}, "channels is 3, expected 1 or 2"),
        ({"channels": "two"}, "channels is 'two', expected a whole number"),
        ({"sample_rate": "8k"}, "sample_rate is '8k', expected a whole number"),
        ({"sample_rate": "٨٠٠٠"}, "expected a whole number"),
        ({"sample_rate": "100"}, "sample_rate is 100, expected 8000 to 192000"),
        ({"language": "klingon"}, 'language is "klingon"'),
        ({"interim": "maybe"}, "interim is 'maybe', expected true or false"),
    ],
)
def test_wrong_options_of_an_address(query: dict[str, str], found: str) -> None:
    """The connection is refused before it opens."""
    with pytest.raises(UnsupportedFormat, match=found):
        AudioForkAdapter(query)


_queries = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.sampled_from(["1", "2"]) | st.text(max_size=5),
        "sample_rate": st.sampled_from(["8000", "16000"]) | st.text(max_size=8),
        "language": st.sampled_from(["ru", "ru-RU"]) | st.text(max_size=8),
        "interim": st.sampled_from(["true", "0"]) | st.text(max_size=5),
    },
)


@settings(deadline=None, max_examples=150)
@given(messages=MESSAGES, query=_queries)
def test_any_input_of_an_audio_fork(messages: list[Message], query: dict[str, str]) -> None:
    """See ``check_any_input``."""
    check_any_input(lambda: AudioForkAdapter(query), messages)
