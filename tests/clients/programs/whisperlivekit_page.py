# mypy: ignore-errors
"""Prints the page of WhisperLiveKit as its own server would answer ``/`` with it, as a JSON string.

The package itself is not imported, only its module for the page: the package imports everything that recognises speech.
"""

import importlib.util
import json
import sys
from types import ModuleType

found = importlib.util.find_spec("whisperlivekit")
package = ModuleType("whisperlivekit")
package.__path__ = found.submodule_search_locations
sys.modules["whisperlivekit"] = package

from whisperlivekit.web.web_interface import get_inline_ui_html  # noqa: E402

print(json.dumps(get_inline_ui_html()))
