"""The page in a real browser: with a Russian clip and the real server, otherwise with a scripted server.

Long because each thing that a person does with the page is a test.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Download, Page, Playwright, expect, sync_playwright

from benchmarks.scoring import count_errors
from benchmarks.serving import running_server
from tests.browser.scripted_server import ScriptedServer, Visit
from tests.microphone import write_microphone_file
from tests.server.scripted import scripted_server

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
LEAD_S = 1.0
"""Silence before the clip: the browser plays it from the moment the page asks for the microphone."""

WAIT_MS = 60_000
"""Every wait is for a condition and ends as soon as it holds. The limit is far above what the slowest machine needs."""

expect.set_options(timeout=WAIT_MS)

pytestmark = pytest.mark.browser

QUIET_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--no-first-run",
    "--host-resolver-rules=MAP speech.test 127.0.0.1",
    "--no-pings",
    "--autoplay-policy=no-user-gesture-required",
)
MICROPHONE_FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

Open = Callable[..., Page]


def clip_words(name: str = "prompts_24s") -> list[tuple[str, float]]:
    """The words of the clip as the browser plays it, and about when each ends."""
    return [(word, end_s + LEAD_S) for word, end_s in json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))]


@pytest.fixture(scope="session")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip in the format of Chromium's fake microphone: a WAV file."""
    return write_microphone_file(tmp_path_factory.mktemp("microphone") / "clip.wav", "prompts_24s", LEAD_S)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def launch(playwright: Playwright) -> Iterator[Callable[..., Browser]]:
    """Starts a browser with the given flags."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable is not None, "Chromium is not installed: bash install.sh test installs it"
    browsers: list[Browser] = []

    def start(*flags: str) -> Browser:
        browsers.append(playwright.chromium.launch(executable_path=executable, args=[*QUIET_FLAGS, *flags]))
        return browsers[-1]

    yield start
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="module")
def beeping(launch: Callable[..., Browser]) -> Browser:
    """A browser whose microphone beeps, for tests with the scripted server, which does not listen."""
    return launch(*MICROPHONE_FLAGS)


@pytest.fixture
def open_page(beeping: Browser) -> Iterator[Open]:
    """Opens a page that may use the microphone. The test fails if a script throws or the CSP blocks something."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def start(
        url: str,
        *,
        language: str | None = "ru",
        script: str = "",
        browser: Browser = beeping,
        width: int = 1280,
        height: int = 800,
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
        if language is not None:
            context.add_init_script(f"localStorage.setItem('speech.page', '{language}')")
        if script:
            context.add_init_script(script)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None,
        )
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []


def committed_text(page: Page) -> str:
    return "".join(page.locator("#log .committed").all_text_contents()).strip()


def watch_log(page: Page) -> None:
    """Records the transcript after every change, so that a test can check the order of changes afterwards."""
    page.evaluate(
        """() => {
            const log = document.getElementById("log");
            const text = (name) => [...log.querySelectorAll(name)].map((node) => node.textContent).join("");
            window.history_ = [];
            new MutationObserver(() => window.history_.push([text(".committed"), text(".partial")])).observe(log, {
                childList: true, subtree: true, characterData: true,
            });
        }"""
    )


def seen(page: Page) -> list[tuple[str, str]]:
    """Committed and partial text after each change."""
    return [(committed, partial) for committed, partial in page.evaluate("() => window.history_")]


def assert_promises(history: list[tuple[str, str]]) -> None:
    """Committed text only grew at its end, and partial text was shown before the first committed words."""
    for (before, _), (after, _) in pairwise(history):
        assert after.startswith(before)
    first_partial = next(index for index, (_, partial) in enumerate(history) if partial)
    first_committed = next(index for index, (committed, _) in enumerate(history) if committed)
    assert first_partial < first_committed


