"""Asterisk's AEAP: requests and responses, and what Asterisk can do with them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Configure, Start, Stop
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import BadMessage, ClientError, ShuttingDown
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.aeap import CODECS, AeapAdapter

SESSION = "7f3a9c21d0e84b56"
READY = events.Ready(SESSION, "base", "ru")
AUDIO = bytes(160)


def request(name: str, **fields: Any) -> str:
    return json.dumps({"request": name, "id": "1", **fields})


def setup(codec: str = "ulaw", **params: str) -> str:
    return request("setup", version="0.1.0", codecs=[{"name": codec}], params=params)


def asked(adapter: AeapAdapter, message: str) -> tuple[dict[str, Any], list[Command]]:
    """The response to a request, which is the first thing to happen, and the commands."""
    reply, *commands = adapter.receive(message)
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, str)
    found: dict[str, Any] = json.loads(reply.message)
    assert found["response"] == json.loads(message)["request"]
    assert found["id"] == "1"
    return found, [command for command in commands if not isinstance(command, Reply)]


def started(query: dict[str, str] | None = None, codec: str = "ulaw", **params: str) -> AeapAdapter:
    adapter = AeapAdapter(query or {})
    assert adapter.open(SESSION) == []
    assert "error_msg" not in asked(adapter, setup(codec, **params))[0]
    adapter.receive(AUDIO)
    adapter.send(READY)
    return adapter


def told(adapter: AeapAdapter, *words: str) -> dict[str, Any]:
    [text] = adapter.send(events.Committed(tuple(Word(f" {word}", 0, 1_600, 0.9) for word in words), 0))
    assert isinstance(text, str)
    found: dict[str, Any] = json.loads(text)
    return found


# --------------------------------------------------------------------------------------------------------- setup


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_is_taken(codec: str) -> None:
    """The response names the one that Asterisk asked for, and the audio is decoded at its rate."""
    adapter = AeapAdapter({})
    found, commands = asked(adapter, setup(codec))
    assert found["codecs"] == [{"name": codec}]
    assert commands == []
    encoding, rate = CODECS[codec]
    begin, *rest = adapter.receive(bytes(5 * rate * (2 if encoding == "pcm_s16le" else 1)))
    assert begin == Start(commit="utterance")
    [audio] = rest
    assert isinstance(audio, Audio)
    assert len(audio.samples) == pytest.approx(80_000, rel=0.05)


def test_signed_linear_audio_of_another_rate() -> None:
    """Asterisk calls it "slin" at every rate: the configuration says which."""
    for adapter in (started(codec="slin", sample_rate="16000"), started({"sample_rate": "16000"}, codec="slin")):
        [audio] = adapter.receive(bytes(3_200))
        assert isinstance(audio, Audio)
        assert len(audio.samples) == 1_600


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (setup("opus"), "codec is opus, expected one of ulaw, alaw"),
        (setup(language="xx"), 'language is "xx"'),
        (setup(text="x"), "text is 'x'"),
        (setup(sample_rate="1"), "sample_rate is 1"),
        (request("setup"), "codec is None"),
        (request("setup", codecs=[{"name": ["ulaw"]}]), "codec is"),
        (request("setup", codecs={"name": "ulaw"}), "codec is"),
    ],
)
def test_a_setup_that_cannot_be_fulfilled(message: str, expected: str) -> None:
    """The response says why; Asterisk logs it and its SpeechCreate fails. Audio is not accepted."""
    adapter = AeapAdapter({})
    found, commands = asked(adapter, message)
    assert expected in found["error_msg"]
    assert commands == []


def test_audio_before_the_setup_is_an_error() -> None:
    """Its codec is unknown."""
    with pytest.raises(BadMessage, match="before the setup"):
        AeapAdapter({}).receive(AUDIO)


def test_a_second_setup_in_a_stream_is_refused() -> None:
    """The stream goes on in its codec."""
    adapter = started()
    assert "second setup" in asked(adapter, setup("slin"))[0]["error_msg"]
    [audio] = adapter.receive(bytes(8_000))
    assert isinstance(audio, Audio)
    assert len(audio.samples) > 8_000


def test_options_of_the_address_and_of_the_setup() -> None:
    """Both are there; the setup's are the newer ones."""
    adapter = AeapAdapter({"language": "en", "hotwords": "Максим, склад", "token": "secret-key-0123456789"})
    asked(adapter, setup(language="ru-RU"))
    begin, *_ = adapter.receive(AUDIO)
    assert begin == Start("ru", hotwords=("Максим", "склад"), commit="utterance")
    assert "error_msg" in asked(adapter, request("get", params=["token"]))[0]


