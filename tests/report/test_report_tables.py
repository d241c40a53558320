"""The paper's tables: its figures, with our corresponding rows below them."""

from __future__ import annotations

import pytest
from run_folders import write_probe, write_run

from esr_cli.base.files import append_rows, write_rows
from esr_cli.config import gate
from esr_cli.report import authors, content, pictures
from esr_cli.report.authors import AUTHORS as THEIRS
from esr_cli.report.book import PAPER as PAPER_FOLDER
from esr_cli.report.book import Book, open_book
from esr_cli.report.content import SHAPES
from esr_cli.report.markdown import markdown
from esr_cli.report.page import page
from esr_cli.report.panels import panels
from esr_cli.report.tables import BEST, HELD_OUT, LAST, OURS, PAPER, Table, thinned

MAIN = "qwen25math_1p5b__qwen3_1p7b"
OTHER = "qwen3_1p7b__qwen3_4b"
RIGHT = {0: [[0, 0], [0, 1]], 50: [[1, 1], [1, 1]], 100: [[1, 1], [0, 1]]}


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    """The main pair with LoRA and full fine-tuning, a selector, and a pair of one condition."""
    tmp_path = tmp_path_factory.mktemp("book")
    conditions = {
        "esr": ("+rollout_len=100",), "full": ("+rollout_len=full",),
        "ft": ("+rollout_len=100", "tune=full"),
        "kl": ("+rollout_len=full", "loss=top_reverse_kl"),
    }  # fmt: skip
    for name, overrides in conditions.items():
        write_run(tmp_path / name, f"pair={MAIN}", *overrides, right=RIGHT, benchmark="math500")
    write_run(tmp_path / "other", f"pair={OTHER}", "+rollout_len=100", right=RIGHT,
              benchmark="math500")  # fmt: skip
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    path = gate.read_yaml(tmp_path / "esr" / "config.yaml")["pair"]["teacher"]["path"]
    gate.write_yaml({"model": path}, teacher / "config.yaml")
    write_rows(teacher / "eval.jsonl", [{"step": 0, "benchmark": "math500", "metric": "avg@4",
                                         "value": 0.66, "low": 0.6, "high": 0.7}])  # fmt: skip
    write_probe(tmp_path / "esr" / "probes", "cascade", [
        {"figure": figure, "who": who, "at": at, "value": value}
        for who, means in (("before", (4.0, 1.0)), ("after", (2.0, 0.5)))
        for at, value, count in zip((50, 51), means, (10, 30), strict=True)
        for figure, value in (("reverse_kl", value), ("count", count))
    ])  # fmt: skip
    return open_book(tmp_path)


def build(book: Book, name: str) -> Table | None:
    spec = book.paper["tables"][name]
    return SHAPES[spec["shape"]](book, spec)


def lines(table: Table, pair: str) -> list[tuple[str, str, str]]:
    return [(row.label, row.whose, row.cells[0].text)
            for row in table.rows if row.group.split(":")[0] == pair]  # fmt: skip


def test_our_rows_follow_the_paper_s_with_last_and_best(book):
    assert lines(build(book, "main"), MAIN) == [
        ("student, untrained", PAPER, "50.95"), ("student, untrained", OURS, "25.0"),
        ("teacher", PAPER, "65.30"), ("teacher", OURS, "66.0"),
        ("full rollouts", PAPER, "62.35"), ("full rollouts, LoRA", LAST, "75.0"),
        ("full rollouts, LoRA", HELD_OUT, "100.0"), ("full rollouts, LoRA", BEST, "100.0"),
        ("ESR N=100", PAPER, "65.85"), ("ESR N=100, LoRA", LAST, "75.0"),
        ("ESR N=100, LoRA", HELD_OUT, "100.0"), ("ESR N=100, LoRA", BEST, "100.0"),
    ]  # fmt: skip


def test_each_table_uses_its_own_tuning(book):
    found = lines(build(book, "full_finetuning"), MAIN)
    assert ("ESR N=100", LAST, "75.0") in found and ("ESR N=100", PAPER, "56.20") in found
    assert not any("LoRA" in label for label, _, _ in found)


def test_pairs_appear_in_the_paper_s_tables_that_have_them(book):
    assert {row.group.split(":")[0] for row in build(book, "additional_pairs").rows
            if row.whose == LAST} == {OTHER}  # fmt: skip


def test_a_selector_follows_the_paper_s_row_with_its_name(book):
    found = lines(build(book, "token_selection"), MAIN)
    at = found.index(("top 100 reverse KL", PAPER, "53.35"))
    assert found[at + 1] == ("top 100 reverse KL, LoRA", LAST, "75.0")


def test_a_table_without_ours_is_left_out(book):
    for name in ("scaling", "tools", "per_step_code", "teacher_decay", "per_step_16_rollouts"):
        assert build(book, name) is None, name


def test_columns_are_the_paper_s_steps_and_ours(book):
    table = build(book, "per_step_math")
    assert table.columns == ("50", "100", "150", "200")
    ours = [row for row in table.rows if row.whose == OURS and row.label.startswith("ESR N=100")]
    assert [cell.text for cell in ours[0].cells] == ["100.0", "75.0", "–", "–"]


