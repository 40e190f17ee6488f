"""Speech probabilities in, speech starts and stops out."""

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
"""Runs of equal windows: single random windows would hardly ever open the gate."""


def judge(gate: Gate, windows: list[float]) -> list[Opened | Closed]:
    return [change for window in windows if (change := gate.receive_speech(window))]


def test_speech_opens_with_pre_roll_and_silence_closes_with_post_roll() -> None:
    """The plain case, to the sample."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    changes = judge(gate, [SILENCE] * 100 + [SPEECH] * 50 + [SILENCE] * 100)
    assert changes == [Opened(100 * WINDOW - PRE_ROLL), Closed(150 * WINDOW, 150 * WINDOW + POST_ROLL)]
    assert gate.state is GateState.CLOSED


def test_it_opens_as_soon_as_enough_windows_are_speech() -> None:
    """Not earlier, not later."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    assert judge(gate, [SPEECH] * (OPEN_WINDOWS - 1)) == []
    assert judge(gate, [SPEECH]) == [Opened(0)]


def test_clicks_do_not_open_it() -> None:
    """Single loud windows with enough silence between them are no word."""
    assert judge(Gate(THRESHOLD, HANGOVER_S), ([SPEECH] * (OPEN_WINDOWS - 1) + [SILENCE] * OPEN_SPAN) * 50) == []


def test_a_stuttering_start_still_opens_it() -> None:
    """A short dip inside the first syllable does not cost the syllable: the pre-roll counts from its first window."""
    windows = [SILENCE] * 60 + [SPEECH, SILENCE, SPEECH, SPEECH]
    assert judge(Gate(THRESHOLD, HANGOVER_S), windows) == [Opened(60 * WINDOW - PRE_ROLL)]


def test_hysteresis_keeps_it_open_but_does_not_open_it() -> None:
    """Between the two thresholds nothing changes."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    assert judge(gate, [BETWEEN] * 200) == []
    assert len(judge(gate, [SPEECH] * 10)) == 1
    assert judge(gate, [BETWEEN] * 200) == []
    assert gate.silence == 0


def test_a_pause_shorter_than_the_hangover_does_not_close_it() -> None:
    """The hangover is counted from the last window of speech."""
    gate = Gate(THRESHOLD, HANGOVER_S)
    judge(gate, [SPEECH] * 10)
    for _ in range(10):
        assert judge(gate, [SILENCE] * (HANGOVER_WINDOWS - 1) + [SPEECH]) == []
    assert len(judge(gate, [SILENCE] * HANGOVER_WINDOWS)) == 1


def test_a_short_hangover_ends_before_its_post_roll() -> None:
    """An utterance never ends beyond what was heard."""
    gate = Gate(THRESHOLD, hangover_s=0.1)
    judge(gate, [SPEECH] * 10)
    (closed,) = judge(gate, [SILENCE] * 20)
    assert closed == Closed(10 * WINDOW, 14 * WINDOW)


def test_opened_by_order_it_closes_by_itself() -> None:
    """A resumed stream goes on inside an utterance; if nobody speaks there any more, the utterance ends."""
    gate = Gate(THRESHOLD, HANGOVER_S, start=5_000)
    gate.open(5_000)
    assert judge(gate, [SILENCE] * HANGOVER_WINDOWS) == [Closed(5_000, 5_000 + POST_ROLL)]


@given(probabilities, probabilities, st.integers(0, 4 * WINDOW))
def test_closed_by_order_it_opens_no_earlier(before: list[float], after: list[float], ahead: int) -> None:
    """A flush may name audio that is received but not judged yet; nothing before it is heard again."""
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
    """Starts and stops alternate, utterances do not overlap, and none begins in audio that was given up."""
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
    """Wherever three windows in a row are speech, an utterance holds them."""
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
