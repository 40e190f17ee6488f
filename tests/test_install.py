"""install.sh on machines that lack something. Its way through a whole clean machine is what CI itself is.

Each test runs the real script in a folder of its own, with a PATH that holds only what that machine has.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = [
    "awk", "bash", "basename", "cat", "cp", "cut", "date", "dirname", "env", "grep", "head", "id", "kill", "ln",
    "mkdir", "mv", "rm", "sed", "sha256sum", "sleep", "sort", "tail", "touch", "tr", "uname", "wc",
]  # fmt: skip


class Machine:
    """A folder with a copy of what install.sh reads, and the programs it finds."""

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
        """As if the first run had got as far as venv/; its pip installs nothing and its program does nothing."""
        folder = self.home / "venv" / "bin"
        folder.mkdir(parents=True)
        self.program("python", f'export PYTHONPATH={ROOT}; exec {sys.executable} "$@"', folder)
        self.program("pip", "", folder)
        self.program("whisperlivekit", "", folder)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / "bash"), "install.sh", *arguments],
            cwd=self.home,
            env={"PATH": str(self.bin), "HOME": str(self.home), "WLK_HOME": str(self.home), **environment},
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


def test_help_explains_and_does_nothing(machine: Machine) -> None:
    before = sorted(machine.home.iterdir())
    result = machine.run("--help")
    assert result.returncode == 0
    for word in ("install", "serve", "test", "doctor", "certificate", "service remove", "PYTHON="):
        assert word in result.stdout
    assert sorted(machine.home.iterdir()) == before


@pytest.mark.parametrize("arguments", [["start"], ["serve", "now"], ["service", "delete"]])
def test_other_words_are_refused(machine: Machine, arguments: list[str]) -> None:
    result = machine.run(*arguments)
    assert result.returncode == 1
    assert "expected one of install, serve, test, doctor, certificate, service" in result.stderr


def test_python_too_old(machine: Machine) -> None:
    machine.program("python3", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    result = machine.run()
    assert result.returncode == 1
    assert "found python3 is 3.9.2, expected Python 3.11 or newer" in result.stderr
    assert "PYTHON=/path/to/python3" in result.stderr


def test_no_python(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert "found no Python, expected Python 3.11 or newer" in machine.run().stderr


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    machine.program("python3", 'case "$2" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    machine.program("python3.11", f'[ "$1" = -m ] && exit 3; exec {sys.executable} "$@"')
    result = machine.run()
    assert machine.called("python3.11 -m venv venv")
    assert "could not make venv/" in result.stderr  # this one ends here


def test_no_venv_module(machine: Machine) -> None:
    """Without apt-get, what to install is said."""
    machine.program("python3", f'[[ "$*" == *ensurepip* ]] && exit 1; exec {sys.executable} "$@"')
    result = machine.run()
    assert result.returncode == 1
    assert "has no venv module (python3-venv)" in result.stderr
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in result.stderr


def test_no_venv_module_on_debian(machine: Machine) -> None:
    """With apt-get and the right to use it, it is installed."""
    if os.getuid():
        pytest.skip("only root may do this without a password")
    machine.program("python3", f'[[ "$*" == *ensurepip* ]] && exit 1; exec {sys.executable} "$@"')
    machine.program("apt-get", '[ "$1" = install ] && exit 100; exit 0')
    assert machine.run().returncode == 1
    (call,) = machine.called("apt-get install")
    assert f"python3.{sys.version_info.minor}-venv" in call


def test_no_disk(machine: Machine) -> None:
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
def test_a_failure_of_pip_is_told_in_words(machine: Machine, output: str, expected: str) -> None:
    machine.with_venv()
    machine.program("pip", f"echo '{output}'; exit 1", machine.home / "venv" / "bin")
    result = machine.run()
    assert result.returncode == 1
    assert expected in result.stderr
    assert "logs/install.log" in result.stderr or "disk" in expected


def test_a_broken_venv_is_not_removed(machine: Machine) -> None:
    """It may be somebody's; the script says what to do."""
    (machine.home / "venv" / "bin").mkdir(parents=True)
    result = machine.run()
    assert result.returncode == 1
    assert "rm -r venv" in result.stderr
    assert (machine.home / "venv").exists()


def test_an_interrupted_venv_is_made_again(machine: Machine) -> None:
    (machine.home / "venv").mkdir()
    (machine.home / "venv" / ".unfinished").touch()
    machine.program("python3", f'[ "$1" = -m ] && {{ echo no more; exit 3; }}; exec {sys.executable} "$@"')
    assert "could not make venv/" in machine.run().stderr
    assert machine.called("python3 -m venv venv")