@pytest.mark.model
@pytest.mark.slow
def test_russian_speech_is_read_on_the_page(
    open_page: Open, launch: Callable[..., Browser], microphone_file: Path
) -> None:
    """Through the real server, spoken Russian appears as partial text first, is never revised, and has few errors."""
    words = clip_words()
    with running_server(workers=1) as server:
        # A browser of its own: each plays the file once.
        browser = launch(*MICROPHONE_FLAGS, f"--use-file-for-fake-audio-capture={microphone_file}%noloop")
        page = open_page(f"{server.url}/", browser=browser)
        watch_log(page)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#state")).to_have_text(re.compile("Слушаю|Слышу речь"))
        if os.environ.get("UPDATE_SCREENSHOT") == "1":
            page.set_viewport_size({"width": 1120, "height": 620})
            page.wait_for_timeout(17_000)
            page.wait_for_function("() => document.querySelector('#log .partial')?.textContent")
            page.screenshot(path=str(ROOT / "docs" / "screenshot.png"))
        page.wait_for_function(f"() => document.getElementById('timer').textContent >= '0:{int(words[-1][1]) + 2}'")
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        expect(page.locator("#notice")).to_be_hidden()
        history = seen(page)
        text = committed_text(page)
    assert_promises(history)
    errors = count_errors([word for word, _ in words], text)
    assert errors.wer < 0.30, f"WER {errors.wer:.2f}: {text}"


@pytest.mark.model
@pytest.mark.slow
def test_killed_worker_costs_no_words(open_page: Open, launch: Callable[..., Browser], microphone_file: Path) -> None:
    """A worker that dies while somebody speaks is replaced, and the page sends the new one all it still needs."""
    words = clip_words()
    with running_server(workers=1) as server:
        browser = launch(*MICROPHONE_FLAGS, f"--use-file-for-fake-audio-capture={microphone_file}%noloop")
        page = open_page(f"{server.url}/", browser=browser)
        watch_log(page)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#log .committed").nth(2)).to_be_visible()
        for worker in server.workers():
            worker.kill()
        expect(page.locator("#dock")).to_have_attribute("data-tone", "warn")
        page.wait_for_function(f"() => document.getElementById('timer').textContent >= '0:{int(words[-1][1]) + 2}'")
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        expect(page.locator("#log .gap")).to_have_count(0)
        history = seen(page)
        text = committed_text(page)
    assert_promises(history)
    errors = count_errors([word for word, _ in words], text)
    assert errors.wer < 0.30, f"WER {errors.wer:.2f}: {text}"


def test_words_and_saved_files(open_page: Open) -> None:
    """Words of the server appear on the page, and can be copied and saved as text and as subtitles."""
    with ScriptedServer(clip_words()[:6]) as server:
        page = open_page(server.url)
        watch_log(page)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#log .committed").first).to_contain_text("все")
        expect(page.get_by_label("Источник звука")).to_be_disabled()
        expect(page.locator("#lag")).to_have_text(re.compile(r"отставание \d,\d с"))
        expect(page.locator("#log .committed").last).to_contain_text("оставайтесь")
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        assert_promises(seen(page))
        text = "все наши операторы заняты пожалуйста оставайтесь"
        assert committed_text(page) == text
        expect(page.locator("#log .partial")).to_have_count(0)

        def saved(kind: str) -> tuple[str, str]:
            with page.expect_download() as waiting:
                page.get_by_role("button", name=f"Скачать как {kind}").click()
            download: Download = waiting.value
            return download.suggested_filename, Path(download.path()).read_text(encoding="utf-8")

        name, content = saved("TXT")
        assert re.fullmatch(r"transcript-\d{4}-\d\d-\d\d-\d{4}\.txt", name)
        assert content == f"{text}\n"
        assert saved("SRT")[1].startswith("1\n00:00:0")
        assert saved("VTT")[1].startswith("WEBVTT\n\n00:00:0")
        page.get_by_role("button", name="Копировать").click()
        expect(page.locator("#copy-text")).to_have_text("Скопировано")
        assert page.evaluate("() => navigator.clipboard.readText()") == f"{text}\n"
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Очистить").click()
        expect(page.locator("#empty")).to_be_visible()
        expect(page.get_by_role("button", name="Скачать как TXT")).to_be_disabled()
    record = server.records[0]
    assert record.start == {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16000, "language": "ru"}
    assert record.stopped


