"""Settings: every name of the user's works, every mistake is named with its remedy, and the example file agrees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from whisperlivekit.errors import SettingsError, StartError
from whisperlivekit.observe.gpu import Gpu
from whisperlivekit.settings import (
    Settings,
    available_cores,
    example,
    load_settings,
    markdown_table,
    nearest,
    value_problem,
    variables,
)


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / ".env"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_example_file_is_what_the_class_says() -> None:
    """.env.example is generated; whoever changes a setting runs `make example`."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == example()


def test_example_file_means_the_defaults() -> None:
    """Copying the example changes nothing."""
    assert load_settings(ROOT / ".env.example") == Settings(_env_file=None)


def test_example_explains_every_setting() -> None:
    for name in variables():
        assert f"\n{name}=" in example() or f"\n# {name}=" in example()
    assert all(field.description for field in Settings.model_fields.values())


def test_there_are_at_most_forty() -> None:
    assert len(variables()) <= 40


def test_every_name_of_the_user_works(tmp_path: Path) -> None:
    """The names of the user's design card, with values other than the defaults, reach their attributes."""
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


def test_defaults_are_the_user_s() -> None:
    settings = Settings(_env_file=None)
    assert (settings.model, settings.language, settings.frame_threshold, settings.beams) == ("small", "ru", 25, 3)
    assert (settings.gunicorn_workers, settings.gunicorn_timeout, settings.gunicorn_max_requests) == (4, 120, 500)
    assert settings.gunicorn_preload
    assert settings.min_chunk_size == 0.6


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WLK_PORT", "8002")
    monkeypatch.setenv("WHISPER_DEVICE", "cpu")
    settings = load(tmp_path, "WLK_PORT=8001\nWHISPER_DEVICE=cuda\nWLK_BEAMS=2\n")
    assert (settings.port, settings.device, settings.beams) == (8002, "cpu", 2)


def test_a_file_that_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none") == load_settings(None) == Settings(_env_file=None)


def test_an_empty_value_is_the_default_except_where_cuda_says_otherwise(tmp_path: Path) -> None:
    settings = load(tmp_path, "WLK_PORT=\nWLK_SSL_CERTFILE=\nCUDA_VISIBLE_DEVICES=\n")
    assert (settings.port, settings.ssl_certfile, settings.cuda_visible_devices) == (8000, None, "")
    assert settings.resolved_device() == "cpu"


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    """With a byte order mark and carriage returns."""
    file = tmp_path / ".env"
    file.write_bytes("\ufeffWLK_PORT=8001\r\nWLK_INIT_PROMPT=Привет\r\n".encode())
    assert (load_settings(file).port, load_settings(file).init_prompt) == (8001, "Привет")


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
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
        ("WLK_DIARIZATION=true", "expected false: telling speakers apart is not in this version"),
        ("WLK_ENABLE_ADAPTIVE_BUFFERING=1", "expected false: adaptive buffering was taken out for stability"),
        ("WLK_MODEL=smal", "did you mean small?"),
        ("WLK_LANGUAGE=russian", "did you mean ru?"),
        ("WLK_BACKEND=whisper", "WLK_BACKEND=whisper (line 1): expected one of faster-whisper"),
        ("WLK_SSL_CERTFILE=/nowhere/cert.pem", "expected the path of a file that this user can read"),
        ("WLK_ALLOWED_ORIGINS=example.org", "expected origins such as https://example.org"),
        ("CUDA_VISIBLE_DEVICES=first", "expected GPU numbers or UUIDs separated by commas"),
        ("WLK_PRT=8000", "WLK_PRT (line 1): unknown name; did you mean WLK_PORT?"),
        ("wlk_port=8000", "wlk_port (line 1): unknown name; did you mean WLK_PORT?"),
        ("WHISPER_DEVCE=cpu", "WHISPER_DEVCE (line 1): unknown name; did you mean WHISPER_DEVICE?"),
        ("FASTER_WHISPER_CUDAS=true", "did you mean FASTER_WHISPER_CUDA?"),
        ("no assignment", "found 'no assignment', expected NAME=value"),
        ("WLK_PORT=1\nWLK_PORT=2", "WLK_PORT stands twice"),
        ("WHISPER_DEVICE=cpu\nFASTER_WHISPER_CUDA=true", "FASTER_WHISPER_CUDA=true contradicts WHISPER_DEVICE=cpu"),
        ("WHISPER_DEVICE=cuda\nFASTER_WHISPER_CUDA=no", "FASTER_WHISPER_CUDA=false contradicts WHISPER_DEVICE=cuda"),
        ("WHISPER_DEVICE=cuda\nCUDA_VISIBLE_DEVICES=-1", "CUDA_VISIBLE_DEVICES hides every GPU"),
        ("WHISPER_DEVICE=cpu\nWLK_COMPUTE_TYPE=float16", "WLK_COMPUTE_TYPE=float16 needs a GPU"),
        ("WLK_SSL_CERTFILE=/etc/hostname", "WLK_SSL_CERTFILE is set without WLK_SSL_KEYFILE"),
        ("WLK_SSL_KEYFILE=/etc/hostname", "WLK_SSL_KEYFILE is set without WLK_SSL_CERTFILE"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path: Path, line: str, expected: str) -> None:
    found = problems(tmp_path, line + "\n")
    assert len(found) == 1
    assert expected in found[0]


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    """Wrong values, unknown names, broken lines and contradictions in one message, so that one look is enough."""
    found = problems(
        tmp_path,
        "WLK_PORT=abc\nWLK_PRT=1\nnot a line\nWLK_BEAMS=99\nWHISPER_DEVICE=cpu\nFASTER_WHISPER_CUDA=true\n"
        "WLK_SSL_CERTFILE=/etc/hostname\n",
    )
    assert len(found) == 6


