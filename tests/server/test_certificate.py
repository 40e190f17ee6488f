"""A renewed certificate is loaded without a restart."""

import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import websockets.sync.client

from benchmarks.serving import ROOT, running_server
from tests.certificates import self_signed
from whisperlivekit.server.certificate import LOOK_EVERY_S, CertificateFiles


def fingerprint(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def replace(old: tuple[Path, Path], new: tuple[Path, Path]) -> None:
    for source, target in zip(new, old, strict=True):
        if source != target:
            shutil.copy(source, target)
        later = target.stat().st_mtime_ns + 10_000_000_000
        os.utime(target, ns=(later, later))


def test_changed_files_are_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only if they have changed and load, and only certificate and key together."""
    live, renewed = self_signed(tmp_path, name="live"), self_signed(tmp_path, name="renewed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*live)
    files = CertificateFiles(context, *live)
    assert not files.refresh()
    replace(live, (renewed[0], live[1]))  # its key has not been replaced yet
    assert not files.refresh()
    assert "the old one stays in use" in caplog.text
    replace(live, renewed)
    assert files.refresh()
    assert not files.refresh()
    live[0].unlink()
    assert not files.refresh()


@pytest.mark.model
@pytest.mark.slow
def test_wss_and_a_renewal_under_a_live_stream(base_model: Path, tmp_path: Path) -> None:
    """A stream over wss is recognised; a certificate renewed meanwhile is what the next client sees, and the stream
    goes on to its end.
    """
    import soundfile

    live, renewed = self_signed(tmp_path, name="live"), self_signed(tmp_path, name="renewed")
    trust = ssl.create_default_context(cafile=str(live[0]))
    samples, _ = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="int16")
    with running_server(1, WLK_SSL_CERTFILE=str(live[0]), WLK_SSL_KEYFILE=str(live[1])) as server:
        assert server.ws_url.startswith("wss:")
        with websockets.sync.client.connect(server.ws_url, ssl=trust, compression=None) as socket:
            socket.send('{"type":"start","language":"ru"}')
            assert isinstance(socket.socket, ssl.SSLSocket)
            first = socket.socket.getpeercert(binary_form=True)
            replace(live, renewed)
            deadline = time.monotonic() + 2 * LOOK_EVERY_S
            while "loaded the new certificate" not in server.log_text():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            second = subprocess.run(
                ["openssl", "s_client", "-connect", server.url.removeprefix("https://")],
                input="",
                capture_output=True,
                text=True,
                check=False,
                timeout=10,
            ).stdout
            socket.send(samples.tobytes())
            socket.send('{"type":"stop"}')
            events = list(socket)
        assert first != fingerprint(renewed[0])
        assert "CN = renewed" in second or "CN=renewed" in second
        assert '"type":"done"' in str(events[-1]).replace(" ", "")
        assert any('"committed"' in str(event) for event in events)