def test_positions_are_weighted_by_the_responses_that_reach_them(book):
    table = build(book, "cascade")
    before = next(row for row in table.rows if row.whose == OURS and row.label[:6] == "before")
    # Position 50 lies in the first range, 51 in the second.
    assert [cell.text for cell in before.cells[:3]] == ["4.00", "1.00", "–"]


def test_the_table_of_decay_has_the_control_and_the_mirror(tmp_path):
    write_run(tmp_path / "run", "+rollout_len=32", right=RIGHT)
    write_probe(tmp_path / "run" / "probes", "decay", [
        {"figure": "accuracy", "who": who, "at": at, "value": value}
        for who, values in (("continued", (1, 0.5)), ("control", (1, 0.9)), ("mirror", (0.3, 0.8)))
        for at, value in zip((0, 100), values, strict=True)
    ])  # fmt: skip
    table = build(open_book(tmp_path), "teacher_decay")
    assert table.columns == ("k=0", "k=100", "k=200", "k=300")
    assert [(row.whose, *(cell.text for cell in row.cells[:2])) for row in table.rows] == [
        (PAPER, "65.30", "62.70"), (PAPER, "–", "47.00"),
        (OURS, "100.0", "50.0"), (OURS, "100.0", "90.0"), (OURS, "30.0", "80.0"),
    ]  # fmt: skip


def test_collapse_is_measured_from_the_peak_to_the_lowest_value_after_it(book):
    ours = [row for row in build(book, "collapse").rows if row.whose == OURS]
    assert [(cell.text, cell.small) for cell in ours[0].cells] == [
        ("100.0", "(50)"), ("75.0", "(100)"), ("25.0", "")
    ]  # fmt: skip


def test_the_base_metric_of_a_plus_benchmark_is_in_the_base_column(tmp_path):
    for n in (100, "full"):
        run = write_run(tmp_path / f"n{n}", f"pair={MAIN}", "task=code", f"+rollout_len={n}",
                        right=RIGHT, benchmark="humaneval_plus")  # fmt: skip
        more = {"benchmark": "humaneval_plus", "metric": "base@1", "low": 0.3, "high": 0.5}
        append_rows(run / "eval.jsonl", [{**more, "step": 50, "value": 0.5},
                                         {**more, "step": 100, "value": 0.4}])  # fmt: skip
    book = open_book(tmp_path)
    ours = [row for row in build(book, "main").rows if row.whose == LAST]
    assert [[cell.text for cell in row.cells[2:4]] for row in ours] == [["40.0", "75.0"]] * 2
    steps = [row for row in build(book, "per_step_code").rows if row.whose == OURS]
    assert [row.label.split(",")[1] for row in steps] == [" humaneval plus base"] * 2
    assert [cell.text for cell in steps[0].cells[:2]] == ["50.0", "40.0"]


def test_another_benchmark_has_a_column_with_its_own_name(tmp_path):
    for n in (8, 32, "full"):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right=RIGHT)
    table = build(open_book(tmp_path), "main")
    assert table.columns[:2] == ("MATH-500 avg@4", "lab avg@k")
    for row in table.rows:
        paper, lab = (cell.text for cell in row.cells[:2])
        assert lab == "–" if row.whose == PAPER else paper == "–", row
    assert [row.cells[1].text for row in table.rows if row.whose == LAST] == ["75.0"] * 2


def test_a_growing_length_follows_the_paper_s_row(tmp_path):
    write_run(tmp_path / "run", f"pair={MAIN}", "+rollout_len=200", "lengths=linear",
              "rollouts_per_prompt=16", right=RIGHT, benchmark="math500")  # fmt: skip
    labels = [row.label for row in build(open_book(tmp_path), "per_step_16_rollouts").rows]
    at = labels.index("growing, math500 avg")
    assert labels[at + 1].startswith("growing 8 to 200, math500 avg")


def test_several_conditions_of_full_rollouts_have_separate_rows(tmp_path):
    for many in (1, 4):
        write_run(tmp_path / f"x{many}", f"pair={MAIN}", "+rollout_len=full",
                  f"rollouts_per_prompt={many}", right=RIGHT,
                  benchmark="math500")  # fmt: skip
    book = open_book(tmp_path)
    for name in ("collapse", "boxed_repetition"):
        ours = [row.label for row in build(book, name).rows if row.whose == OURS]
        assert len(ours) == len(set(ours)) and len(ours) >= 2, ours