STEREO_TAB = """
navigator.mediaDevices.getDisplayMedia = async () => {
    const context = new AudioContext();
    const merger = context.createChannelMerger(2);
    for (const [channel, from, to] of [[0, 0.5, 2.0], [1, 3.5, 5.0]]) {
        const volume = new GainNode(context, { gain: 0 });
        volume.gain.setValueAtTime(0.5, context.currentTime + from);
        volume.gain.setValueAtTime(0, context.currentTime + to);
        const tone = new OscillatorNode(context);
        tone.connect(volume).connect(merger, 0, channel);
        tone.start();
    }
    const output = context.createMediaStreamDestination();
    merger.connect(output);
    return output.stream;
};
"""
"""In place of a tab, which a browser without a screen cannot share: a tone on the left, then one on the right."""


def test_stereo_sound_of_a_tab_is_a_dialogue(open_page: Open) -> None:
    """The words of each channel are the paragraph of a speaker, on the page and in the saved text."""
    with scripted_server() as server:
        page = open_page(f"{server.url}/", script=STEREO_TAB)
        page.get_by_label("Источник звука").select_option(label="Вкладка, стерео: два говорящих…")
        page.locator("#record").click()
        expect(page.locator("#log .paragraph")).to_have_count(2)
        page.wait_for_function("() => document.getElementById('timer').textContent >= '0:06'")
        page.locator("#record").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        said = [paragraph.inner_text() for paragraph in page.locator("#log .paragraph p").all()]
        assert [text[:3] for text in said] == ["1: ", "2: "]
        assert all(len(text.split()) >= 3 for text in said), said
        expect(page.locator("#log .partial")).to_have_count(0)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Скачать как TXT").click()
        download: Download = waiting.value
        assert Path(download.path()).read_text(encoding="utf-8") == "\n\n".join(said) + "\n"
        assert server.service.admission.open_streams == 0


def test_second_recording_continues_the_text(open_page: Open) -> None:
    """A second recording keeps the text of the first and goes on counting time."""
    with ScriptedServer([("раз", 1.0)]) as server:
        page = open_page(server.url)
        for count in (1, 2):
            page.locator("#record").click()
            expect(page.locator("#log .committed")).to_have_count(count)
            page.locator("#record").click()
            expect(page.locator("#state")).to_have_text("Запись закончена")
        expect(page.locator("#log .paragraph")).to_have_count(2)
        times = page.locator("#log .time").all_text_contents()
        assert times[0] == "0:00"
        assert times[1] > times[0]


def test_lost_server_is_resumed_without_losing_or_repeating_a_word(open_page: Open) -> None:
    """After a connection cut in the middle of a sentence and a draining worker, no word is missing or repeated."""
    words = clip_words()[:14]
    visits = [Visit(lose_at_s=4.0), Visit(drain_at_s=6.5), Visit()]
    with ScriptedServer(words, visits) as server:
        page = open_page(server.url)
        watch_log(page)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#log .committed").last).to_contain_text(words[-1][0])
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        assert committed_text(page) == " ".join(word for word, _ in words)
        assert_promises(seen(page))
        expect(page.locator("#log .gap")).to_have_count(0)
    assert len(server.records) == 3
    assert "resume" not in server.records[0].start
    first, second = (record.start["resume"] for record in server.records[1:])
    assert first["session"] == second["session"] == "scripted"
    assert 0 < first["position"] < second["position"]
    assert all(word["text"].startswith(" ") for word in second["words"])


