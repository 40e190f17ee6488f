"""The answer for a file."""

import json
from dataclasses import replace
from typing import Any

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.wire.deepgram import model_uuid
from whisperlivekit.wire.deepgram_file import FileBody, file_body
from whisperlivekit.wire.deepgram_options import Options
from whisperlivekit.wire.openai_rest import Passage, Transcription

WORDS = (Word(" Кто", 0, 8_000, 0.5), Word("-то", 8_000, 12_000, 0.8), Word(" здесь?", 12_000, 20_000, 1.0))
LATER = (Word(" Нет.", 40_000, 48_000, 0.9),)
FILE = Transcription((Passage(WORDS), Passage(LATER)), 64_000, "ru")


def answer(result: Transcription = FILE, **options: Any) -> dict[str, Any]:
    body = file_body(result, Options(**options), "base", "7f3a9c21d0e84b56", "2026-11-29T10:46:13.000Z")
    FileBody.model_validate_json(body)
    found: dict[str, Any] = json.loads(body)
    return found


def test_the_transcript() -> None:
    """Its words, and the totals; punctuation only if it was asked for."""
    body = answer()
    assert body["results"] == {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "кто-то здесь нет",
                        "confidence": 0.8,
                        "words": [
                            {"word": "кто-то", "start": 0.0, "end": 0.75, "confidence": 0.5},
                            {"word": "здесь", "start": 0.75, "end": 1.25, "confidence": 1.0},
                            {"word": "нет", "start": 2.5, "end": 3.0, "confidence": 0.9},
                        ],
                    }
                ]
            }
        ]
    }
    assert body["metadata"] == {
        "transaction_key": "deprecated",
        "request_id": "7f3a9c21d0e84b56",
        "sha256": "",
        "created": "2026-11-29T10:46:13.000Z",
        "duration": 4.0,
        "channels": 1,
        "models": [model_uuid("base")],
        "model_info": {model_uuid("base"): {"name": "base", "version": "", "arch": "whisper"}},
    }
    [channel] = answer(punctuated=True)["results"]["channels"]
    assert channel["alternatives"][0]["transcript"] == "Кто-то здесь? Нет."


def test_utterances_end_at_pauses() -> None:
    """Only if they were asked for."""
    utterances = answer(utterances=True)["results"]["utterances"]
    assert [(each["transcript"], each["start"], each["end"], each["channel"]) for each in utterances] == [
        ("кто-то здесь", 0.0, 1.25, 0), ("нет", 2.5, 3.0, 0)
    ]  # fmt: skip
    assert len({each["id"] for each in utterances}) == 2


def test_the_language_that_was_detected() -> None:
    """Only if it was to be detected."""
    assert answer(language="auto")["results"]["channels"][0]["detected_language"] == "ru"
    assert "detected_language" not in answer(language="ru")["results"]["channels"][0]


def test_each_channel_has_a_transcript() -> None:
    """Utterances of both are in the order in which they begin."""
    two = Transcription((Passage(LATER, channel=1), Passage(WORDS)), 64_000, "ru", channels=2)
    body = answer(two, utterances=True)
    transcripts = [channel["alternatives"][0]["transcript"] for channel in body["results"]["channels"]]
    assert transcripts == ["кто-то здесь", "нет"]
    assert [each["channel"] for each in body["results"]["utterances"]] == [0, 1]
    assert body["metadata"]["channels"] == 2


def test_a_file_without_speech() -> None:
    """An empty transcript with every field."""
    body = answer(replace(FILE, passages=(), language=None), utterances=True, language="auto")
    [channel] = body["results"]["channels"]
    assert channel == {"alternatives": [{"transcript": "", "confidence": 0.0, "words": []}]}
    assert body["results"]["utterances"] == []
