"""The application as a whole."""

import asyncio
import json
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from tests.server.scripted import scripted_server
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.app import create_app
from whisperlivekit.settings.declarations import Settings


class _Counted(ScriptedEngine):
    """Records its life cycle."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes
        notes.append("made")

    async def load(self) -> None:
        self.notes.append("loaded")

    def close(self) -> None:
        self.notes.append("closed")


def test_the_engine_lives_as_long_as_the_lifespan() -> None:
    """Making the application makes no engine: a master may do it before it forks. The lifespan loads and closes it."""
    notes: list[str] = []
    workers: list[int] = []

    def make(worker: int) -> _Counted:
        workers.append(worker)
        return _Counted(notes)

    app = create_app(Settings(model="base"), make, page=None)
    assert notes == []
    app.state.service.worker = 3
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/live").text == "live\n"
        while client.get("/ready").status_code != 200:
            pass
        assert notes == ["made", "loaded"]
    assert notes == ["made", "loaded", "closed"]
    assert workers == [3]


def test_applications_are_independent() -> None:
    """No state at module level: two applications in one process count separately."""
    with scripted_server() as first, scripted_server() as second:
        first.check_alive()
        assert (first.service.served, second.service.served) == (1, 0)
        assert b"whisperlivekit_words_total 3.0" in first.service.metrics.exposition()
        assert b"whisperlivekit_words_total 0.0" in second.service.metrics.exposition()


def test_every_answer_has_the_security_headers() -> None:
    """Also errors and addresses that do not exist."""
    app = create_app(Settings(model="base"), lambda _: ScriptedEngine(), page=None)
    with TestClient(app, base_url="http://localhost") as client:
        for answer in (client.get("/live"), client.get("/nothing"), client.post("/v1/audio/transcriptions")):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_error_has_an_id_and_hides_its_cause() -> None:
    """The same id in the body and in a header; an internal error reveals no traceback, path or message."""
    app = create_app(Settings(model="base"), lambda _: ScriptedEngine(), page=None)

    async def broken(_: Request) -> Response:
        raise ValueError("the secret reason")

    app.add_route("/broken", broken)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        answers = {
            "not_found": client.get("/nothing"),
            "method_not_allowed": client.get("/v1/audio/transcriptions"),
            "internal_error": client.get("/broken"),
        }
        for code, answer in answers.items():
            body = answer.json()
            assert body["code"] == code
            assert body["session"] == answer.headers["x-request-id"]
            assert len(body["session"]) == 16
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "secret" not in answer.text
            assert "Traceback" not in answer.text
        assert len({answer.headers["x-request-id"] for answer in answers.values()}) == 3


def test_connections_can_wait_for_the_model() -> None:
    """With ``warm_within_s`` the start-up takes until the model is loaded, or that long."""

    class Slow(ScriptedEngine):
        async def load(self) -> None:
            await asyncio.sleep(0.2)

    for patience, status in ((5.0, 200), (0.01, 503)):
        app = create_app(Settings(model="base"), lambda _: Slow(), page=None)
        app.state.service.warm_within_s = patience
        with TestClient(app, base_url="http://localhost") as client:
            assert client.get("/ready").status_code == status


def test_every_path_is_described() -> None:
    """/openapi.json has each path for programs, no error that the server never sends, and no path of the pages."""
    app = create_app(Settings(model="base"), lambda _: ScriptedEngine())
    with TestClient(app, base_url="http://localhost") as client:
        described = client.get("/openapi.json").json()
        assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    openai = {"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models", "/v1/models/{name}"}
    assert set(described["paths"]) == {"/live", "/ready", "/metrics", "/ws", "/v1/listen", *openai}
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert not any("422" in operation["responses"] for operation in operations)
    schemas = set(described["components"]["schemas"])
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(described)))
    assert references == schemas - {"HTTPValidationError", "ValidationError"}


def test_health_checks_answer_head() -> None:
    """As load balancers ask; other methods get 405 with the error body."""
    app = create_app(Settings(model="base"), lambda _: ScriptedEngine())
    with TestClient(app, base_url="http://localhost") as client:
        for path in ("/live", "/metrics", "/status", "/"):
            assert client.head(path).status_code == 200
        assert client.post("/live").json()["code"] == "method_not_allowed"