def test_a_curve_joins_conditions_that_differ_only_in_n(tmp_path, monkeypatch):
    for many, lengths in ((1, (8, 32)), (4, (32,))):
        for n in (*lengths, "full"):
            write_run(tmp_path / f"{many}-{n}", f"+rollout_len={n}",
                      f"rollouts_per_prompt={many}", right=RIGHT)  # fmt: skip
    for rate in ("1e-3", "2e-3", "3e-3"):
        write_run(tmp_path / rate, "+rollout_len=full", f"tune.learning_rate={rate}", right=RIGHT)
    drawn = {}
    names = ("folder", "name", "curves", "levels", "unit", "kinds")
    monkeypatch.setattr(
        pictures.draw, "lengths", lambda *given: drawn.update(zip(names, given, strict=True))
    )
    (group,) = open_book(tmp_path).groups
    [panel] = panels(group)
    pictures.more_pictures(panel, pictures.Canvas(tmp_path / "figures", "", ("svg",)))
    assert {name: [point.at for point in points] for name, points in drawn["curves"].items()} == {
        "ESR": [8, 32], "ESR, rollouts per prompt 4": [32]
    }  # fmt: skip
    # Full rollouts that are compared with ESR come first.
    assert [level.label for level in drawn["levels"]][:2] == [
        "full rollouts", "full rollouts, rollouts per prompt 4"
    ]  # fmt: skip


def later(book: Book) -> dict[str, Table]:
    """The authors' tables by name."""
    found = content.tables_of(book, book.authors["tables"])
    return {table.id: authors.theirs(table) for table in found}


def test_the_authors_later_figures_stand_beside_ours_as_theirs(book):
    table = later(book)["sweep_again"]
    found = lines(table, MAIN)
    assert found[:2] == [
        ("student, untrained", THEIRS, "50.95"), ("student, untrained", OURS, "25.0")
    ]  # fmt: skip
    at = found.index(("ESR N=100", THEIRS, "63.15"))
    assert found[at + 1] == ("ESR N=100, LoRA", LAST, "75.0")
    assert PAPER not in {row.whose for row in table.rows}


def test_several_seeds_of_the_authors_are_rows_of_their_own(book):
    labels = [row.label for row in later(book)["seeds_per_step"].rows]
    assert labels[0] == "ESR N=100, math500 avg" and labels[1].endswith(f"math500 avg, {MAIN}")
    assert labels[2] == "ESR N=100, seed 42, math500 avg"
    assert "full rollouts, seed 123, math500 avg" in labels
    assert not any(OTHER in label for label in labels), "a table of the main pair alone"


def test_a_pair_that_the_paper_lacks_has_the_authors_figures(tmp_path):
    pair = "llama32_1b_it__llama31_8b_it"
    for tune in ("lora", "full"):
        write_run(tmp_path / tune, f"pair={pair}", "+rollout_len=100", f"tune={tune}", right=RIGHT,
                  benchmark="math500")  # fmt: skip
    book = open_book(tmp_path)
    found = later(book)
    assert set(found) == {"further_pairs", "full_finetuning"}
    further = lines(found["further_pairs"], pair)
    assert ("ESR N=100", THEIRS, "12.35") in further and ("teacher", THEIRS, "37.25") in further
    assert ("ESR N=100", THEIRS, "12.80") in lines(found["full_finetuning"], pair)
    assert authors.disagreements(book) is None


def test_places_where_the_authors_differ_from_the_paper(book):
    found = {(row.group, row.label): [cell.text for cell in row.cells[:3]]
             for row in authors.disagreements(book).rows}  # fmt: skip
    assert found[MAIN, "ESR N=100, LoRA"] == ["65.85", "63.15", "-2.70"]
    assert found[MAIN, "top 100 reverse KL, LoRA"] == ["53.35", "58.60", "+5.25"]
    # Left out are equal figures, pairs without a run, other seeds and trainings of 400 steps.
    assert not any("seed" in label or cells[1] == "57.10" for (_, label), cells in found.items())
    assert (MAIN, "full rollouts, LoRA") not in found and {pair for pair, _ in found} == {MAIN}


def test_page_and_markdown_name_the_authors_figures_as_theirs(book):
    tables = [authors.disagreements(book), *later(book).values()]
    nothing = [[] for _ in range(3)]
    report = content.Report("A title", *nothing, tables[0], "None measured.", [], [], [],
                            "the paper", tables, "their notes")  # fmt: skip
    text = markdown(report)
    assert "## Later figures of the paper's authors\n\nFrom their notes" in text
    assert f"| {MAIN}: math500 | ESR N=100 | authors, later | 63.15 |" in text
    assert f"| {MAIN} | ESR N=100, LoRA | 65.85 | 63.15 | -2.70 |" in text
    html = page(report)
    assert '<section id="authors">' in html and '<a href="#authors">' in html
    assert '<tr class="paper"><th scope="row">ESR N=100</th><td>authors, later</td>' in html


def test_every_figure_of_the_authors_has_a_column_and_a_known_shape():
    tables = gate.read_yaml(PAPER_FOLDER / "authors.yaml")["tables"]
    for name, spec in tables.items():
        assert spec["shape"] in SHAPES and spec["title"] and spec["source"], name
        if spec["shape"] == "arms":
            counts = [len(row) for rows in spec["rows"].values() for row in rows.values()]
            assert set(counts) == {len(spec["columns"])}, name


def test_thinned_steps_keep_both_ends():
    assert thinned(range(10, 210, 10)) == [10, 40, 60, 90, 120, 150, 170, 200]
    assert thinned([3, 1, 3]) == [1, 3]
