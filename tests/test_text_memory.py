"""What a language agent is reminded of, and that it always sees the board as it is."""

import pytest

from metarl.text import TrialMemory

MODES = ("history", "reflection", "both")
each_mode = pytest.mark.parametrize("mode", MODES)


def told(mode, attempts, turns=2, **options):
    """A memory of lost attempts with lessons, then one with a turn; each board is its name."""
    memory = TrialMemory(mode, **options)
    for attempt in range(1, attempts + 1):
        memory.begin("start")
        for turn in range(1, turns + 1):
            memory.add_step(f"m{attempt}.{turn}", -0.5, f"board {attempt}.{turn}")
        memory.end_episode(False)
        memory.add_reflection(f"lesson {attempt}")
    memory.begin("start")
    memory.add_step("up", 1, "board now")
    return memory


@each_mode
@pytest.mark.parametrize("budget", [0, 10, 40, 10_000])
def test_the_board_is_always_shown_last_and_whole(mode, budget):
    """In every attempt, at every turn, in every mode, with any budget, lessons or none."""
    memory = TrialMemory(mode)
    for attempt in range(4):
        memory.begin(f"start of {attempt}")
        assert memory.context(budget).endswith(f"The board now:\nstart of {attempt}")
        for turn in range(12):
            memory.add_step("up", 0, f"board\n{attempt}.{turn}")
            assert memory.context(budget).endswith(f"The board now:\nboard\n{attempt}.{turn}")
        memory.end_episode(False)
        assert memory.context(budget).endswith(f"The board at the end:\nboard\n{attempt}.11")
        assert memory.attempt == attempt + 1  # also where nothing is reflected on


def test_what_each_mode_keeps():
    texts = {mode: told(mode, 2).context() for mode in MODES}
    for attempt in (1, 2):
        history = f"Attempt {attempt}, turn 2: m{attempt}.2, reward -0.5, and then the board was\n"
        history += f"board {attempt}.2\nAttempt {attempt} was lost."
        lesson = f"What you noted after attempt {attempt}: lesson {attempt}"
        assert [history in texts[mode] for mode in MODES] == [True, False, True]
        assert [lesson in texts[mode] for mode in MODES] == [False, True, True]
    end = "Attempt 3, turn 1: up, reward +1\nThe board now:\nboard now"
    assert all(text.endswith(end) for text in texts.values())
    both = texts["both"]
    places = [both.index(word) for word in ("m1.1", "m1.2", "lesson 1", "m2.1", "lesson 2", end)]
    assert places == sorted(places)


def test_the_whole_text():
    assert told("both", 1, turns=1).context() == (
        "Attempt 1, turn 1: m1.1, reward -0.5, and then the board was\nboard 1.1\n"
        "Attempt 1 was lost.\n"
        "What you noted after attempt 1: lesson 1\n"
        "Attempt 2, turn 1: up, reward +1\n"
        "The board now:\nboard now"
    )


def test_the_attempt_in_progress_is_told_by_its_last_moves_and_boards():
    memory = TrialMemory("history", actions=3, boards=1)
    memory.begin("start")
    for turn in range(5):
        memory.add_step(f"m{turn}", 0, f"board {turn}")
    assert memory.context() == (
        "Attempt 1, turn 3: m2, reward +0\n"
        "Attempt 1, turn 4: m3, reward +0, and then the board was\nboard 3\n"
        "Attempt 1, turn 5: m4, reward +0\n"
        "The board now:\nboard 4"
    )
    memory.end_episode(True)  # to be reflected on: with all the boards of the moves told
    assert memory.context() == (
        "Attempt 1, turn 3: m2, reward +0, and then the board was\nboard 2\n"
        "Attempt 1, turn 4: m3, reward +0, and then the board was\nboard 3\n"
        "Attempt 1, turn 5: m4, reward +0\n"
        "Attempt 1 was won.\n"
        "The board at the end:\nboard 4"
    )


@each_mode
def test_the_oldest_is_left_out_first(mode):
    memory = told(mode, 3)
    whole = memory.context()
    assert memory.context(len(whole)) == whole
    board = "The board now:\nboard now"
    for budget in range(len(whole)):
        text = memory.context(budget)
        assert len(text) <= max(budget, len(board)) and text.endswith(board)
        if text != board:
            left_out, _, rest = text.partition("\n")
            assert left_out == "(What came before is left out.)" and whole.endswith(rest)
    assert "lesson 3" in memory.context(160) or mode == "history"


def test_lessons_are_kept_by_attempt():
    memory = told("both", 1)
    memory.end_episode(False)
    memory.begin("start")
    memory.end_episode(False)
    memory.add_reflection("late")
    assert memory.reflections == ["lesson 1", "", "late"] and memory.board == "start"
    assert "after attempt 2" not in memory.context()


def test_misuse_is_explained():
    memory = TrialMemory()
    for call in (memory.context, lambda: memory.add_step("up", 0, ""), lambda: memory.board):
        with pytest.raises(RuntimeError, match="no attempt was begun"):
            call()
    memory.begin("start")
    for call in (lambda: memory.begin("start"), lambda: memory.add_reflection("")):
        with pytest.raises(RuntimeError, match="attempt 1 has not ended"):
            call()
    memory.end_episode(False)
    for call in (lambda: memory.add_step("up", 0, ""), lambda: memory.end_episode(True)):
        with pytest.raises(RuntimeError, match="attempt 1 has ended"):
            call()
    with pytest.raises(ValueError, match="no memory 'all'; known: history, reflection, both"):
        TrialMemory("all")  # type: ignore[arg-type]
