"""Accounts of streams and files."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from whisperlivekit.core.commands import Resume, Start
from whisperlivekit.core.events import Committed, Event, Gap, Partial, Progress, Refined, UtteranceEnded
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.observe.metrics import Metrics
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.session.admission import Admission, Ticket

SECOND = 16_000


def word(end_s: float) -> Word:
    end = int(end_s * SECOND)
    return Word(" да", end - 100, end, 0.9)


def accounted(
    *events: tuple[Event, int], realtime: bool = True, received: int = 0, start: Start | None = None
) -> tuple[dict[str, float], Ticket]:
    """The metrics of one stream that had these events, each with the end of the audio received by then."""
    metrics = Metrics()
    ticket = Admission().admit("a", realtime=realtime)

    async def run() -> None:
        account = StreamAccount(metrics, ticket, "native")
        if start is not None:
            account.begin(start)
        account.receive_audio(received)
        for event, end in events:
            account.observe(event, end)
        account.close("ok")

    asyncio.run(run())
    samples = {
        sample.name.removeprefix("whisperlivekit_") + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    return samples, ticket


def test_a_stream_is_counted_from_its_opening_to_its_end() -> None:
    """Audio, speech, words and gaps, each once."""
    told, _ = accounted(
        (UtteranceEnded(0, SECOND, SECOND), SECOND),
        (Committed((word(0.5), word(1.0)), 0), SECOND),
        (Gap(0, 2 * SECOND, "decode_failed", 2 * SECOND), 2 * SECOND),
        received=2 * SECOND,
    )
    assert told["sessions_opened_totalnative"] == told["sessions_closed_totalok"] == 1
    assert told["audio_seconds_total"] == told["session_audio_seconds_sum"] == 2
    assert told["speech_seconds_total"] == 1
    assert told["words_total"] == 2
    assert told["gap_seconds_totaldecode_failed"] == 2


def test_latencies_of_real_time_audio_are_counted() -> None:
    """From a word's end to the audio that has arrived; a partial counts only when it shows something new."""
    told, ticket = accounted(
        (Partial("да", 0, int(0.5 * SECOND)), SECOND),
        (Partial("да", 0, int(0.5 * SECOND)), 2 * SECOND),
        (Committed((word(0.5),), 0), SECOND),
        (Progress(2 * SECOND, SECOND, 0), 2 * SECOND),
    )
    assert told["partial_latency_seconds_count"] == told["commit_latency_seconds_count"] == 1
    assert told["partial_latency_seconds_sum"] == told["commit_latency_seconds_sum"] == pytest.approx(0.5)
    assert told["lag_seconds_sum"] == ticket.lag_s == 1.0


def test_a_stereo_stream_is_as_late_as_its_slower_channel() -> None:
    """Its audio counts for both channels, and what one of them shows is not new text of the other."""
    end = 2 * SECOND
    told, ticket = accounted(
        (Partial("да", 0, SECOND, channel=0), end),
        (Partial("да", 0, SECOND, channel=1), end),
        (Progress(end, SECOND, 0, channel=0), end),
        (Progress(end, end, 0, channel=1), end),
        received=end,
        start=Start(channels=2),
    )
    assert told["audio_seconds_total"] == 4
    assert told["session_audio_seconds_sum"] == 2
    assert told["partial_latency_seconds_count"] == 2
    assert ticket.lag_s == 1.0


def test_a_stream_that_commits_by_utterance_is_not_late_while_its_words_wait() -> None:
    """Its words are held on purpose: what counts is how far the decodes are, and when the last word comes."""
    end = 2 * SECOND
    told, ticket = accounted(
        (Progress(end, 0, 0, heard=int(1.5 * SECOND)), end),
        (Committed((word(0.5), word(1.75)), end), end),
        start=Start(commit="utterance"),
    )
    assert told["lag_seconds_sum"] == ticket.lag_s == 0.5
    assert told["commit_latency_seconds_count"] == 1
    assert told["commit_latency_seconds_sum"] == 0.25


@pytest.mark.parametrize(("realtime", "end_s"), [(False, 1), (True, 60)])
def test_latencies_of_audio_that_is_sent_at_once_are_not(realtime: bool, end_s: int) -> None:
    """A file, or a stream that is far ahead of the clock, is late by nature."""
    end = end_s * SECOND
    told, ticket = accounted((Committed((word(0.5),), 0), end), (Progress(end, 0, 0), end), realtime=realtime)
    assert told["commit_latency_seconds_count"] == told["lag_seconds_count"] == ticket.lag_s == 0
    assert told["words_total"] == 1


def test_a_resumed_stream_is_not_ahead_of_the_clock() -> None:
    """Its clock begins where the earlier connection's ended."""
    end = 61 * SECOND
    told, _ = accounted((Committed((word(60.5),), 0), end), start=Start(resume=Resume(None, 60 * SECOND)))
    assert told["sessions_resumed_total"] == told["commit_latency_seconds_count"] == 1


def test_refined_paragraphs_are_counted() -> None:
    """By outcome, with the time from their end to their text."""
    told, _ = accounted(
        (Refined(0, SECOND, (word(0.5),), 1, True, 0, 0), 2 * SECOND),
        (Refined(SECOND, 2 * SECOND, (), 0, False, 0, 0), 2 * SECOND),
    )
    assert told["refined_paragraphs_totaldecoded"] == told["refined_paragraphs_totalgiven_up"] == 1
    assert told["refine_latency_seconds_sum"] == 1.0
    assert told["words_total"] == 0


def test_a_stream_without_audio_has_no_length() -> None:
    """Otherwise a health check's connections would count as short recordings."""
    told, _ = accounted()
    assert told["session_audio_seconds_count"] == 0


def test_the_log_has_the_totals(caplog: pytest.LogCaptureFixture) -> None:
    """One line when a stream or a file ends, without a word that was said."""
    with caplog.at_level("INFO"):
        accounted((Committed((word(0.5),), 0), SECOND), received=SECOND)
        accounted(realtime=False)
    lines = [(record.getMessage(), vars(record)["words"], vars(record)["audio_s"]) for record in caplog.records]
    assert lines == [("session closed", 1, 1.0), ("file closed", 0, 0.0)]
    assert "да" not in caplog.text
