"""WhisperLiveKit's own clients, from its package, with real speech: its page in Chromium, and its headless client."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, WebSocketRoute, expect, sync_playwright

from benchmarks.serving import running_server
from tests.browser.test_page import MICROPHONE_FLAGS, QUIET_FLAGS, WAIT_MS
from tests.clients.conftest import RunClient
from tests.microphone import write_microphone_file
from tests.speech import DATA, assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

PHRASE = clip("phrase_3s")
EBML = b"\x1a\x45\xdf\xa3"
"""How WebM begins."""

LEAD_S = 1.0
"""Silence before the clip: the browser plays it from the moment the page asks for the microphone."""


@pytest.fixture(scope="module")
def html(run_client: RunClient) -> str:
    text: str = run_client("whisperlivekit", "whisperlivekit_page")
    return text


@pytest.fixture(scope="module")
def site(html: str) -> Iterator[str]:
    """The URL of another site, which has the page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode() if self.path == "/" else b"")

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


@pytest.fixture(scope="module")
def address(base_model: Path, site: str) -> Iterator[str]:
    """Of the server's socket, to which pages of ``site`` may connect."""
    with running_server(1, WLK_MAX_SESSIONS="8", WLK_ALLOWED_ORIGINS=site) as server:
        yield server.ws_url.replace("/ws", "/asr?language=ru")


@pytest.mark.parametrize("mode", ["full", "diff"])
def test_the_headless_client(address: str, run_client: RunClient, mode: str) -> None:
    """A file as raw audio; the client puts the text together from the lines.

    In ``diff`` mode this client appends a line that has changed to the lines before, so its last line is looked at.
    """
    found = run_client("whisperlivekit", "whisperlivekit_client", str(DATA / "phrase_3s.flac"), address, mode)
    assert found["updates"] > 0
    assert set(found["statuses"]) <= {"active_transcription", "no_audio_detected"}
    assert_says(found["lines"][-1]["text"], PHRASE.text)
    if mode == "full":
        assert_says(found["committed"], PHRASE.text)


# ------------------------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phrase in the format of Chromium's fake microphone."""
    return write_microphone_file(tmp_path_factory.mktemp("microphone") / "phrase.wav", "phrase_3s", LEAD_S)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


def browser(playwright: Playwright, microphone_file: Path) -> Browser:
    """A new one each time: it plays the file once."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable is not None, "Chromium is not installed: bash install.sh test installs it"
    microphone = f"--use-file-for-fake-audio-capture={microphone_file}%noloop"
    return playwright.chromium.launch(executable_path=executable, args=[*QUIET_FLAGS, *MICROPHONE_FLAGS, microphone])


def ask_for_media(page: Page) -> list[bytes]:
    """Changes ``config`` on its way, so that the page sends what its MediaRecorder makes: WebM with Opus. Returns the
    list that gets what the page sends.
    """
    sent: list[bytes] = []

    def connect(route: WebSocketRoute) -> None:
        upstream = route.connect_to_server()

        def to_page(message: str | bytes) -> None:
            if isinstance(message, str) and '"useAudioWorklet"' in message:
                message = json.dumps(json.loads(message) | {"useAudioWorklet": False})
            route.send(message)

        def to_server(message: str | bytes) -> None:
            assert isinstance(message, bytes)
            sent.append(message)
            upstream.send(message)

        upstream.on_message(to_page)
        route.on_message(to_server)

    page.route_web_socket("**/asr*", connect)
    return sent


@pytest.mark.browser
@pytest.mark.parametrize("audio", ["pcm", "webm"])
def test_its_own_page(address: str, site: str, playwright: Playwright, microphone_file: Path, audio: str) -> None:
    """The page is told another address in its settings, and nothing else. Spoken Russian appears, and the page finishes
    in its own way. It sends PCM if the server's ``config`` says so, and a media file otherwise.
    """
    launched = browser(playwright, microphone_file)
    context = launched.new_context()
    context.grant_permissions(["microphone"])
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    media = ask_for_media(page) if audio == "webm" else None
    page.goto(site)
    page.locator("#settingsToggle").click()
    page.locator("#websocketInput").fill(address)
    page.locator("#websocketInput").blur()
    status = page.locator("#status")
    expect(status).to_contain_text("WebSocket URL updated")
    page.locator("#recordButton").click()
    end_s = int(LEAD_S + PHRASE.words[-1].end_s) + 2
    page.wait_for_function(f"() => document.querySelector('.timer').textContent >= '00:{end_s:02}'")
    page.locator("#recordButton").click()
    expect(status).to_have_text("Finished processing audio! Ready to record again.", timeout=WAIT_MS)
    said = page.locator("#linesTranscript .textcontent").all_text_contents()
    launched.close()
    assert complaints == []
    assert media is None or (media[0].startswith(EBML) and b"" in media)
    assert_says(" ".join(said), PHRASE.text)