def test_server_that_goes_is_reported_and_found_again(open_page: Open) -> None:
    """If the server goes, the page says so in Russian, keeps the audio, and continues when the server is back."""
    words = clip_words()[:14]
    with ScriptedServer(words) as server:
        page = open_page(server.url)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#log .committed").last).to_contain_text(words[1][0])
    notice = page.locator("#notice")
    expect(notice).to_contain_text("Сервер недоступен")
    expect(notice).to_contain_text(re.compile(r"Следующая попытка через \d+ с"))
    with page.expect_event("websocket"):
        page.get_by_role("button", name="Подключиться сейчас").click()
    with ScriptedServer(words, port=server.port) as again:
        expect(page.locator("#log .committed").last).to_contain_text(words[-1][0])
        expect(notice).to_be_hidden()
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#state")).to_have_text("Запись закончена")
        assert committed_text(page) == " ".join(word for word, _ in words)
    assert again.records[0].start["resume"]["session"] == "scripted"


def test_server_that_is_gone_before_the_start_is_reported(open_page: Open) -> None:
    """Starting without a server reports the server, not the microphone, and releases the microphone."""
    with ScriptedServer([]) as server:
        page = open_page(server.url)
    page.get_by_role("button", name="Начать").click()
    expect(page.locator("#notice")).to_contain_text("Сервер не отвечает")
    expect(page.get_by_role("button", name="Начать")).to_be_enabled()


def test_loading_model_is_waited_for(open_page: Open) -> None:
    """The page says that the model is loading, and continues by itself when it is loaded."""
    with ScriptedServer([("раз", 1.0)]) as server:
        server.loading = True
        page = open_page(server.url)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#notice")).to_contain_text("модель загружается")
        expect(page.locator("#state")).to_have_text("Модель загружается…")
        server.loading = False
        expect(page.locator("#log .committed")).to_have_text("раз")


def test_full_server_is_tried_again(open_page: Open) -> None:
    """The page says that the server is full, and tries again until it is not."""
    with ScriptedServer([("раз", 1.0)], [Visit(error=("server_full", 1013))]) as server:
        page = open_page(server.url, language="en")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#notice")).to_contain_text("The server is full")
        server.visits = [Visit()]
        expect(page.locator("#log .committed")).to_have_text("раз")
        expect(page.locator("#notice")).to_be_hidden()


def test_final_error_ends_the_recording_with_the_reason(open_page: Open) -> None:
    """An error that another attempt would meet again ends the recording and says what to do."""
    with ScriptedServer([], [Visit(error=("timed_out", 1008))]) as server:
        page = open_page(server.url)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#notice")).to_contain_text("Сервер завершил сеанс")
        expect(page.get_by_role("button", name="Начать")).to_be_enabled()
        page.get_by_role("button", name="Закрыть сообщение").click()
        expect(page.locator("#notice")).to_be_hidden()
    assert len(server.records) == 1


def test_key_is_asked_for_before_anybody_speaks(open_page: Open) -> None:
    """With keys set, the page asks for one when it is opened, says if it is wrong, and works with the right one."""
    with ScriptedServer([("раз", 1.0)]) as server:
        server.key = "0123456789abcdef"
        page = open_page(server.url)
        notice, key = page.locator("#notice"), page.locator("#key")
        expect(notice).to_contain_text("Нужен ключ доступа")
        key.fill("ключ")
        key.press("Enter")
        assert not key.evaluate("(input) => input.checkValidity()")
        key.fill("another-key-12345")
        key.press("Enter")
        expect(notice).to_contain_text("Ключ доступа не подошёл")
        key.fill(server.key)
        page.get_by_role("button", name="Сохранить ключ").click()
        expect(notice).to_be_hidden()
        assert server.key not in page.url
        page.keyboard.press("Enter")  # the record button has the focus
        expect(page.locator("#log .committed")).to_have_text("раз")


