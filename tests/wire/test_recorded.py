"""The example conversations of other services' protocols."""

import pytest

from tests.wire.recorded import FIXTURES, PROTOCOLS, lines, names


@pytest.mark.parametrize(("protocol", "name"), names())
def test_a_conversation_goes_as_recorded(protocol: str, name: str) -> None:
    """Letter by letter: some clients search in the text. If a change is meant, run python -m tests.wire.recorded."""
    assert (FIXTURES / protocol / f"{name}.jsonl").read_text(encoding="utf-8") == lines(protocol, name)


def test_no_recording_is_left_over() -> None:
    """Each file belongs to a conversation."""
    found = {(path.parent.name, path.stem) for protocol in PROTOCOLS for path in (FIXTURES / protocol).iterdir()}
    assert found == set(names())