# ------------------------------------------------------------------------------------------------- get, set, results


def test_results_are_sent_when_the_utterance_has_ended() -> None:
    """As a request with an id of its own. "results" is the only parameter: Asterisk looks at the first one."""
    adapter = started()
    found = told(adapter, "Добрый", "день!")
    result = {"text": "добрый день", "score": 90, "grammar": "", "best": 0}
    assert found == {"request": "set", "id": f"{SESSION}-1", "params": {"results": [result]}}
    assert told(adapter, "25")["params"]["results"][0]["text"] == "двадцать пять"
    assert adapter.receive(f'{{"response":"set","id":"{SESSION}-2"}}') == []


def test_text_in_other_forms() -> None:
    """As the model writes it, or with digits."""
    written = told(started({"text": "written"}), "Дом", "25.")
    digits = told(started(numbers="digits"), "Дом", "25.")
    assert [found["params"]["results"][0]["text"] for found in (written, digits)] == ["Дом 25.", "дом 25"]


def test_an_utterance_without_words_has_no_results() -> None:
    """Asterisk goes on listening."""
    adapter = started()
    assert adapter.send(events.Committed((Word(" ...", 0, 1, 0.5),), 0)) == []


def test_results_can_be_asked_for() -> None:
    """Those of the last utterance; none before it."""
    adapter = started()
    assert asked(adapter, request("get", params=["results"]))[0]["params"] == {"results": []}
    told(adapter, "раз")
    told(adapter, "два")
    [result] = asked(adapter, request("get", params=["results"]))[0]["params"]["results"]
    assert result["text"] == "два"


def test_settings_change_in_the_stream() -> None:
    """From the next decode on, and the text's form with them; what was set can be asked for."""
    adapter = started(language="ru", hotwords="склад")
    found, commands = asked(adapter, request("set", params={"language": "en"}))
    assert found == {"response": "set", "id": "1"}
    assert commands == [Configure("en", hotwords=("склад",))]
    assert told(adapter, "Room", "25.")["params"]["results"][0]["text"] == "room 25"
    assert asked(adapter, request("get", params=["language"]))[0]["params"] == {"language": "en"}


@pytest.mark.parametrize("params", [{"dtmf": "5"}, {"results_type": "nbest"}, {"anything": "else"}])
def test_settings_that_mean_nothing_here_are_accepted(params: dict[str, str]) -> None:
    """Asterisk sends them by itself, and an error would end nothing but confuse its log."""
    assert "error_msg" not in asked(started(), request("set", params=params))[0]


@pytest.mark.parametrize(
    "message",
    [
        request("set", params={"language": "xx"}),
        request("set"),
        request("get", params=["volume"]),
        request("get", params=[]),
        request("get"),
        request("bye"),
    ],
)
def test_every_request_is_answered(message: str) -> None:
    """With what is wrong. Nothing changes."""
    adapter = started()
    found, commands = asked(adapter, message)
    assert found["error_msg"]
    assert commands == []


@pytest.mark.parametrize("message", ["x", "[]", "5", ""])
def test_what_is_no_json_object_is_an_error(message: str) -> None:
    """The connection ends."""
    with pytest.raises(BadMessage):
        started().receive(message)


def test_errors_have_no_message() -> None:
    """Results were sent when they were known; the close frame says the rest."""
    assert started().fail(ShuttingDown("this worker is shutting down"), SESSION) == []


# --------------------------------------------------------------------------------------------------- any message

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["setup", "get", "set", "ulaw", "ru"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["request", "response", "id", "params", "codecs", "name", "language", "results"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(messages=st.lists(st.binary(max_size=9) | st.text(max_size=9) | _json.map(json.dumps), max_size=8))
def test_any_messages(messages: list[str | bytes]) -> None:
    """Commands in the right order or an error for the client, and a response to each request."""
    adapter = AeapAdapter({})
    taken: list[Command] = []
    for message in [setup(), *messages]:
        try:
            found = adapter.receive(message)
        except ClientError:
            return
        replies = [item for item in found if isinstance(item, Reply)]
        wanted = isinstance(message, str) and isinstance(json.loads(message).get("request"), str)
        assert len(replies) == wanted
        taken += [item for item in found if not isinstance(item, Reply)]
    assert not taken or isinstance(taken[0], Start)
    assert not any(isinstance(command, Stop) for command in taken)
