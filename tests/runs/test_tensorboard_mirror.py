"""The event files of a run, read back by TensorBoard's own reader."""

from __future__ import annotations

import pytest
from conftest import rows
from mirrored_runs import offline, once_each, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from esr_cli.runs.tracking import Tracker


def read_back(folder):
    """The events in a run folder; nothing that TensorBoard shows is left out."""
    events = EventAccumulator(
        str(folder / "tensorboard"), {"scalars": 0, "tensors": 0, "images": 0}
    )
    return events.Reload()


def texts(events, tag):
    """The texts of a tag by step."""
    found = events.Tensors(f"{tag}/text_summary")
    return {each.step: each.tensor_proto.string_val[0].decode() for each in found}


@pytest.fixture(scope="module")
def shown(unbroken):
    return read_back(unbroken)


def test_every_metric_of_every_step_is_in_the_event_file(shown, unbroken):
    metrics = rows(unbroken)
    for key in metrics[1].keys() - {"step"}:
        logged = {each.step: each.value for each in shown.Scalars(key)}
        # An event holds 32 bits.
        assert logged == pytest.approx(
            {row["step"]: row[key] for row in metrics if key in row}, rel=1e-6
        ), key
    for row in rows(unbroken, "eval.jsonl"):
        logged = {each.step: each.value for each in shown.Scalars(f"eval/lab/{row['metric']}")}
        assert logged[row["step"]] == pytest.approx(row["value"], rel=1e-6)


def test_name_command_settings_samples_and_plots_are_in_the_event_file(shown, unbroken):
    about = texts(shown, "run")[0]
    assert "    name: lab N=8 s0" in about and "    command: esr train rollout=eager" in about
    assert "pair=lab, task=lab, N=8" in about and "    commit: " in about
    assert "    rollout.max_tokens: 8" in texts(shown, "config")[0].splitlines()
    samples = texts(shown, "samples/lab")
    written = rows(unbroken, "samples.jsonl")
    assert all(row["id"] in samples[row["step"]] for row in written) and set(samples) == {0, 30}
    plots = {f"plots/{path.stem}" for path in (unbroken / "plots").glob("*.png")}
    assert plots <= set(shown.Tags()["images"]) and plots
    assert shown.Images("plots/loss")[0].encoded_image_string.startswith(b"\x89PNG")


def test_hyperparameters_come_with_the_best_accuracy(shown, unbroken):
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = {}
    for tag, content in shown.summary_metadata.items():
        if content.plugin_data.plugin_name == "hparams":
            found[tag] = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
    begun = found["_hparams_/session_start_info"].session_start_info
    assert begun.hparams["rollout.max_tokens"].number_value == 8
    assert begun.hparams["pair.name"].string_value == "lab"
    infos = found["_hparams_/experiment"].experiment.metric_infos
    assert [each.name.tag for each in infos] == ["best/lab/avg@1"]
    evals = [row for row in rows(unbroken, "eval.jsonl") if row["metric"] == "avg@1"]
    best = max(evals, key=lambda row: row["value"])
    last = shown.Scalars("best/lab/avg@1")[-1]
    assert (last.step, last.value) == (best["step"], pytest.approx(best["value"], rel=1e-6))


def test_a_run_stopped_and_resumed_twice_is_one_event_file_with_each_step_once(tmp_path):
    settings = offline("tensorboard")
    start(tmp_path, settings, 1, 6, evaluated=(2, 4))
    start(tmp_path, settings, 5, 9, evaluated=(6,))
    start(tmp_path, settings, 8, 10)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    events = read_back(tmp_path)
    losses = once_each([(each.step, each.value) for each in events.Scalars("train/loss")])
    assert losses == pytest.approx({step: 1 / step for step in range(1, 11)}, rel=1e-6)
    assert [each.step for each in events.Scalars("eval/lab/avg@4")] == [2, 4, 6]
    assert list(texts(events, "samples/lab")) == [2, 4, 6]


def test_an_alarm_is_a_text_at_its_step(tmp_path):
    with Tracker(tmp_path, {}, offline("tensorboard"), total_steps=1) as tracker:
        tracker.open_mirror()
        tracker.log(3, {"train/loss": 1.0})
        tracker.alarm("90% of the responses repeat themselves; lower the rate")
    [(step, text)] = texts(read_back(tmp_path), "alarms").items()
    assert step == 3 and "90% of the responses repeat themselves" in text


def test_a_response_is_shown_as_it_is_and_not_as_markdown(tmp_path):
    from mirrored_runs import EVAL, RESPONSES

    with Tracker(tmp_path, {}, offline("tensorboard"), total_steps=1) as tracker:
        tracker.open_mirror()
        hostile = {**RESPONSES, "responses": ["```\n# <img src=x>\n", "b"]}
        tracker.log_eval([EVAL], [hostile], 1.0)
    [text] = texts(read_back(tmp_path), "samples/lab").values()
    assert all(line.startswith("    ") for line in text.splitlines() if line.strip())
