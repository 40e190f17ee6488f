"""Deepgram's protocol with the clients that people have, unmodified: Deepgram's SDKs, LiveKit's and Pipecat's."""

from pathlib import Path
from typing import Any

import pytest
import soundfile

from benchmarks.serving import Server
from tests.clients.conftest import RunClient
from tests.speech import assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

CLIENT = "deepgram"
"""The newest SDK, LiveKit's plugin and Pipecat."""

PHRASE = clip("phrase_3s")


@pytest.fixture(scope="module")
def phrase(tmp_path_factory: pytest.TempPathFactory) -> str:
    """3 s of speech."""
    path = tmp_path_factory.mktemp("audio") / "phrase.wav"
    soundfile.write(path, PHRASE.samples, 16_000, subtype="PCM_16")
    return str(path)


def said(results: list[dict[str, Any]]) -> str:
    """The final text of a stream."""
    finals = [result for result in results if result["is_final"]]
    return " ".join(final["channel"]["alternatives"][0]["transcript"] for final in finals).strip()


def check_stream(found: dict[str, Any], text: str) -> None:
    """The messages of a live stream, as objects of the SDK's own types."""
    results = found["results"]
    assert found["others"] == []
    assert_says(said(results), text)
    interims = [result for result in results if not result["is_final"]]
    assert interims
    assert all(result["channel"]["alternatives"][0]["transcript"] for result in interims)
    finals = [result for result in results if result["is_final"]]
    assert [result["from_finalize"] for result in finals].count(True) == 1
    assert any(result["speech_final"] for result in finals)
    words = [word for result in finals for word in result["channel"]["alternatives"][0]["words"]]
    assert all(0 < word["confidence"] <= 1 and word["punctuated_word"] for word in words)
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert found["started"] >= 1
    assert len(found["ended"]) == 1
    assert found["ended"][0] == pytest.approx(words[-1]["end"])


def check_file(answer: dict[str, Any], text: str) -> None:
    [channel] = answer["results"]["channels"]
    assert_says(channel["alternatives"][0]["transcript"], text)
    assert answer["metadata"]["channels"] == 1


def test_the_newest_sdk(server: Server, run_client: RunClient, phrase: str) -> None:
    """A stream with all its messages, and a file."""
    found = run_client(CLIENT, "deepgram_live", server.url, phrase)
    assert int(found["version"].split(".")[0]) >= 7
    check_stream(found["live"], PHRASE.text)
    (success, changed), (failure, refused) = found["live"]["configured"]
    assert (success, changed["keyterms"]) == ("ListenV1ConfigureSuccess", ["абонент", "голосовой ящик"])
    assert (failure, refused["code"]) == ("ListenV1ConfigureFailure", "CONFIGURE_KEYTERM_LIMIT_EXCEEDED")
    assert found["live"]["metadata"]["duration"] == pytest.approx(len(PHRASE.samples) / 16_000 + 1.5, abs=0.2)
    check_file(found["file"], PHRASE.text)
    assert_says(" ".join(one["transcript"] for one in found["file"]["results"]["utterances"]), PHRASE.text)


def test_the_sdk_that_many_programs_still_have(server: Server, run_client: RunClient, phrase: str) -> None:
    """Version 4: the same."""
    found = run_client("deepgram4", "deepgram_live_4", server.url, phrase)
    assert found["version"].startswith("v4.")
    check_stream(found["live"], PHRASE.text)
    assert len(found["live"]["metadata"]) == 1
    assert found["live"]["closed"]
    check_file(found["file"], PHRASE.text)


def test_livekit(server: Server, run_client: RunClient, phrase: str) -> None:
    """LiveKit's STT class gets the beginning and the end of speech, interim and final text; and a recording at once."""
    found = run_client(CLIENT, "deepgram_livekit", f"{server.url}/v1/listen", phrase)
    assert_says(" ".join(found["finals"]), PHRASE.text)
    assert_says(found["recognized"], PHRASE.text)
    assert found["interims"]
    kinds = [kind for kind in found["kinds"] if kind.endswith("of_speech")]
    assert kinds[:2] == ["start_of_speech", "end_of_speech"]
    assert kinds.count("start_of_speech") == kinds.count("end_of_speech")
    assert all(start < end and 0 < confidence <= 1 for start, end, confidence, _ in found["words"])
    assert {language for *_, language in found["words"]} == {"ru"}


def test_pipecat(server: Server, run_client: RunClient, tmp_path: Path) -> None:
    """Pipecat's service asks for the rest of the text when its own detector hears a pause, and knows it as such."""
    path = tmp_path / "phrase.wav"
    speech_end = round((PHRASE.words[-1].end_s + 0.1) * 16_000)
    soundfile.write(path, PHRASE.samples[:speech_end], 16_000, subtype="PCM_16")
    found = run_client(CLIENT, "deepgram_pipecat", server.url.replace("http", "ws", 1), str(path))
    assert not found["errors"]
    assert_says(" ".join(found["finals"]), PHRASE.text)
    assert found["interims"]
    assert found["finalized"][-1]
