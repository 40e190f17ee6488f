"""Reading settings: every name works, and every mistake is reported with what is expected."""

from pathlib import Path

import pytest

from whisperlivekit.engine.models import write_added
from whisperlivekit.errors import SettingsError
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import describe_source, load_settings, value_problem
from whisperlivekit.settings.machine import resolved_device


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / ".env"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_variables_reach_their_attributes(tmp_path: Path) -> None:
    """Each variable, with another value than its default, reaches its attribute."""
    certificate = tmp_path / "cert.pem"
    certificate.write_text("")
    settings = load(
        tmp_path,
        f"""
        CUDA_VISIBLE_DEVICES=0,1
        WHISPER_DEVICE=cuda
        FASTER_WHISPER_CUDA=true
        WLK_HOST=0.0.0.0
        WLK_PORT=8001
        WLK_SSL_CERTFILE={certificate}
        WLK_SSL_KEYFILE={certificate}
        WLK_MODEL=tiny
        WLK_BACKEND=faster-whisper
        WLK_LANGUAGE=en
        WLK_FRAME_THRESHOLD=15
        WLK_BEAMS=5
        WLK_MIN_CHUNK_SIZE=0.75
        WLK_DIARIZATION=false
        WLK_ENABLE_ADAPTIVE_BUFFERING=false
        WLK_INIT_PROMPT="Запись совещания"
        WLK_LOG_LEVEL=debug
        WLK_GUNICORN_WORKERS=2
        WLK_GUNICORN_TIMEOUT=60
        WLK_GUNICORN_MAX_REQUESTS=100
        WLK_GUNICORN_PRELOAD=false
        WLK_MODEL_DIR={tmp_path}/m
        WLK_LOG_DIR={tmp_path}/l
        WLK_CACHE_DIR={tmp_path}/c
        """,
    )
    assert settings.model_dump(
        include={
            "cuda_visible_devices", "device", "faster_whisper_cuda", "host", "port", "model", "language",
            "frame_threshold", "beams", "min_chunk_size", "init_prompt", "log_level", "gunicorn_workers",
            "gunicorn_timeout", "gunicorn_max_requests", "gunicorn_preload", "model_dir", "ssl_certfile",
        }
    ) == {
        "cuda_visible_devices": "0,1", "device": "cuda", "faster_whisper_cuda": True, "host": "0.0.0.0", "port": 8001,
        "model": "tiny", "language": "en", "frame_threshold": 15, "beams": 5, "min_chunk_size": 0.75,
        "init_prompt": "Запись совещания", "log_level": "DEBUG", "gunicorn_workers": 2, "gunicorn_timeout": 60,
        "gunicorn_max_requests": 100, "gunicorn_preload": False, "model_dir": tmp_path / "m",
        "ssl_certfile": certificate,
    }  # fmt: skip


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WLK_PORT", "8002")
    monkeypatch.setenv("WHISPER_DEVICE", "cpu")
    settings = load(tmp_path, "WLK_PORT=8001\nWHISPER_DEVICE=cuda\nWLK_BEAMS=2\n")
    assert (settings.port, settings.device, settings.beams) == (8002, "cpu", 2)