def test_key_is_kept_for_the_tab_and_on_the_device_only_if_wanted(open_page: Open) -> None:
    """A reload keeps the key; another tab has it only if "remember" was chosen; deleting it removes it everywhere."""
    with ScriptedServer([]) as server:
        server.key = "0123456789abcdef"
        page = open_page(f"{server.url}#key={server.key}")
        expect(page.locator("#key-open")).to_be_visible()
        assert page.url == server.url, "the address bar must not show the key"
        page.reload()
        expect(page.locator("#key-open")).to_be_visible()
        expect(page.locator("#notice")).to_be_hidden()
        other = page.context.new_page()
        other.goto(server.url)
        expect(other.locator("#notice")).to_contain_text("Нужен ключ доступа")
        other.locator("#key").fill(server.key)
        other.get_by_label("Запомнить на этом устройстве").check()
        other.locator("#key").press("Enter")
        expect(other.locator("#notice")).to_be_hidden()
        third = page.context.new_page()
        third.goto(server.url)
        third.locator("#key-open").click()
        third.get_by_role("button", name="Удалить ключ").click()
        expect(third.locator("#notice")).to_contain_text("Нужен ключ доступа")
        assert third.evaluate("() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]") == ["speech.page"]


def test_key_in_a_link_works(open_page: Open) -> None:
    """A link with the key opens a page that can record, also with characters that a subprotocol cannot have."""
    with scripted_server(api_keys="abc/def+0123456=", gunicorn_workers=1) as server:
        page = open_page(f"{server.url}/#key=abc/def+0123456=")
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#state")).to_have_text(re.compile("Слушаю|Слышу речь"))
        page.get_by_role("button", name="Остановить").click()
        expect(page.locator("#dock")).to_have_attribute("data-phase", "idle")
        expect(page.locator("#notice")).to_be_hidden()


def test_denied_microphone_is_explained(launch: Callable[..., Browser]) -> None:
    """If the microphone is denied, the page says where to allow it."""
    with ScriptedServer([]) as server:
        browser = launch("--use-fake-device-for-media-stream", "--deny-permission-prompts")
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#notice")).to_contain_text("Нет разрешения на микрофон")
        expect(page.get_by_role("button", name="Начать")).to_be_enabled()
    assert server.records == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("NotFoundError", "Микрофон не найден"),
        ("NotReadableError", "Микрофон занят"),
        ("TypeError", "Не удалось включить звук"),
    ],
)
def test_microphone_that_fails_is_explained(open_page: Open, error: str, text: str) -> None:
    """Errors of devices are explained. They are thrown by a script, because a test machine has no device that fails."""
    throw = f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}') }}"
    with ScriptedServer([]) as server:
        page = open_page(server.url, script=throw)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#notice")).to_contain_text(text)
        expect(page.get_by_role("button", name="Начать")).to_be_enabled()
    assert server.records == []


def test_insecure_page_says_that_it_needs_https(open_page: Open) -> None:
    """Over http from another machine there is no microphone, and the page says why as soon as it is opened."""
    with ScriptedServer([]) as server:
        page = open_page(f"http://speech.test:{server.port}/")
        expect(page.locator("#notice")).to_contain_text("не по https")
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#notice")).to_contain_text("не по https")


def test_new_text_does_not_move_a_reader_who_scrolled_back(open_page: Open) -> None:
    """New text scrolls the page only while its reader is at the end; a button leads back there."""
    words = [(f"слово{index}", 0.5 + 0.05 * index) for index in range(1200)]
    committed = "() => document.querySelectorAll('#log .committed').length"
    with ScriptedServer(words) as server:
        page = open_page(server.url, width=390, height=600)
        page.get_by_role("button", name="Начать").click()
        expect(page.locator("#log")).to_contain_text("слово100 ")
        at_end = """() => {
            const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroller");
            return scrollHeight - scrollTop - clientHeight < 4;
        }"""
        assert page.evaluate(at_end)
        # As a reader does who keeps scrolling: new text may arrive between one scroll and its event.
        scroll_back = (
            "document.getElementById('scroller').scrollTop = 0; return !document.getElementById('to-end').hidden"
        )
        page.wait_for_function(f"() => {{ {scroll_back} }}", polling=200)
        count = page.evaluate(committed)
        page.wait_for_function(f"() => ({committed})() > {count} + 5")
        assert page.locator("#scroller").evaluate("(scroller) => scroller.scrollTop") == 0
        page.get_by_role("button", name="К новому тексту").click()
        page.wait_for_function(at_end)
        expect(page.locator("#to-end")).to_be_hidden()


