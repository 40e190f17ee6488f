"""install.sh on machines that lack something. CI itself runs it on a whole clean machine.

Each test runs the real script in a folder of its own, with a PATH that has only the programs of that machine.
Long because each thing that a machine can lack is a test.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.model_hub import Told
from tests.tiny_whisper import write_tiny_whisper
from whisperlivekit.admin.add import add, parse_source

TOOLS = [
    "awk", "bash", "basename", "cat", "cp", "cut", "date", "dirname", "env", "grep", "head", "id", "kill", "ln",
    "mkdir", "mv", "rm", "sed", "sha256sum", "sleep", "sort", "tail", "touch", "tr", "uname", "wc",
]  # fmt: skip


class Machine:
    """A folder with a copy of the files that install.sh reads, and the programs that it finds."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.home.mkdir()
        self.bin.mkdir()
        self.calls.touch()
        for name in ("install.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.home / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"this machine has no {tool}"
            (self.bin / tool).symlink_to(found)
        self.program("df", "echo header; echo 'disk 99999 1 99999 1% /'")
        self.program("python3", f'exec {sys.executable} "$@"')

    def program(self, name: str, script: str, folder: Path | None = None) -> None:
        path = (folder or self.bin) / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!{shutil.which("bash")}\necho "{name} $*" >>{self.calls}\n{script}\n')
        path.chmod(0o755)

    def with_venv(self) -> None:
        """As if a first run had made venv/. Its pip installs nothing and its program does nothing."""
        folder = self.home / "venv" / "bin"
        folder.mkdir(parents=True)
        self.program("python", f'export PYTHONPATH={ROOT}; exec {sys.executable} "$@"', folder)
        self.program("pip", "", folder)
        self.program("whisperlivekit", "", folder)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / "bash"), "install.sh", *arguments],
            cwd=self.home,
            env={"PATH": str(self.bin), "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def called(self, start: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_help_is_printed_and_nothing_is_changed(machine: Machine) -> None:
    before = sorted(machine.home.iterdir())
    result = machine.run("--help")
    assert result.returncode == 0
    for word in ("install", "serve", "bench", "test", "doctor", "certificate", "service remove", "PYTHON="):
        assert word in result.stdout
    assert sorted(machine.home.iterdir()) == before


@pytest.mark.parametrize("arguments", [["start"], ["serve", "now"], ["service", "delete"]])
def test_other_arguments_are_rejected(machine: Machine, arguments: list[str]) -> None:
    result = machine.run(*arguments)
    assert result.returncode == 1
    assert "expected one of install, serve, bench, test, doctor, certificate, service" in result.stderr


def test_an_old_python_is_named(machine: Machine) -> None:
    machine.program("python3", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    result = machine.run()
    assert result.returncode == 1
    assert "found python3 is 3.9.2, expected Python 3.11 or newer" in result.stderr
    assert "PYTHON=/path/to/python3" in result.stderr


def test_a_missing_python_is_named(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert "found no Python, expected Python 3.11 or newer" in machine.run().stderr


def test_a_newer_python_with_its_version_in_the_name_is_found(machine: Machine) -> None:
    machine.program("python3", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    machine.program("python3.11", f'[ "$1" = -m ] && exit 3; exec {sys.executable} "$@"')
    result = machine.run()
    assert machine.called("python3.11 -m venv venv")
    assert "could not make venv/" in result.stderr  # this one ends here


def test_a_missing_venv_module_is_named(machine: Machine) -> None:
    """Without apt-get the message has the package to install."""
    machine.program("python3", f'[[ "$*" == *ensurepip* ]] && exit 1; exec {sys.executable} "$@"')
    result = machine.run()
    assert result.returncode == 1
    assert "has no venv module (python3-venv)" in result.stderr
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in result.stderr


def test_a_missing_venv_module_is_installed_on_debian(machine: Machine) -> None:
    """If there is apt-get and the right to use it."""
    if os.getuid():
        pytest.skip("only root may do this without a password")
    machine.program("python3", f'[[ "$*" == *ensurepip* ]] && exit 1; exec {sys.executable} "$@"')
    machine.program("apt-get", '[ "$1" = install ] && exit 100; exit 0')
    assert machine.run().returncode == 1
    (call,) = machine.called("apt-get install")
    assert f"python3.{sys.version_info.minor}-venv" in call


def test_a_full_disk_is_named(machine: Machine) -> None:
    machine.program("df", "echo header; echo 'disk 9999 1 512 99% /'")
    result = machine.run()
    assert result.returncode == 1
    assert "found 512 MB free" in result.stderr
    assert not (machine.home / "venv").exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "no network"),
        ("OSError: [Errno 28] No space left on device", "the disk became full"),
        ("ERROR: something else", "ERROR: something else"),
    ],
)
def test_the_cause_of_a_failure_of_pip_is_named(machine: Machine, output: str, expected: str) -> None:
    machine.with_venv()
    machine.program("pip", f"echo '{output}'; exit 1", machine.home / "venv" / "bin")
    result = machine.run()
    assert result.returncode == 1
    assert expected in result.stderr
    assert "logs/install.log" in result.stderr or "disk" in expected


def test_a_broken_venv_is_not_removed(machine: Machine) -> None:
    """The user may have made it, so the script only names the command that removes it."""
    (machine.home / "venv" / "bin").mkdir(parents=True)
    result = machine.run()
    assert result.returncode == 1
    assert "rm -r venv" in result.stderr
    assert (machine.home / "venv").exists()


def test_a_venv_that_the_script_did_not_finish_is_made_again(machine: Machine) -> None:
    (machine.home / "venv").mkdir()
    (machine.home / "venv" / ".unfinished").touch()
    machine.program("python3", f'[ "$1" = -m ] && {{ echo no more; exit 3; }}; exec {sys.executable} "$@"')
    assert "could not make venv/" in machine.run().stderr
    assert machine.called("python3 -m venv venv")


def test_a_machine_without_gpu(machine: Machine) -> None:
    """.env has base on the CPU, no CUDA wheel is installed, and the folders exist."""
    machine.with_venv()
    result = machine.run()
    assert result.returncode == 0, result.stderr
    env = (machine.home / ".env").read_text()
    assert all(
        line in env for line in ("\nWHISPER_DEVICE=cpu\n", "\nWLK_MODEL=base\n", "\nWLK_GUNICORN_WORKERS=auto\n")
    )
    assert not [call for call in machine.called("pip") if "cuda" in call]
    for folder in ("models/whisper", "models/silero_vad", "models/cache", "logs"):
        assert (machine.home / folder).is_dir()
    assert machine.called("whisperlivekit") == ["whisperlivekit models fetch", "whisperlivekit check"]


def test_a_machine_with_gpu(machine: Machine) -> None:
    """.env has small on the GPU, and cuBLAS 12 is installed from its wheel."""
    machine.with_venv()
    machine.program("nvidia-smi", "echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'")
    result = machine.run()
    assert result.returncode == 0, result.stderr
    env = (machine.home / ".env").read_text()
    assert all(
        line in env for line in ("\nWHISPER_DEVICE=cuda\n", "\nWLK_MODEL=small\n", "\nWLK_GUNICORN_WORKERS=auto\n")
    )
    assert any(".[cuda]" in call for call in machine.called("pip install"))
    assert machine.called("whisperlivekit models fetch small")


def test_base_is_written_if_small_cannot_be_downloaded(machine: Machine) -> None:
    machine.with_venv()
    machine.program("nvidia-smi", "echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'")
    machine.program("whisperlivekit", '[ "$3" != small ]', machine.home / "venv" / "bin")
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert "\nWLK_MODEL=base\n" in (machine.home / ".env").read_text()
    assert "The model small cannot be downloaded" in result.stdout


@pytest.mark.model
def test_an_added_model_is_not_downloaded(machine: Machine) -> None:
    """The real program checks its files and asks no hub: there is none in this test."""
    machine.with_venv()
    machine.program(
        "whisperlivekit",
        f'export PYTHONPATH={ROOT}; exec {sys.executable} -m whisperlivekit "$@"',
        machine.home / "venv" / "bin",
    )
    source = write_tiny_whisper(machine.home / "source")
    shutil.copytree(ROOT / "models" / "silero_vad", machine.home / "models" / "silero_vad")
    told = Told()
    models = machine.home / "models"
    add(parse_source(str(source)), "ours", models, models / "cache", report=told.report, say=told.say)
    (machine.home / ".env").write_text("WHISPER_DEVICE=cpu\nWLK_MODEL=ours\n")
    result = machine.run("bench", HF_ENDPOINT="http://127.0.0.1:9", PIP_NO_INDEX="1")
    assert result.returncode == 0, result.stderr
    assert f"model ours: {models}/whisper/ours\n" in result.stdout


def test_an_nvidia_smi_that_lists_no_gpu_does_not_count(machine: Machine) -> None:
    machine.with_venv()
    machine.program("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    machine.run()
    assert "\nWHISPER_DEVICE=cpu\n" in (machine.home / ".env").read_text()


def test_a_second_run_installs_nothing_and_keeps_the_user_s_env(machine: Machine) -> None:
    machine.with_venv()
    machine.run()
    (machine.home / ".env").write_text("WLK_PORT=9000\n")
    machine.calls.write_text("")
    assert machine.run().returncode == 0
    assert machine.called("pip") == []
    assert (machine.home / ".env").read_text() == "WLK_PORT=9000\n"


def test_changed_dependencies_are_installed(machine: Machine) -> None:
    machine.with_venv()
    machine.run()
    with (machine.home / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.calls.write_text("")
    machine.run()
    assert machine.called("pip install -c constraints.txt -e .")


def test_serve_installs_and_starts_the_server(machine: Machine) -> None:
    machine.with_venv()
    assert machine.run("serve").returncode == 0
    assert machine.called("whisperlivekit")[-1] == "whisperlivekit serve"


def test_bench_installs_the_libraries_of_the_benchmarks(machine: Machine) -> None:
    """It runs no tests."""
    machine.with_venv()
    result = machine.run("bench")
    assert result.returncode == 0, result.stderr
    assert machine.called("pip install -c constraints.txt -e .[bench]")
    assert "python -m benchmarks.live" in result.stdout
    assert "pytest" not in result.stdout


def test_doctor_runs_the_check(machine: Machine) -> None:
    """It installs nothing, so it may be run beside a running server."""
    assert "First run: bash install.sh" in machine.run("doctor").stderr
    machine.with_venv()
    machine.program("whisperlivekit", "exit 1", machine.home / "venv" / "bin")
    assert machine.run("doctor").returncode == 1
    assert machine.called("whisperlivekit") == ["whisperlivekit check"]
    assert not machine.called("pip")


class ServiceMachine(Machine):
    """A machine with systemd, as root. Programs that would change the machine are only recorded."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.units = folder / "units"
        self.units.mkdir()
        self.with_venv()
        for tool in ("chgrp", "chmod", "cmp", "install"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.program("id", '[ "$*" = -u ] && echo 0 || [ -e "$HOME/user-made" ]')
        self.program("useradd", 'touch "$HOME/user-made"')
        self.program("chown", "")
        self.program("chgrp", "")
        self.program("systemctl", "")
        self.program("journalctl", "echo the last lines")
        self.program("runuser", "")
        python = f'export PYTHONPATH={ROOT}; exec {sys.executable} "$@"'
        self.program("python", python, self.home / "venv" / "bin")

    @property
    def unit(self) -> Path:
        return self.units / "whisperlivekit.service"

    def serve(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.run("service", *words, UNIT_FOLDER=str(self.units))


@pytest.fixture
def service_machine(tmp_path: Path) -> ServiceMachine:
    return ServiceMachine(tmp_path)


def test_service_installs_enables_and_starts(service_machine: ServiceMachine) -> None:
    """A user, its folders, the unit, enabled and started. Other users cannot read the keys in .env."""
    machine = service_machine
    result = machine.serve()
    assert result.returncode == 0, result.stderr
    assert machine.called("useradd")
    assert f"ExecStart={sys.executable} -m whisperlivekit serve" in machine.unit.read_text()
    assert f"\nEnvironment=WLK_HOME={machine.home}\n" in machine.unit.read_text()
    assert f"ReadWritePaths={machine.home}/logs {machine.home}/models" in machine.unit.read_text()
    assert machine.called("chown") == [
        f"chown -R whisperlivekit: {machine.home}/logs",
        f"chown -R whisperlivekit: {machine.home}/models",
    ]
    assert (machine.home / ".env").stat().st_mode & 0o007 == 0
    assert machine.called("systemctl") == [
        "systemctl daemon-reload",
        "systemctl enable --quiet whisperlivekit.service",
        "systemctl restart whisperlivekit.service",
    ]


def test_a_second_service_upgrades_the_first(service_machine: ServiceMachine) -> None:
    """The unit follows the settings, the user is kept, the service is restarted."""
    machine = service_machine
    machine.serve()
    assert "TimeoutStopSec=65" in machine.unit.read_text()
    (machine.home / ".env").write_text("WLK_GUNICORN_GRACEFUL_TIMEOUT=60\n")
    machine.calls.write_text("")
    assert machine.serve().returncode == 0
    assert "TimeoutStopSec=75" in machine.unit.read_text()
    assert not machine.called("useradd")
    assert machine.called("systemctl restart")
    assert "The unit whisperlivekit.service is up to date" in machine.serve().stdout
    assert (machine.home / ".env").read_text() == "WLK_GUNICORN_GRACEFUL_TIMEOUT=60\n"


def test_service_remove_keeps_the_files(service_machine: ServiceMachine) -> None:
    machine = service_machine
    machine.serve()
    machine.calls.write_text("")
    assert machine.serve("remove").returncode == 0
    assert not machine.unit.exists()
    assert machine.called("systemctl")[0] == "systemctl disable --now --quiet whisperlivekit.service"
    assert (machine.home / ".env").exists()
    assert machine.serve("remove").returncode == 0, "a second time is no error"


def test_a_service_that_does_not_start_shows_its_log(service_machine: ServiceMachine) -> None:
    service_machine.program("systemctl", '[ "$1" != restart ]')
    result = service_machine.serve()
    assert result.returncode == 1
    assert "the last lines" in result.stderr
    assert "the service did not start" in result.stderr


def test_a_folder_without_access_for_the_user_is_named(service_machine: ServiceMachine) -> None:
    """Before anything is started."""
    service_machine.program("runuser", "exit 126")
    result = service_machine.serve()
    assert result.returncode == 1
    assert "/opt is suitable" in result.stderr
    assert not service_machine.called("systemctl")


def test_a_missing_systemd_is_named(service_machine: ServiceMachine) -> None:
    (service_machine.bin / "systemctl").unlink()
    result = service_machine.serve()
    assert result.returncode == 1
    assert "there is no systemd here" in result.stderr
    assert not service_machine.called("pip")


def test_certificate_names_this_machine(machine: Machine) -> None:
    """localhost, its names and its addresses. A second run keeps the certificate. Only the owner can read the key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    for tool in ("openssl", "chmod", "paste"):
        (machine.bin / tool).symlink_to(shutil.which(tool) or tool)
    machine.program("hostname", 'case "$1" in -I) echo "192.0.2.7 2001:db8::7 " ;; *) echo speech ;; esac')
    result = machine.run("certificate")
    assert result.returncode == 0, result.stderr
    assert "WLK_SSL_CERTFILE=certs/cert.pem" in result.stdout
    certificate = machine.home / "certs" / "cert.pem"
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-in", certificate], capture_output=True, text=True, check=True
    ).stdout
    for name in ("DNS:speech", "DNS:speech.local", "DNS:localhost", "192.0.2.7", "2001:DB8:0:0:0:0:0:7"):
        assert name in told, name
    assert (machine.home / "certs" / "key.pem").stat().st_mode & 0o077 == 0
    before = certificate.read_bytes()
    assert "certs/cert.pem exists" in machine.run("certificate").stdout
    assert certificate.read_bytes() == before