def test_a_machine_without_gpu(machine: Machine) -> None:
    """Base on the CPU with one worker, no CUDA wheel, and the folders that were asked for."""
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
    """Small on the GPU with the default workers, and cuBLAS 12 from its wheel beside torch's CPU build."""
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


def test_where_small_cannot_be_had_base_is_written(machine: Machine) -> None:
    machine.with_venv()
    machine.program("nvidia-smi", "echo 'GPU 0: NVIDIA L4 (UUID: GPU-1)'")
    machine.program("whisperlivekit", '[ "$3" != small ]', machine.home / "venv" / "bin")
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert "\nWLK_MODEL=base\n" in (machine.home / ".env").read_text()
    assert "The model small cannot be had" in result.stdout


def test_an_nvidia_smi_without_gpu_counts_for_nothing(machine: Machine) -> None:
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


def test_a_change_of_dependencies_is_installed(machine: Machine) -> None:
    machine.with_venv()
    machine.run()
    with (machine.home / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.calls.write_text("")
    machine.run()
    assert machine.called("pip install -c constraints.txt -e .")


def test_serve_starts_the_server_in_its_place(machine: Machine) -> None:
    machine.with_venv()
    assert machine.run("serve").returncode == 0
    assert machine.called("whisperlivekit")[-1] == "whisperlivekit serve"


def test_torch_comes_as_its_cpu_build(machine: Machine) -> None:
    """From the indexes pip is configured with, else from PyTorch's own; never the CUDA build."""
    machine.with_venv()
    # A Python in which torch is not installed yet, and a registry without the CPU build.
    machine.program(
        "python", f'[[ "$*" == *torch* ]] && exit 1; exec {sys.executable} "$@"', machine.home / "venv" / "bin"
    )
    machine.program("pip", '[[ "$*" != *torch==* || "$*" == *download.pytorch.org* ]]', machine.home / "venv" / "bin")
    machine.run()
    first, second, *_ = machine.called("pip install")
    assert "+cpu" in first
    assert "--index-url" not in first
    assert "+cpu" in second
    assert "--index-url https://download.pytorch.org/whl/cpu" in second
    assert all("+cpu" in call for call in machine.called("pip install") if "torch==" in call)


def test_doctor_is_the_check(machine: Machine) -> None:
    """It installs nothing: it may be run on a server that works."""
    assert "First: bash install.sh" in machine.run("doctor").stderr
    machine.with_venv()
    machine.program("whisperlivekit", "exit 1", machine.home / "venv" / "bin")
    assert machine.run("doctor").returncode == 1
    assert machine.called("whisperlivekit") == ["whisperlivekit check"]
    assert not machine.called("pip")


class ServiceMachine(Machine):
    """With systemd, as root; what would change the machine is only written down."""

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
    """User, folders of its own, unit, enabled, started; and the secrets are not for everybody."""
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


def test_service_again_upgrades_in_place(service_machine: ServiceMachine) -> None:
    """The unit follows the settings, the user stays, the service is restarted."""
    machine = service_machine
    machine.serve()
    assert "TimeoutStopSec=45" in machine.unit.read_text()
    (machine.home / ".env").write_text("WLK_GUNICORN_GRACEFUL_TIMEOUT=60\n")
    machine.calls.write_text("")
    assert machine.serve().returncode == 0
    assert "TimeoutStopSec=75" in machine.unit.read_text()
    assert not machine.called("useradd")
    assert machine.called("systemctl restart")
    assert "The unit is as it should be" in machine.serve().stdout
    assert (machine.home / ".env").read_text() == "WLK_GUNICORN_GRACEFUL_TIMEOUT=60\n"


def test_service_remove_leaves_nothing_but_files(service_machine: ServiceMachine) -> None:
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


def test_a_folder_that_the_user_cannot_reach_is_named(service_machine: ServiceMachine) -> None:
    """Before anything is started."""
    service_machine.program("runuser", "exit 126")
    result = service_machine.serve()
    assert result.returncode == 1
    assert "/opt is a good place" in result.stderr
    assert not service_machine.called("systemctl")


def test_no_systemd(service_machine: ServiceMachine) -> None:
    (service_machine.bin / "systemctl").unlink()
    result = service_machine.serve()
    assert result.returncode == 1
    assert "there is no systemd here" in result.stderr
    assert not service_machine.called("pip")


def test_certificate_names_this_machine(machine: Machine) -> None:
    """For localhost, the machine's name and its addresses; a second run keeps it; the key is for its owner alone."""
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
    assert "is there already" in machine.run("certificate").stdout
    assert certificate.read_bytes() == before