def test_page_speaks_english_and_remembers_it(open_page: Open) -> None:
    """Russian is the default; the choice of English is kept over a reload."""
    with ScriptedServer([]) as server:
        page = open_page(server.url, language=None)
        expect(page).to_have_title("Речь в текст")
        page.get_by_role("button", name="Eng").click()
        expect(page).to_have_title("Speech to text")
        expect(page.get_by_label("Spoken language")).to_have_value("ru")
        assert page.evaluate("() => document.documentElement.lang") == "en"
        page.reload()
        expect(page.get_by_role("button", name="Start")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_cut_off(open_page: Open, width: int) -> None:
    """On every usual width the page fits, with the key form too, and every control is within it."""
    with ScriptedServer([]) as server:
        server.key = "0123456789abcdef"
        page = open_page(server.url, width=width, height=640)
        expect(page.locator("#source option").first).to_be_attached()
        expect(page.locator("#key-form")).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate("() => document.documentElement.scrollHeight") <= 640
        for button in page.locator("button:visible, select:visible, #key").all():
            box = button.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width


def test_works_by_keyboard_alone(open_page: Open) -> None:
    """Every control has a name, and recording can be started and stopped without a mouse."""
    with ScriptedServer([("раз", 1.0)]) as server:
        page = open_page(server.url)
        for control in page.locator("button, select, input").all():
            assert control.evaluate("(e) => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).trim()")
        page.locator("#record").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#log .committed")).to_have_text("раз")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("Запись закончена")
        expect(page.locator("#log")).to_have_attribute("aria-live", "polite")


def test_status_says_how_the_server_is(open_page: Open) -> None:
    """Without a reload: that all is well, who speaks, that the server is full, and that it no longer answers."""
    with scripted_server(max_sessions=1, gunicorn_workers=1) as server:
        page = open_page(f"{server.url}/status")
        verdict = page.locator("#verdict")
        expect(verdict).to_have_text("Всё в порядке: сервер принимает новые записи.")
        expect(page.locator("#facts")).to_contain_text("Записей сейчас0")
        page.get_by_role("button", name="Eng").click()
        expect(verdict).to_have_text("All is well: the server accepts new recordings.")
        with server.connect() as socket:
            socket.send('{"type":"start"}')
            socket.recv()
            expect(verdict).to_have_text("The server is full: it accepts no new recordings for now.")
            expect(page.locator("#facts")).to_contain_text("Recordings now1")
    expect(verdict).to_have_text("The server does not answer.")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_status_is_readable_on_every_width(open_page: Open, width: int) -> None:
    """Nothing of the status page is cut off, and no value is squeezed into a column of single letters."""
    with scripted_server(gunicorn_workers=1) as server:
        page = open_page(f"{server.url}/status", width=width)
        expect(page.locator("#facts dd").first).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        for value in page.locator("#facts dd").all():
            box = value.bounding_box()
            assert box is not None
            assert box["width"] >= 120


def test_status_asks_for_a_key_where_one_is_needed(open_page: Open) -> None:
    """With keys set, the status page asks for one, says if it is wrong, and shows everything with the right one."""
    with scripted_server(api_keys="0123456789abcdef", gunicorn_workers=1) as server:
        page = open_page(f"{server.url}/status")
        verdict = page.locator("#verdict")
        expect(verdict).to_have_text("Нужен ключ доступа.")
        page.locator("#key").fill("another-key-12345")
        page.locator("#key").press("Enter")
        expect(verdict).to_have_text("Ключ доступа не подошёл.")
        page.locator("#key").fill("0123456789abcdef")
        page.locator("#key").press("Enter")
        expect(verdict).to_have_text("Всё в порядке: сервер принимает новые записи.")
        expect(page.locator("#key-form")).to_be_hidden()
        page.goto(f"{server.url}/")
        expect(page.locator("#key-open")).to_be_visible()
        expect(page.locator("#notice")).to_be_hidden()