def test_a_missing_file_is_the_same_as_an_empty_one(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none") == load(tmp_path, "")


def test_by_default_the_file_is_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the current folder is. The source that is shown is the file that was read."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path))
    assert describe_source() == f"the environment and the defaults; there is no {tmp_path}/.env"
    (tmp_path / ".env").write_text("WLK_PORT=8001\n")
    assert load_settings().port == 8001
    assert describe_source() == f"{tmp_path}/.env and the environment"


def test_a_home_folder_that_does_not_exist_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a misspelt WLK_HOME would mean the defaults."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"WLK_HOME=.*/none \(environment\): expected the path of a folder"):
        load_settings()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the file, of the environment and of the defaults; absolute paths and model names stay as they are."""
    (tmp_path / "cert.pem").write_text("")
    monkeypatch.setenv("WLK_CACHE_DIR", "downloads")
    text = "WLK_MODEL=own/model\nWLK_LOG_DIR=/var/log/speech\nWLK_SSL_CERTFILE=cert.pem\nWLK_SSL_KEYFILE=cert.pem\n"
    settings = load(tmp_path, text)
    assert settings.model_path == tmp_path / "own" / "model"
    assert settings.model_dir == tmp_path / "models"
    assert settings.cache_dir == tmp_path / "downloads"
    assert settings.log_dir == Path("/var/log/speech")
    assert settings.ssl_certfile == settings.ssl_keyfile == tmp_path / "cert.pem"
    assert load(tmp_path, "WLK_MODEL=base\n").model_path == tmp_path / "models" / "whisper" / "base"


def test_attribute_names_are_no_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`port` and `model` in the environment belong to other programs."""
    monkeypatch.setenv("port", "9001")
    monkeypatch.setenv("model", "tiny")
    monkeypatch.setenv("BEAMS", "7")
    settings = load(tmp_path, "PORT=9002\n")
    assert (settings.port, settings.model, settings.beams) == (8000, "small", 3)


def test_an_empty_value_means_the_default_except_for_cuda_visible_devices(tmp_path: Path) -> None:
    settings = load(tmp_path, "WLK_PORT=\nWLK_SSL_CERTFILE=\nCUDA_VISIBLE_DEVICES=\n")
    assert (settings.port, settings.ssl_certfile, settings.cuda_visible_devices) == (8000, None, "")
    assert resolved_device(settings) == "cpu"


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    """With a byte order mark and carriage returns."""
    file = tmp_path / ".env"
    file.write_bytes("\ufeffWLK_PORT=8001\r\nWLK_INIT_PROMPT=Привет\r\n".encode())
    assert (load_settings(file).port, load_settings(file).init_prompt) == (8001, "Привет")


def test_a_binary_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"WLK_INIT_PROMPT=\xcf\xf0\xe8\n")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings(file)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("WLK_PORT=abc", "WLK_PORT=abc (line 1): expected a whole number from 1 to 65535"),
        ("WLK_BEAMS=0", "WLK_BEAMS=0 (line 1): expected a whole number from 1 to 10"),
        ("WLK_VAD_THRESHOLD=1", "WLK_VAD_THRESHOLD=1 (line 1): expected a number above 0.0 and below 1.0"),
        ("WLK_MAX_SESSION_HOURS=0", "WLK_MAX_SESSION_HOURS=0 (line 1): expected a number above 0 up to 168"),
        ("WLK_MAX_SESSIONS=-1", "WLK_MAX_SESSIONS=-1 (line 1): expected a whole number from 0 up"),
        ("WHISPER_DEVICE=gpu", "WHISPER_DEVICE=gpu (line 1): expected one of cuda, cpu, auto"),
        ("FASTER_WHISPER_CUDA=maybe", "FASTER_WHISPER_CUDA=maybe (line 1): expected true or false"),
        ("WLK_DIARIZATION=true", "expected false: this version does not tell speakers apart"),
        ("WLK_ENABLE_ADAPTIVE_BUFFERING=1", "expected false: adaptive buffering was removed because it was unstable"),
        ("WLK_MODEL=smal", "did you mean small?"),
        ("WLK_LANGUAGE=russian", "did you mean ru?"),
        ("WLK_BACKEND=whisper", "WLK_BACKEND=whisper (line 1): expected faster-whisper"),
        ("WLK_SSL_CERTFILE=/nowhere/cert.pem", "expected the path of a file that this user can read"),
        ("WLK_ALLOWED_ORIGINS=example.org", "expected origins such as https://example.org"),
        ("WLK_ALLOWED_HOSTS=https://example.org", "expected host names such as speech.example.org"),
        ("WLK_ALLOWED_HOSTS=example.org:443", "expected host names such as speech.example.org"),
        ("WLK_METRICS_ALLOW=monitor.example.org", "expected IP addresses or networks such as 10.0.0.0/8"),
        ("WLK_METRICS_ALLOW=10.0.0.0/33", "expected IP addresses or networks such as 10.0.0.0/8"),
        ("WLK_API_KEYS=ключключключключ", "expected keys of at least 16 printable ASCII characters"),
        ("CUDA_VISIBLE_DEVICES=first", "expected GPU numbers or UUIDs, separated by commas"),
        (
            "WLK_GUNICORN_WORKERS=many",
            "WLK_GUNICORN_WORKERS=many (line 1): expected auto, or a whole number from 1 to 64",
        ),
        ("WLK_GUNICORN_WORKERS=0", "WLK_GUNICORN_WORKERS=0 (line 1): expected auto, or a whole number from 1 to 64"),
        ("beams=7", "beams (line 1): unknown name; did you mean WLK_BEAMS?"),
        ("device=cpu", "device (line 1): unknown name; did you mean WHISPER_DEVICE?"),
        ("WLK_HOME=/srv", "WLK_HOME (line 1): expected in the environment only"),
        ("WLK_PORT", "found 'WLK_PORT', expected NAME=value"),
        ("WLK_PRT=8000", "WLK_PRT (line 1): unknown name; did you mean WLK_PORT?"),
        ("wlk_port=8000", "wlk_port (line 1): unknown name; did you mean WLK_PORT?"),
        ("WHISPER_DEVCE=cpu", "WHISPER_DEVCE (line 1): unknown name; did you mean WHISPER_DEVICE?"),
        ("FASTER_WHISPER_CUDAS=true", "did you mean FASTER_WHISPER_CUDA?"),
        ("no assignment", "found 'no assignment', expected NAME=value"),
        ("WLK_PORT=1\nWLK_PORT=2", "WLK_PORT is set twice"),
        ("WLK_WYOMING_PORT=8000", "WLK_WYOMING_PORT is 8000, which serves HTTP too"),
        ("WHISPER_DEVICE=cpu\nFASTER_WHISPER_CUDA=true", "FASTER_WHISPER_CUDA=true contradicts WHISPER_DEVICE=cpu"),
        ("WHISPER_DEVICE=cuda\nFASTER_WHISPER_CUDA=no", "FASTER_WHISPER_CUDA=false contradicts WHISPER_DEVICE=cuda"),
        ("WHISPER_DEVICE=cuda\nCUDA_VISIBLE_DEVICES=-1", "CUDA_VISIBLE_DEVICES hides every GPU"),
        ("WHISPER_DEVICE=cpu\nWLK_COMPUTE_TYPE=float16", "WLK_COMPUTE_TYPE=float16 needs a GPU"),
        ("WLK_SSL_CERTFILE=/etc/hostname", "WLK_SSL_CERTFILE is set without WLK_SSL_KEYFILE"),
        ("WLK_SSL_KEYFILE=/etc/hostname", "WLK_SSL_KEYFILE is set without WLK_SSL_CERTFILE"),
    ],
)
def test_a_mistake_is_reported_with_what_is_expected(tmp_path: Path, line: str, expected: str) -> None:
    found = problems(tmp_path, line + "\n")
    assert len(found) == 1
    assert expected in found[0]


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    """Wrong values, unknown names, malformed lines and contradictions are in one message."""
    found = problems(
        tmp_path,
        "WLK_PORT=abc\nWLK_PRT=1\nnot a line\nWLK_BEAMS=99\nWHISPER_DEVICE=cpu\nFASTER_WHISPER_CUDA=true\n"
        "WLK_SSL_CERTFILE=/etc/hostname\n",
    )
    assert len(found) == 6


