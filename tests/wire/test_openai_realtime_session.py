"""The session that a client of OpenAI's Realtime API configures."""

import json
from typing import Any

import pytest

from tests.wire.realtime_conversations import EXPIRES_AT, SESSION, adapter, append, configured, receive, update
from whisperlivekit.core.commands import Configure, Start
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.openai_realtime import OpenAIRealtimeAdapter


def test_a_session_is_created_with_every_field() -> None:
    """Typed clients want all of them."""
    [created] = OpenAIRealtimeAdapter(model="base", silence_s=0.4, expires_at=EXPIRES_AT).open(SESSION)
    assert isinstance(created, Reply)
    message = json.loads(created.message)
    assert message["event_id"]
    assert message["session"] == {
        "id": f"sess_{SESSION}",
        "object": "realtime.transcription_session",
        "type": "transcription",
        "expires_at": EXPIRES_AT,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {
                    "model": "base",
                    "language": None,
                    "languages": None,
                    "prompt": None,
                    "keywords": None,
                    "delay": None,
                },
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 400,
                    "idle_timeout_ms": None,
                },
            }
        },
        "include": None,
    }


def test_an_absent_field_keeps_its_value_and_null_resets_it() -> None:
    """Also inside the parts of the configuration."""
    session = adapter()
    configured(
        session,
        format={"type": "audio/pcma"},
        transcription={"language": "ru", "prompt": "Склад"},
        noise_reduction={"type": "near_field"},
        turn_detection={"type": "server_vad", "silence_duration_ms": 700},
    )
    found = configured(session, transcription={"language": None}, turn_detection={"threshold": 0.7})
    assert found["format"] == {"type": "audio/pcma"}
    assert (found["transcription"]["language"], found["transcription"]["prompt"]) == (None, "Склад")
    assert (found["turn_detection"]["threshold"], found["turn_detection"]["silence_duration_ms"]) == (0.7, 700)
    assert found["noise_reduction"] == {"type": "near_field"}
    found = configured(session, turn_detection=None, transcription=None, noise_reduction=None, format=None)
    assert (found["turn_detection"], found["noise_reduction"]) == (None, None)
    assert (found["transcription"]["prompt"], found["format"]["rate"]) == (None, 24_000)


def test_options_reach_the_decoder() -> None:
    """Before the first audio with ``Start``, later with ``Configure``."""
    session = adapter()
    receive(
        session,
        update(
            transcription={"model": "x", "language": "ru_RU", "prompt": "Склад", "keywords": [" Максим ", ""]},
            turn_detection={"type": "server_vad", "silence_duration_ms": 350},
        ),
    )
    [start, _], _ = receive(session, append())
    assert start == Start("ru", "Склад", ("Максим",), silence_s=0.35)
    [configure], _ = receive(session, update(transcription={"language": "", "languages": ["ru", "en"]}))
    assert configure == Configure("auto", "Склад", ("Максим",), 0.35)
    assert receive(session, update(noise_reduction={"type": "far_field"}))[0] == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"language": "ru"}, "ru"),
        ({"language": "RU-ru"}, "ru"),
        ({"language": ""}, None),
        ({"languages": ["ru"]}, "ru"),
        ({"languages": ["ru", "ru-RU"]}, "ru"),
        ({"languages": ["ru", "kk"]}, "auto"),
        ({"languages": []}, None),
        ({}, None),
    ],
)
def test_the_language(asked: dict[str, Any], found: str | None) -> None:
    """One language is taken; of several, the server detects which one it is; none means the server's default."""
    session = adapter()
    receive(session, update(transcription=asked))
    [start, _], _ = receive(session, append())
    assert isinstance(start, Start)
    assert start.language == found


@pytest.mark.parametrize(("asked", "used"), [(0, 100), (199.6, 200), (500, 500), (1e9, 5_000), (None, 500)])
def test_the_silence_is_bounded(asked: float | None, used: int) -> None:
    """What is used is told."""
    found = configured(adapter(), turn_detection={"type": "server_vad", "silence_duration_ms": asked})
    assert found["turn_detection"]["silence_duration_ms"] == used


def test_what_would_be_too_much_is_cut() -> None:
    """A long prompt keeps its end; keywords that are too many or too long are ignored."""
    keywords = ["а" * 65, *(f"слово{number}" for number in range(200))]
    found = configured(adapter(), transcription={"prompt": "а" * 2_000 + "я", "keywords": keywords})["transcription"]
    assert (len(found["prompt"]), found["prompt"][-1]) == (1_000, "я")
    assert (len(found["keywords"]), found["keywords"][0]) == (100, "слово0")


def test_unknown_options_are_accepted() -> None:
    """Fields that OpenAI adds later, models, ``semantic_vad``, ``include``: a client must not fail because of them."""
    session = adapter()
    message = update(
        ["item.input_audio_transcription.logprobs", "something.new"],
        transcription={"model": "gpt-9-transcribe", "delay": "minimal", "temperature": 1},
        turn_detection={"type": "semantic_vad", "eagerness": "high", "interrupt_response": True},
    )
    message["session"]["type"] = "realtime"
    _, [answer] = receive(session, message)
    assert answer["type"] == "session.updated"
    assert answer["session"]["include"] == ["item.input_audio_transcription.logprobs"]
    assert answer["session"]["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "high"}
    assert receive(session, {"type": "session.update", "session": {}})[1][0]["session"] == answer["session"]
    assert receive(session, update([]))[1][0]["session"]["include"] is None


# ------------------------------------------------------------------------------------------------------------ audio
