# mypy: ignore-errors
"""WhisperLiveKit's headless client, as its documentation says: ``await transcribe_audio(audio, url)``.

    whisperlivekit_client.py AUDIO URL MODE

Prints {"text", "committed", "updates", "lines", "statuses"}. The package itself is not imported, only its client: the
package imports everything that recognises speech.
"""

import asyncio
import importlib.util
import json
import sys
from types import ModuleType

found = importlib.util.find_spec("whisperlivekit")
package = ModuleType("whisperlivekit")
package.__path__ = found.submodule_search_locations
sys.modules["whisperlivekit"] = package

from whisperlivekit.test_client import transcribe_audio  # noqa: E402

audio, url, mode = sys.argv[1:]
result = asyncio.run(transcribe_audio(audio, url, speed=4.0, mode=mode))
print(
    json.dumps(
        {
            "text": result.text,
            "committed": result.committed_text,
            "updates": result.n_updates,
            "lines": result.lines,
            "statuses": sorted({response["status"] for response in result.responses}),
        }
    )
)
