"""One utterance: hypotheses in; committed words, partials and the next window out.

Long because each rule has a test of its own, beside the tables of states and a property test over all of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core import utterance as module
from whisperlivekit.core.commit import CommitPolicy
from whisperlivekit.core.events import Partial
from whisperlivekit.core.gate import POST_ROLL_S
from whisperlivekit.core.history import Context
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.units import SAMPLE_RATE, to_samples
from whisperlivekit.core.utterance import (
    PAUSE_S,
    PHASES,
    RETRIES,
    UNHEARD_S,
    IllegalTransition,
    Output,
    Phase,
    PhaseInput,
    Retry,
    RetryInput,
    Utterance,
    WindowRules,
)

RULES = WindowRules(step=9_600, first_step=14_400, longest=15 * SAMPLE_RATE, window_words=10, prefix_words=6)
START = 16_000
PAUSE, UNHEARD = to_samples(PAUSE_S), to_samples(UNHEARD_S)
WORD = 6_400

TABLES: list[tuple[Mapping[Any, Mapping[Any, Any]], type[Enum], type[Enum]]] = [
    (PHASES, Phase, PhaseInput),
    (RETRIES, Retry, RetryInput),
]


def utterance(rules: WindowRules = RULES, prefix: tuple[Word, ...] = ()) -> Utterance:
    return Utterance(START, rules, CommitPolicy(frame_threshold=25), prefix)


def words(count: int, start: int = START) -> tuple[Word, ...]:
    """Words in a row, each with a text of its own that holds no digit."""
    return tuple(
        Word(f" с{'абвгдеёжзийклмнопрстуфх'[at]}", start + at * WORD, start + (at + 1) * WORD, 0.9)
        for at in range(count)
    )


def request(subject: Utterance, received: int) -> DecodeRequest:
    """The request that a session makes for the window that is due."""
    window = subject.next_window(received)
    assert window is not None, "no decode is due"
    context = subject.context.text if subject.context else ""
    prefix = "".join(word.text for word in subject.prefix)
    samples = np.zeros(window.end - window.start, np.float32)
    return DecodeRequest(1, samples, window.start, "ru", context_text=context, prefix=prefix, final=window.final)


def answer(subject: Utterance, received: int, *said: Word) -> list[Output] | None:
    """Decode the window that is due, with these words as answer."""
    return subject.receive_hypothesis(request(subject, received), Hypothesis(1, said), START)


def phase(subject: Utterance) -> Phase:
    """A call, so that mypy does not take the phase of one moment for that of the next."""
    return subject.phase


def pause(subject: Utterance, speech_end: int) -> None:
    subject.receive_window(PAUSE, speech_end)


# ---- the tables


def documented(rows: type[Enum], columns: type[Enum]) -> dict[str, dict[str, str]]:
    """The table of the module's docstring whose rows and columns are these."""
    lines = [line.split() for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    header = next(number for number, line in enumerate(lines) if line == [column.name for column in columns])
    table = {line[0]: line[1:] for line in lines[header + 1 : header + 1 + len(rows)]}
    return {
        name: {column: cell for column, cell in zip(lines[header], cells, strict=True) if cell != "-"}
        for name, cells in table.items()
    }


@pytest.mark.parametrize(("table", "states", "inputs"), TABLES)
def test_the_documented_tables_are_the_ones_in_use(
    table: Mapping[Any, Mapping[Any, Any]], states: type[Enum], inputs: type[Enum]
) -> None:
    """Every state and input of the docstring, and nothing else."""
    in_use = {state.name: {one.name: after.name for one, after in row.items()} for state, row in table.items()}
    assert documented(states, inputs) == in_use


@pytest.mark.parametrize(("table", "states", "inputs"), TABLES)
def test_every_transition_that_is_not_in_a_table_raises(
    table: Mapping[Any, Mapping[Any, Any]], states: type[Enum], inputs: type[Enum]
) -> None:
    """A fault in the program shows where it happens, with what was found and what is allowed."""
    refused = [(state, one) for state in states for one in inputs if one not in table[state]]
    assert refused
    for state, one in refused:
        with pytest.raises(IllegalTransition, match=f"^found {one.name} in state {state.name}, expected "):
            module._follow(table, state, one)


def test_an_utterance_can_always_be_completed() -> None:
    """From every phase some inputs lead to COMPLETE, which nothing leaves."""
    leading = {Phase.COMPLETE}
    for _ in Phase:
        leading |= {phase for phase, row in PHASES.items() if leading & set(row.values())}
    assert leading == set(Phase)
    assert not PHASES[Phase.COMPLETE]


# ---- phases


def test_it_begins_while_somebody_speaks() -> None:
    """Nothing is known yet, and nothing is due before the first step."""
    subject = utterance()
    assert phase(subject) is Phase.SPEAKING
    assert not subject.ended
    assert not subject.paused
    assert subject.known_to == subject.settled_to == subject.window_start == START
    assert subject.next_window(START + RULES.first_step - 1) is None
    window = subject.next_window(START + RULES.first_step)
    assert window is not None
    assert (window.start, window.end, window.final) == (START, START + RULES.first_step, False)


def test_silence_pauses_it_and_speech_continues_it() -> None:
    """To the sample: ``PAUSE_S`` of silence is a pause."""
    subject = utterance()
    subject.receive_window(PAUSE - 1, START)
    assert phase(subject) is Phase.SPEAKING
    subject.receive_window(PAUSE, START)
    assert phase(subject) is Phase.PAUSED
    subject.receive_window(0, START + 10_000)
    assert phase(subject) is Phase.SPEAKING


def test_a_pause_that_was_decoded_needs_no_other_decode() -> None:
    """PAUSED becomes HEARD, and an utterance that ends then is complete at once."""
    subject = utterance()
    speech_end = START + 3 * WORD
    pause(subject, speech_end)
    received = speech_end + PAUSE
    assert answer(subject, received, *words(3))
    assert phase(subject) is Phase.HEARD
    assert subject.next_window(received + PAUSE) is None
    subject.receive_end(speech_end + 2 * PAUSE, speech_end)
    assert subject.complete
    assert subject.ended


def test_speech_after_a_decoded_pause_has_to_be_decoded() -> None:
    """HEARD is forgotten when the speaker goes on: the end needs a decode of its own."""
    subject = utterance()
    pause(subject, START + 3 * WORD)
    answer(subject, START + 3 * WORD + PAUSE, *words(3))
    subject.receive_window(0, START + 6 * WORD)
    assert phase(subject) is Phase.SPEAKING
    subject.receive_end(START + 8 * WORD, START + 6 * WORD)
    assert phase(subject) is Phase.ENDED
    assert subject.next_window(START + 8 * WORD) is not None


def test_an_answer_for_an_earlier_pause_does_not_cover_a_later_one() -> None:
    """The request was final, but the speech went on before its answer came."""
    subject = utterance()
    pause(subject, START + 3 * WORD)
    asked = request(subject, START + 3 * WORD + PAUSE)
    assert asked.final
    subject.receive_window(0, START + 6 * WORD)
    pause(subject, START + 6 * WORD)
    subject.receive_hypothesis(asked, Hypothesis(1, words(3)), START)
    assert phase(subject) is Phase.PAUSED


def test_an_utterance_that_has_ended_waits_for_its_final_hypothesis() -> None:
    """Its words are not committed before ``finish``, which the session calls when its turn has come."""
    subject = utterance()
    subject.receive_end(START + 4 * WORD, START + 3 * WORD)
    assert (phase(subject), subject.end) == (Phase.ENDED, START + 4 * WORD)
    asked = request(subject, 10**9)
    assert asked.final
    assert asked.start + len(asked.samples) == subject.end
    assert subject.receive_hypothesis(asked, Hypothesis(1, words(3)), START) == []
    assert subject.complete
    assert subject.finish() == [words(3)]
    assert subject.finish() == []


def test_the_last_word_ends_in_the_utterance() -> None:
    """Also where the last decode has heard more silence, into which alignment stretched the word: a client that resumes
    would take it for a word of the next utterance.
    """
    subject = utterance()
    speech_end = START + 3 * WORD
    pause(subject, speech_end)
    received = speech_end + SAMPLE_RATE
    outputs = answer(subject, received, Word(" слово", START, received, 0.9))
    assert outputs is not None
    end = speech_end + to_samples(POST_ROLL_S)
    subject.receive_end(end, speech_end)
    [committed] = [output for output in [*outputs, *subject.finish()] if isinstance(output, tuple)]
    assert committed[-1].end == end


def test_text_by_utterance_tells_how_clear_the_stream_is() -> None:
    """Its words are committed at the end, and count like those that are committed while somebody speaks."""
    policy = CommitPolicy(frame_threshold=25)
    for _ in range(20):
        subject = Utterance(START, replace(RULES, by_utterance=True), policy)
        pause(subject, START + 3 * WORD)
        received = START + 3 * WORD + PAUSE
        answer(subject, received, *(replace(word, probability=0.6) for word in words(3)))
        subject.receive_end(received, START + 3 * WORD)
        subject.finish()
    assert policy.unclear


def test_an_utterance_without_audio_is_complete_at_once() -> None:
    """A flush may end it where it begins: there is nothing to decode."""
    subject = utterance()
    subject.receive_end(START, START)
    assert subject.complete
    assert subject.finish() == []


@pytest.mark.parametrize("late", [lambda it: it.receive_end(START, START), lambda it: it.receive_window(0, START)])
def test_an_utterance_ends_once(late: Any) -> None:
    """What comes after the end belongs to the next utterance; a session that mixes them up is a fault."""
    subject = utterance()
    subject.receive_end(START + WORD, START + WORD)
    with pytest.raises(IllegalTransition, match="in state ENDED, expected COVERED, GIVEN_UP, UNCOVERED"):
        late(subject)


def test_a_hypothesis_after_the_end_of_all_is_a_fault() -> None:
    """A complete utterance asks for nothing, so nothing can be answered."""
    subject = utterance()
    subject.receive_end(START + 4 * WORD, START + 3 * WORD)
    asked = request(subject, 10**9)
    subject.receive_hypothesis(asked, Hypothesis(1, words(3)), START)
    with pytest.raises(IllegalTransition, match="in state COMPLETE, expected nothing"):
        subject.receive_hypothesis(asked, Hypothesis(1, words(3)), START)


# ---- windows


def test_a_step_of_new_audio_makes_a_decode_due() -> None:
    """While somebody speaks, to the sample."""
    subject = utterance()
    answer(subject, START + RULES.first_step)
    assert subject.next_window(START + RULES.first_step + RULES.step - 1) is None
    assert subject.next_window(START + RULES.first_step + RULES.step) is not None


def test_the_first_decode_of_a_resumed_stream_comes_after_its_words() -> None:
    """Until the audio of the prefix has arrived again there is nothing new to hear."""
    subject = utterance(prefix=words(5))
    assert subject.known_to == START + 5 * WORD
    assert subject.next_window(START + 5 * WORD + RULES.step - 1) is None
    assert request(subject, START + 5 * WORD + RULES.step).prefix == "".join(word.text for word in words(5))


def test_a_window_moves_forward_when_enough_of_it_is_committed() -> None:
    """The last ``prefix_words`` stay, and the window begins with the first of them."""
    subject = utterance()
    outputs = answer(subject, START + 14 * WORD, *words(12))
    assert outputs
    assert isinstance(outputs[0], tuple)
    assert len(outputs[0]) > RULES.window_words
    assert subject.prefix == list(outputs[0][-RULES.prefix_words :])
    assert subject.window_start == subject.settled_to - RULES.prefix_words * WORD == subject.prefix[0].start


def test_a_backlog_is_decoded_in_windows_of_the_longest_length() -> None:
    """More audio than fits: the first window is full and not final, although the utterance has ended."""
    subject = utterance()
    subject.receive_end(START + 3 * RULES.longest, START + 3 * RULES.longest)
    window = subject.next_window(10**9)
    assert window is not None
    assert (window.end - window.start, window.final) == (RULES.longest, False)
    assert answer(subject, 10**9) == [Partial("", START + RULES.longest, START + RULES.longest)]
    assert subject.window_start == START + RULES.longest
    assert phase(subject) is Phase.ENDED


def test_a_decoder_that_stops_early_is_asked_for_the_rest() -> None:
    """What it gave is committed, and the audio after it becomes a window of its own."""
    subject = utterance()
    end = START + 20 * WORD
    subject.receive_end(end, end)
    assert answer(subject, 10**9, *words(4)) == [words(4), Partial("", START + 4 * WORD, START + 4 * WORD)]
    assert phase(subject) is Phase.ENDED
    rest = request(subject, 10**9)
    assert (rest.start, rest.prefix, rest.context_text) == (START + 4 * WORD, "", "")


# ---- the second decode


CONTEXT = Context(np.zeros(1_000, np.float32), " добрый день")


def test_no_words_after_a_context_are_doubted_once() -> None:
    """The same audio is due again, without the context; the second answer is accepted."""
    subject = utterance()
    subject.context = CONTEXT
    end = START + 6 * WORD
    subject.receive_end(end, end)
    assert answer(subject, 10**9) is None
    again = request(subject, 10**9)
    assert (again.start, again.context_text) == (START, "")
    assert not subject.takes_context
    assert answer(subject, 10**9) == []
    assert subject.complete


def test_no_words_after_a_prefix_are_doubted_where_there_is_room_for_one() -> None:
    """The audio after the prefix is decoded alone; where it is short, the prefix was simply the end."""
    for rest, doubted in ((UNHEARD, False), (UNHEARD + 1, True)):
        subject = utterance(prefix=words(3))
        end = START + 3 * WORD + rest
        subject.receive_end(end, end)
        assert (answer(subject, 10**9) is None) == doubted
        assert subject.complete != doubted
        if doubted:
            again = request(subject, 10**9)
            assert (again.start, again.prefix) == (START + 3 * WORD, "")


def test_no_words_in_a_short_piece_of_live_audio_are_not_doubted() -> None:
    """A second of audio often holds no word: a decode each step would be spent twice."""
    subject = utterance()
    subject.context = CONTEXT
    assert answer(subject, START + 2 * UNHEARD) == [Partial("", START + 2 * UNHEARD, START + 2 * UNHEARD)]
    assert subject.context is CONTEXT
    assert answer(subject, START + 2 * UNHEARD + RULES.step) is None


def test_invented_words_are_doubted_as_often_as_they_come() -> None:
    """A loop that the prefix led to: each time the audio behind the prefix is decoded alone."""
    subject = utterance(prefix=words(3))
    loop = [replace(word, text=words(3)[-1].text) for word in words(3, START + 3 * WORD)]
    assert answer(subject, START + 6 * WORD, *loop) is None
    assert (subject.window_start, subject.prefix) == (START + 3 * WORD, [])
    # Without a prefix the same words may have been said, but three copies of one word are a loop: one stays.
    outputs = answer(subject, START + 8 * WORD, *loop)
    assert outputs is not None
    assert len(subject.prefix) + len(subject.tail) == 1


# ---- failures


def test_a_failed_step_waits_for_new_audio() -> None:
    """The next decode takes the same audio and more."""
    subject = utterance()
    asked = request(subject, START + RULES.first_step)
    assert subject.receive_failure(asked)
    assert subject.next_window(START + RULES.first_step + RULES.step - 1) is None
    assert request(subject, START + RULES.first_step + RULES.step).start == asked.start


def test_a_failed_window_that_cannot_grow_does_not_wait() -> None:
    """It is full, or the utterance has ended."""
    full = utterance()
    assert not full.receive_failure(request(full, START + RULES.longest))
    ended = utterance()
    ended.receive_end(START + WORD, START + WORD)
    assert not ended.receive_failure(request(ended, 10**9))


def test_audio_that_is_given_up_begins_after_the_known_words() -> None:
    """The tail is committed, what follows it is lost up to the utterance's end, and the utterance is then complete."""
    subject = utterance()
    answer(subject, START + 4 * WORD, *words(3))
    assert subject.tail
    end = START + 9 * WORD
    subject.receive_end(end, end)
    known = subject.known_to
    committed, lost_from, lost_to = subject.give_up(end + WORD)
    assert (lost_from, lost_to) == (known, end)
    assert committed
    assert subject.complete
    assert (subject.window_start, subject.prefix) == (end, [])


# ---- anything

_words = st.lists(
    st.builds(
        Word,
        st.sampled_from([" раз", " два", " 26", "", " —", " субтитры"]),
        st.integers(0, 400_000),
        st.integers(0, 400_000),
        st.floats(0, 1),
    ),
    max_size=14,
).map(tuple)


@given(
    st.lists(
        st.tuples(st.integers(1, 60_000), st.sampled_from(["speech", "pause", "fail"]), _words), min_size=1, max_size=12
    ),
    st.booleans(),
    st.integers(0, 8_000),
)
def test_whatever_is_said_windows_and_words_move_forward(
    steps: list[tuple[int, str, tuple[Word, ...]]], context: bool, cut: int
) -> None:
    """Any hypotheses, pauses and failures, then the end: windows are inside the audio and never longer than allowed,
    committed words are in order, no transition is illegal, and the utterance completes in a bounded number of decodes.
    It may end before audio that was decoded already.
    """
    rules = replace(RULES, longest=4 * SAMPLE_RATE)
    subject = utterance(rules)
    if context:
        subject.context = CONTEXT
    received = window_start = committed_to = START
    tells: list[Word] = []

    def decode(said: tuple[Word, ...], *, fail: bool) -> None:
        nonlocal window_start, committed_to
        window = subject.next_window(received)
        if window is None:
            return
        assert window_start <= window.start <= window.end <= received
        assert window.end - window.start <= rules.longest
        window_start = window.start
        asked = request(subject, received)
        outputs: list[Output] | None = []
        if not fail:
            outputs = subject.receive_hypothesis(asked, Hypothesis(1, said), committed_to)
        elif not subject.receive_failure(asked):
            outputs, lost_from, lost_to = subject.give_up(window.end)
            assert window.start <= lost_from
            assert lost_to <= window.end
        for output in outputs or []:
            if isinstance(output, tuple):
                tells.extend(output)
                committed_to = output[-1].end

    for length, kind, said in steps:
        received += length
        subject.receive_window(PAUSE if kind == "pause" else 0, max(START, received - length))
        decode(said, fail=kind == "fail")
    heard_to = received
    subject.receive_end(received - cut, received - cut)
    for _ in range(100):
        if subject.complete:
            break
        decode((), fail=False)
    assert subject.complete
    for output in subject.finish():
        assert isinstance(output, tuple)
        tells.extend(output)
    assert [word.start for word in tells] == sorted(word.start for word in tells)
    assert all(START <= word.start <= word.end <= max(heard_to, received) for word in tells)


@given(_words, st.integers(0, 400_000), st.integers(0, 400_000))
def test_words_are_put_in_order(said: tuple[Word, ...], start: int, length: int) -> None:
    """All words with their texts, inside the span, none before the one before it, none empty where there is room."""
    end = start + length
    ordered = module._in_order(said, start, end)
    assert [word.text for word in ordered] == [word.text for word in said]
    starts = [word.start for word in ordered]
    assert starts == sorted(starts)
    for word in ordered:
        assert start <= word.start <= word.end <= end
        assert word.start < word.end or word.start == end