def test_a_wrong_value_of_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WLK_PORT", "abc")
    monkeypatch.setenv("WLK_BEEMS", "1")
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    assert "WLK_PORT=abc (environment): expected" in str(caught.value)
    assert "WLK_BEEMS (environment): unknown name; did you mean WLK_BEAMS?" in str(caught.value)


def test_other_programs_names_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTER_SOMETHING", "1")
    assert load(tmp_path, "HTTP_PROXY=http://proxy\nCOMPOSE_PROJECT_NAME=x\n") == Settings(_env_file=None)


def test_keys_are_never_shown(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "WLK_API_KEYS=secret\n")
    assert "secret" not in found
    assert "at least 16 characters" in found


def test_lists_are_split(tmp_path: Path) -> None:
    settings = load(tmp_path, "WLK_API_KEYS=aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb\nWLK_ALLOWED_ORIGINS=https://a.org,*\n")
    assert settings.api_key_list == ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")
    assert settings.allowed_origin_list == ("https://a.org", "*")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings(_env_file=None).port = 1  # type: ignore[misc]


@pytest.mark.parametrize(("device", "asked", "expected"), [("cpu", "auto", "int8"), ("cpu", "float32", "float32")])
def test_the_engine_gets_settled_values(tmp_path: Path, device: str, asked: str, expected: str) -> None:
    """`auto` never reaches the engine: there it would fall back to the CPU in silence."""
    settings = load(tmp_path, f"WHISPER_DEVICE={device}\nWLK_COMPUTE_TYPE={asked}\nWLK_MODEL=base\n")
    config = settings.engine_config()
    assert (config.device, config.compute_type, config.device_index) == ("cpu", expected, 0)
    assert config.model_dir == Path("models/whisper/base")
    assert (config.beams, config.language) == (3, "ru")


