"""The speech gate: speech probabilities in, starts and ends of utterances out."""

from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.gate import (
    HYSTERESIS,
    OPEN_SPAN,
    OPEN_WINDOWS,
    POST_ROLL_S,
    PRE_ROLL_S,
    Closed,
    Gate,
    GateState,
    Opened,
)
from whisperlivekit.core.units import WINDOW, to_samples

THRESHOLD = 0.5
HANGOVER_S = 0.5
HANGOVER_WINDOWS = -(-to_samples(HANGOVER_S) // WINDOW)
PRE_ROLL, POST_ROLL = to_samples(PRE_ROLL_S), to_samples(POST_ROLL_S)

SPEECH, SILENCE, BETWEEN = 0.9, 0.1, THRESHOLD - HYSTERESIS / 2

probabilities = st.lists(
    st.tuples(st.sampled_from([SPEECH, SILENCE, BETWEEN, 0.0, 1.0, THRESHOLD]), st.integers(1, 40)), max_size=12
).map(lambda runs: [probability for probability, count in runs for _ in range(count)])
"""Runs of equal windows: independent random windows would hardly ever open the gate."""


def judge(gate: Gate, windows: list[float]) -> list[Opened | Closed]:
    return [change for window in windows if (change := gate.receive_speech(window))]


def test_speech_opens_with_pre_roll_and_silence_closes_with_post_roll() -> None:
    """Positions of the start and the end, to the sample."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    changes = judge(gate, [SILENCE] * 100 + [SPEECH] * 50 + [SILENCE] * 100)
    assert changes == [Opened(100 * WINDOW - PRE_ROLL), Closed(150 * WINDOW, 150 * WINDOW + POST_ROLL)]
    assert gate.state is GateState.CLOSED


def test_it_opens_as_soon_as_enough_windows_are_speech() -> None:
    """The gate opens with the window that completes ``OPEN_WINDOWS``, not earlier."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    assert judge(gate, [SPEECH] * (OPEN_WINDOWS - 1)) == []
    assert judge(gate, [SPEECH]) == [Opened(0)]


def test_clicks_do_not_open_it() -> None:
    """Short loud sounds with enough silence between them do not open the gate."""
    assert judge(Gate(THRESHOLD, HANGOVER_S), ([SPEECH] * (OPEN_WINDOWS - 1) + [SILENCE] * OPEN_SPAN) * 50) == []


def test_a_dip_in_the_first_syllable_does_not_keep_it_closed() -> None:
    """The utterance begins with the first window of the syllable, less the pre-roll."""
    windows = [SILENCE] * 60 + [SPEECH, SILENCE, SPEECH, SPEECH]
    assert judge(Gate(THRESHOLD, HANGOVER_S), windows) == [Opened(60 * WINDOW - PRE_ROLL)]


def test_hysteresis_keeps_it_open_but_does_not_open_it() -> None:
    """Windows between the two thresholds keep the state that the gate has."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    assert judge(gate, [BETWEEN] * 200) == []
    assert len(judge(gate, [SPEECH] * 10)) == 1
    assert judge(gate, [BETWEEN] * 200) == []
    assert gate.silence == 0


def test_a_pause_shorter_than_the_hangover_does_not_close_it() -> None:
    """The hangover counts from the last window with speech."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    judge(gate, [SPEECH] * 10)
    for _ in range(10):
        assert judge(gate, [SILENCE] * (HANGOVER_WINDOWS - 1) + [SPEECH]) == []
    assert len(judge(gate, [SILENCE] * HANGOVER_WINDOWS)) == 1


def test_a_short_hangover_ends_before_its_post_roll() -> None:
    """An utterance never ends after the last window received."""
    gate = Gate(THRESHOLD, hangover_s=0.1)
    judge(gate, [SPEECH] * 10)
    (closed,) = judge(gate, [SILENCE] * 20)
    assert closed == Closed(10 * WINDOW, 14 * WINDOW)


def test_an_opened_gate_closes_by_itself() -> None:
    """A resumed stream continues inside an utterance; if nobody speaks there any more, the utterance ends."""
    gate = Gate(THRESHOLD, HANGOVER_S, start=5_000)
    gate.open(5_000)
    assert judge(gate, [SILENCE] * HANGOVER_WINDOWS) == [Closed(5_000, 5_000 + POST_ROLL)]


@given(probabilities, probabilities, st.integers(0, 4 * WINDOW))
def test_a_closed_gate_opens_no_earlier_than_it_was_told(before: list[float], after: list[float], ahead: int) -> None:
    """A flush may lie in audio whose windows have not come yet: no later utterance begins before it."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    judge(gate, before)
    at = gate.position + ahead
    gate.close(at)
    assert gate.state is GateState.CLOSED
    for change in judge(gate, after):
        if isinstance(change, Opened):
            assert change.at >= at


@given(probabilities, st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 0.5, 2.0]))
def test_the_gate_keeps_its_promises(windows: list[float], start: int, hangover_s: float) -> None:
    """Starts and ends alternate, utterances do not overlap, and none begins before ``kept_from``."""
    gate = Gate(THRESHOLD, hangover_s, start)
    was_open = False
    last_end = kept_from = start
    for index, window in enumerate(windows, 1):
        assert gate.kept_from >= kept_from, "kept_from fell"
        kept_from = gate.kept_from
        change = gate.receive_speech(window)
        assert gate.position == start + index * WINDOW
        match change:
            case Opened(at):
                assert not was_open
                assert max(last_end, kept_from) <= at < gate.position
                was_open = True
            case Closed(at, end):
                assert was_open
                assert last_end < at <= end <= gate.position
                last_end = end
                was_open = False
        assert (gate.state is GateState.OPEN) == was_open
        assert gate.speech_end <= gate.position


@given(probabilities)
def test_all_speech_is_inside_utterances(windows: list[float]) -> None:
    """Three windows in a row with speech always lie inside an utterance."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    spans: list[tuple[int, int]] = []
    begin = None
    for window in windows:
        match gate.receive_speech(window):
            case Opened(at):
                begin = at
            case Closed(_, end):
                assert begin is not None
                spans.append((begin, end))
                begin = None
    if begin is not None:
        spans.append((begin, gate.position))
    for index in range(len(windows) - OPEN_WINDOWS + 1):
        if all(window >= THRESHOLD for window in windows[index : index + OPEN_WINDOWS]):
            low, high = index * WINDOW, (index + OPEN_WINDOWS) * WINDOW
            assert any(start <= low and high <= end for start, end in spans)
