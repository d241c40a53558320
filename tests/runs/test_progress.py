"""Progress of an evaluation: every report in a terminal, now and then in a log."""

from esr_cli.runs.progress import Progress


def test_a_terminal_shows_every_report_and_a_log_none_of_a_quick_evaluation():
    for every_s, shown in ((0.0, 3), (30.0, 0)):
        lines = []
        progress = Progress(lines.append, every_s, "evaluation")
        for ended in (0, 1, 4):
            progress(ended, 4)
        assert len(lines) == shown
        if lines:
            assert lines[0] == "evaluation: 0 of 4 responses"
            assert lines[2] == "evaluation: 4 of 4 responses, about 0 s left"


def test_the_time_left_follows_from_what_has_ended(monkeypatch):
    clock = iter((100.0, 110.0, 140.0, 145.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    lines = []
    progress = Progress(lines.append, 30.0, "lab")
    for ended in (0, 1, 4, 5):
        progress(ended, 8)
    assert lines == ["lab: 4 of 8 responses, about 40 s left"]
    clock = iter((100.0, 140.0))
    for ended in (0, 3):
        progress(ended, 8)
    assert lines[1:] == ["lab: 3 of 8 responses"]
