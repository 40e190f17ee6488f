"""What the adapters for telephone switches have in common, and their recorded conversations."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.wire import telephony_conversations as conversations
from whisperlivekit.wire.telephony import objects


def test_fixtures_are_up_to_date() -> None:
    """If this fails, run python -m tests.wire.telephony_conversations and read what has changed."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in conversations.FIXTURES.glob("*.jsonl")}
    assert found == {name: conversations.lines(name) for name in conversations.CONVERSATIONS}


_values = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


@given(st.lists(st.dictionaries(st.text(max_size=5), _values, max_size=3), max_size=4), st.text(" \n", max_size=3))
def test_objects_in_one_frame_are_all_found(written: list[dict[str, Any]], between: str) -> None:
    """Whatever white space lies between them. Anything else in the frame makes it a text without meaning."""
    text = between.join(json.dumps(each) for each in written)
    assert objects(text) == written
    for other in ("x", "1", "[]", '{"a": NaN}', '{"a": "\\ud800"}', "{"):
        assert objects(text + between + other) == []
