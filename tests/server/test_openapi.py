"""The description of the HTTP side; that it is true is seen in tests/fuzz/test_openapi.py."""

from starlette.routing import Route
from starlette.testclient import TestClient

from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.app import create_app
from whisperlivekit.server.openapi import SCHEMA
from whisperlivekit.settings.declarations import Settings


def test_every_address_is_described_and_served() -> None:
    """No route without its words, no words without their route; the description itself and the pages excepted."""
    app = create_app(Settings(model="base"), lambda _: ScriptedEngine(), page=None)
    served = {route.path for route in app.routes if isinstance(route, Route)}
    assert served - {"/openapi.json"} == set(SCHEMA["paths"])
    with TestClient(app) as client:
        assert client.get("/openapi.json").json() == SCHEMA


def test_references_lead_somewhere() -> None:
    """Each ``$ref`` names a schema that is there."""

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [found for value in part.values() for found in references(value)]
        return [found for value in part for found in references(value)] if isinstance(part, list) else []

    assert {found.rsplit("/", 1)[1] for found in references(SCHEMA)} == set(SCHEMA["components"]["schemas"])