def test_workers_are_dealt_out_over_the_gpus(tmp_path: Path) -> None:
    settings = load(tmp_path, "WHISPER_DEVICE=cuda\nCUDA_VISIBLE_DEVICES=2,3\nWLK_COMPUTE_TYPE=float16\n")
    assert [settings.engine_config(worker).device_index for worker in range(4)] == [0, 1, 0, 1]
    assert settings.environment()["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_the_environment_keeps_libraries_from_the_hub() -> None:
    assert Settings(_env_file=None).environment()["HF_HUB_OFFLINE"] == "1"


def test_threads_are_the_cores_divided_by_the_workers() -> None:
    cores = available_cores()
    assert Settings(_env_file=None, gunicorn_workers=1).threads_per_worker() == cores
    assert Settings(_env_file=None, gunicorn_workers=64).threads_per_worker() == max(1, cores // 64)
    assert Settings(_env_file=None, cpu_threads=3).threads_per_worker() == 3


def test_sessions_get_their_part() -> None:
    config = Settings(
        _env_file=None, language="auto", min_chunk_size=0.75, vad_threshold=0.4, init_prompt="Имена: Анна"
    ).session_config()
    assert (config.language, config.step_s, config.speech_threshold) == (None, 0.75, 0.4)
    assert (config.prompt, config.min_silence_s, config.frame_threshold) == ("Имена: Анна", 0.5, 25)


def test_value_problem_judges_one_value() -> None:
    assert value_problem("WLK_PORT", "8000") == ""
    assert value_problem("WLK_PORT", "x") == "expected a whole number from 1 to 65535"


def test_nearest_ignores_the_common_prefix() -> None:
    """Otherwise every WLK_ name would resemble every other."""
    assert nearest("WLK_FOO", variables()) is None
    assert nearest("WLK_SSL_CERT_FILE", variables()) == "WLK_SSL_CERTFILE"


def test_run_as_a_program_it_prints_an_env_file() -> None:
    """install.sh writes .env this way."""
    program = [sys.executable, "-m", "whisperlivekit.settings"]
    run = subprocess.run([*program, "WLK_MODEL=base"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\nWLK_MODEL=base\n" in run.stdout
    assert run.stdout.replace("WLK_MODEL=base", "WLK_MODEL=small") == example()
    wrong = subprocess.run([*program, "WLK_MODLE=base"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode
    assert "did you mean WLK_MODEL?" in wrong.stderr


def test_readme_has_the_table_of_the_class() -> None:
    """`make example` puts it there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert table == markdown_table()


def test_reading_settings_loads_no_model_library() -> None:
    """The Gunicorn master reads them before it forks."""
    program = (
        "import sys; from whisperlivekit.settings import load_settings; load_settings(None).engine_config();"
        "print([name for name in ('torch', 'ctranslate2', 'onnxruntime', 'faster_whisper') if name in sys.modules])"
    )
    environment = {**os.environ, "WHISPER_DEVICE": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def gpus_found(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """What NVML would say of a machine with these GPUs; NVML itself comes with the driver only."""
    found = tuple(
        Gpu(index, f"GPU-{index}", "X", "1", 2**34, 0, None, None, None, capability)
        for index, capability in enumerate(capabilities)
    )
    monkeypatch.setattr("whisperlivekit.observe.gpu.read_gpus", lambda: found)


@pytest.mark.parametrize(
    ("capabilities", "compute_type"),
    [
        ([(9, 0)], "float16"),
        ([(7, 0)], "float16"),
        ([(6, 1)], "int8_float32"),
        ([(5, 2)], "float32"),
        ([(8, 6), (6, 1)], "int8_float32"),
    ],
)
def test_the_compute_type_follows_the_gpus(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], compute_type: str
) -> None:
    """What the least of the visible GPUs is fast with; and auto takes the GPU."""
    gpus_found(monkeypatch, *capabilities)
    assert Settings(_env_file=None).resolved_device() == "cuda"
    assert Settings(_env_file=None).resolved_compute_type() == compute_type


@pytest.mark.parametrize(
    ("visible", "indices"), [(None, [0, 1, 2, 0, 1]), ("0,1", [0, 1, 0, 1, 0]), ("2", [0, 0, 0, 0, 0])]
)
def test_workers_are_dealt_out_over_the_gpus_there_are(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, indices: list[int]
) -> None:
    """Worker i takes GPU i mod n of those that CUDA shows, numbered as CUDA numbers them."""
    gpus_found(monkeypatch, (8, 0), (8, 0), (8, 0))
    settings = Settings(_env_file=None, cuda_visible_devices=visible)
    assert [settings.engine_config(worker).device_index for worker in range(5)] == indices


def test_cuda_without_a_gpu_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason and the remedy, never a silent CPU. A device file without NVML gets the benefit of the doubt."""
    monkeypatch.setattr("whisperlivekit.settings.DEVICE_FILES", tmp_path)
    gpus_found(monkeypatch, (8, 0))
    Settings(_env_file=None, device="cuda").need_device()
    with pytest.raises(StartError, match=r"CUDA_VISIBLE_DEVICES=7 names none of the GPUs.*WHISPER_DEVICE=cpu"):
        Settings(_env_file=None, device="cuda", cuda_visible_devices="7").need_device()
    Settings(_env_file=None, device="cpu").need_device()
    (tmp_path / "nvidia0").touch()
    Settings(_env_file=None, device="cuda", cuda_visible_devices="7").need_device()
