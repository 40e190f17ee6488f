"""What one stream or file adds to the metrics, and the line that the log gets when it ends."""

import asyncio
import logging

from prometheus_client import Histogram

from whisperlivekit.core.commands import Start
from whisperlivekit.core.events import Committed, Done, Event, Gap, Partial, Progress, Refined, UtteranceEnded
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.observe.metrics import Metrics
from whisperlivekit.session.admission import Ticket

log = logging.getLogger(__name__)

AHEAD_S = 2.0
"""A client may be this far ahead of the clock and still count as sending in real time: networks deliver in bursts."""


class StreamAccount:
    """The account of a connection's streams, or of a file, from the admission to the end. Positions are samples of the
    current stream.
    """

    def __init__(self, metrics: Metrics, ticket: Ticket, protocol: str) -> None:
        """``protocol``: the metrics' name for how the stream came."""
        self._metrics = metrics
        self._ticket = ticket
        self._loop = asyncio.get_running_loop()
        self._opened_s = self._began_s = self._loop.time()
        self._origin = 0
        self._by_utterance = False
        self._received = self._words = self._gaps = 0
        self._shown_to: dict[int | None, int] = {}
        """End of the text that was shown, by channel."""
        self._lag_s: dict[int | None, float] = {}
        """By channel."""
        self._channels = 1
        metrics.opened.labels(protocol).inc()

    def begin(self, start: Start) -> None:
        """A stream begins, and the client has asked for this; without it, an account has the defaults."""
        self._by_utterance = start.by_utterance
        self._channels = start.channels
        self._began_s = self._loop.time()
        self._origin = 0
        self._shown_to.clear()
        self._lag_s.clear()
        self._ticket.lag_s = 0.0
        if start.resume is not None:
            # Audio before it was received in time by an earlier connection.
            self._origin = start.resume.live_from or start.resume.position
            self._metrics.resumed.inc()

    def receive_audio(self, samples: int) -> None:
        """So many samples of each channel were received."""
        self._received += samples
        self._metrics.audio.inc(self._channels * samples / SAMPLE_RATE)

    def observe(self, event: Event, received: int) -> None:
        """Count an event that is about to be sent. ``received``: the end of the audio that the session has."""
        match event:
            case Committed(words):
                self._words += len(words)
                self._metrics.words.inc(len(words))
                # By utterance, all words but the last wait on purpose.
                for word in words[-1:] if self._by_utterance else words:
                    self._observe_latency(self._metrics.commit_latency, received - word.end, received)
            case Partial(text, _, end, channel=channel) if text and end > self._shown_to.get(channel, 0):
                self._shown_to[channel] = end
                self._observe_latency(self._metrics.partial_latency, received - end, received)
            case Refined(end=end, decoded=decoded):
                self._metrics.refined.labels("decoded" if decoded else "given_up").inc()
                self._observe_latency(self._metrics.refine_latency, received - end, received)
            case UtteranceEnded(start, end):
                self._metrics.speech.inc((end - start) / SAMPLE_RATE)
            case Gap(start, end, reason):
                self._gaps += end - start
                self._metrics.gap.labels(reason).inc((end - start) / SAMPLE_RATE)
                log.warning("gap", extra={"start_s": start / SAMPLE_RATE, "end_s": end / SAMPLE_RATE, "reason": reason})
            case Progress(end, settled, heard=heard, channel=channel):
                self._observe_lag(end, heard if self._by_utterance and heard is not None else settled, channel)
            case Done():
                self._ticket.lag_s = 0.0  # The connection may stay open.
            case _:
                pass

    def close(self, code: str) -> None:
        """Count the end of the stream and log its totals. ``code``: ok, disconnected, or an error's."""
        self._metrics.closed.labels(code).inc()
        if self._received:
            self._metrics.length.observe(self._received / SAMPLE_RATE)
        totals = {
            "code": code,
            "open_s": round(self._loop.time() - self._opened_s, 1),
            "audio_s": round(self._received / SAMPLE_RATE, 1),
            "words": self._words,
            "gap_s": round(self._gaps / SAMPLE_RATE, 1),
        }
        log.info("session closed" if self._ticket.realtime else "file closed", extra=totals)

    def _observe_lag(self, received: int, settled: int, channel: int | None) -> None:
        if not self._is_realtime(received):
            return
        lag_s = self._lag_s[channel] = (received - settled) / SAMPLE_RATE
        self._ticket.lag_s = max(self._lag_s.values())
        if received > settled:
            self._metrics.lag.observe(lag_s)

    def _observe_latency(self, histogram: Histogram, samples: int, received: int) -> None:
        """``samples``: from the end of a word until now."""
        if self._is_realtime(received):
            histogram.observe(max(0, samples) / SAMPLE_RATE)

    def _is_realtime(self, received: int) -> bool:
        """Whether the audio arrives as it is spoken. Audio that is sent faster is late by nature."""
        passed_s = self._loop.time() - self._began_s
        return self._ticket.realtime and (received - self._origin) / SAMPLE_RATE <= passed_s + AHEAD_S