def add_model(tmp_path: Path, name: str, model_dir: str = "models") -> None:
    path = tmp_path / model_dir / "whisper" / name
    path.mkdir(parents=True)
    write_added(path, "/somewhere", ())


def test_added_models_are_known_by_their_names(tmp_path: Path) -> None:
    """Those in the folder that WLK_MODEL_DIR names."""
    add_model(tmp_path, "ours", "elsewhere")
    settings = load(tmp_path, "WLK_MODEL=ours\nWLK_MODEL_DIR=elsewhere\n")
    assert settings.model_path == tmp_path / "elsewhere" / "whisper" / "ours"
    assert problems(tmp_path, "WLK_MODEL=ours\n")


def test_an_unknown_model_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    """The message lists the pinned and the added models, and has the command that adds one."""
    (found,) = problems(tmp_path, "WLK_MODEL=ours\n")
    assert "WLK_MODEL=ours (line 1): expected one of tiny, base, " in found
    assert "an added model (there is none)" in found
    assert found.endswith("whisperlivekit models add SOURCE --name ours")
    add_model(tmp_path, "podlodka")
    add_model(tmp_path, "turbo-ru")
    (found,) = problems(tmp_path, "WLK_MODEL=podlotka\n")
    assert "an added model (podlodka, turbo-ru)" in found
    assert found.endswith("did you mean podlodka?")
    (found,) = problems(tmp_path, "WLK_MODEL=наша\n")
    assert found.endswith("models add SOURCE --name NAME")


def test_a_model_that_is_about_to_be_added_is_accepted(tmp_path: Path) -> None:
    """Other mistakes are reported all the same."""
    file = tmp_path / ".env"
    file.write_text("WLK_MODEL=ours\n")
    assert load_settings(file, any_model=True).model == "ours"
    file.write_text("WLK_MODEL=ours\nWLK_PORT=abc\n")
    with pytest.raises(SettingsError, match="1 wrong setting"):
        load_settings(file, any_model=True)


def test_mistakes_in_the_environment_are_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WLK_PORT", "abc")
    monkeypatch.setenv("WLK_BEEMS", "1")
    monkeypatch.setenv("wlk_port", "8001")
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    assert "WLK_PORT=abc (environment): expected" in str(caught.value)
    assert "WLK_BEEMS (environment): unknown name; did you mean WLK_BEAMS?" in str(caught.value)
    assert "wlk_port (environment): unknown name; did you mean WLK_PORT?" in str(caught.value)


def test_names_of_other_programs_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTER_SOMETHING", "1")
    assert load(tmp_path, "HTTP_PROXY=http://proxy\nCOMPOSE_PROJECT_NAME=x\n") == load(tmp_path, "")


def test_keys_are_never_printed(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "WLK_API_KEYS=secret\n")
    assert "secret" not in found
    assert "at least 16 printable" in found


def test_value_problem_knows_added_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in the home folder."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path))
    assert "expected one of tiny, base" in value_problem("WLK_MODEL", "ours")
    add_model(tmp_path, "ours")
    assert value_problem("WLK_MODEL", "ours") == ""


def test_value_problem_checks_one_value() -> None:
    assert value_problem("WLK_PORT", "8000") == ""
    assert value_problem("WLK_PORT", "x") == "expected a whole number from 1 to 65535"
