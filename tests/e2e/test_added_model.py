"""A model of the operator's own serves like a pinned one: added under another name, loaded, named to clients."""

import shutil
from pathlib import Path

import httpx
import pytest

from benchmarks.client import Native, play, read_sound
from benchmarks.serving import running_server
from tests.conftest import ROOT
from tests.model_hub import Told
from tests.speech import DATA, assert_says, clip
from whisperlivekit.admin.add import add, parse_source

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]


async def test_an_added_model_serves(tmp_path: Path, base_model: Path) -> None:
    """The files of base under another name transcribe a file and a stream. /metrics, which /status shows, names it."""
    models = tmp_path / "models"
    told = Told()
    add(parse_source(str(base_model)), "our-base", models, tmp_path / "cache", report=told.report, say=told.say)
    shutil.copytree(ROOT / "models" / "silero_vad", models / "silero_vad")
    with running_server(WLK_MODEL="our-base", WLK_MODEL_DIR=str(models)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            phrase = {"file": ("phrase.flac", (DATA / "phrase_3s.flac").read_bytes())}
            answer = await client.post("/v1/audio/transcriptions", files=phrase)
            metrics = await client.get("/metrics")
        assert answer.status_code == 200
        assert_says(answer.json()["text"], clip("phrase_3s").text)
        sound = read_sound(DATA / "phrase_3s.flac")
        recording = await play(server.ws_url, Native(sound.rate, language="ru"), sound, pace=None)
        assert_says(recording.committed, clip("phrase_3s").text)
        assert recording.of_type("ready")[0]["model"] == "our-base"
        assert metrics.text.count('model="our-base"') == 1
