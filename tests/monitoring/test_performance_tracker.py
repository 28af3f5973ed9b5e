"""Looks at a model in use whose labels come: what is judged, suggested and written down."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from ml_pipeline.core import workdir
from ml_pipeline.core.report import Verdict
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.gate.expected_performance import ExpectedPerformance
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.drift_judgement import Terms
from ml_pipeline.monitoring.labelled_rows import LabelledRows
from ml_pipeline.monitoring.performance_history import (
    PerformanceLine,
    earlier_promotions,
    read_performance,
    read_production,
    with_performance,
)
from ml_pipeline.monitoring.performance_judgement import Realised, judge_realised
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from pydantic import TypeAdapter

from tests.monitoring.model_in_use import FIRST, predicted, rows

LABELS = {"source": {"kind": "csv", "path": "labels.csv"}, "request_id": "id", "label": "y"}
EXPECTED = ExpectedPerformance("log_loss", 0.58, 0.56, 0.60, 0.95, "day", 60, 9000, 0.01, 20.0)
"""About the log loss of calibrated predictions of the model in use."""


@pytest.fixture
def labelled(in_use):
    """Make a model in use whose labels may come at once, or not."""

    def make(days=6, *, flip=0.0, come=True, expected=EXPECTED, **monitor):
        model = in_use(min_rows=100, labels=LABELS, **monitor)
        if expected is not None:
            model.expected[model.model.bundle.digest] = expected
        lines = ["id,y"]
        rng = np.random.default_rng(1)
        for day in range(days):
            values = rows(150, seed=20 + day)
            model.serve(day, values)
            labels = rng.random(150) < predicted(values)
            labels = np.where(rng.random(150) < flip, ~labels, labels)
            if come:
                lines += [f"r{day}-{place},{int(one)}" for place, one in enumerate(labels)]
        (model.project.root / "labels.csv").write_text("\n".join(lines) + "\n")
        return model

    return make


def check(result, name):
    return next(each for each in result.checks if each.name == name)


def lines(model, look=1):
    return read_performance(model.folder.root, look)


def test_performance_as_expected_is_fine(labelled):
    model = labelled()
    result = model.look(5)
    realised = check(result, "realised performance")
    assert (realised.verdict, realised.expected) == (
        Verdict.PASS,
        "expected 0.5800 [0.5600, 0.6000]",
    )
    assert check(result, "labels").observed == "900 joined, 0 rows wait, 0 of 900 missing"
    assert check(result, "estimated performance").verdict is Verdict.PASS
    assert result.suggestion.conclusion is Conclusion.FINE, result.suggestion
    figures = result.metrics["performance"]
    assert figures["realised"]["rows"] == 900
    [line] = lines(model)
    assert (line.version, line.as_expected, line.served) == (1, True, True)
    assert line.expected["value"] == 0.58
    assert line.estimated_of_labelled["value"] == pytest.approx(line.realised["value"], abs=0.05), (
        "the estimate is compared with what came"
    )


def test_performance_that_is_worse_suggests_a_retraining_that_says_why(labelled):
    result = labelled(flip=0.5).look(5)
    assert check(result, "realised performance").verdict is Verdict.FAIL
    assert result.suggestion.conclusion is Conclusion.RETRAIN
    assert "realised performance: log loss" in result.suggestion.cause
    assert "expected 0.5800 [0.5600, 0.6000]" in result.suggestion.cause
    assert check(result, "estimated performance").verdict is Verdict.PASS, "it does not see it"


def test_labels_that_never_come_are_not_passed_over(labelled):
    model = labelled(come=False)
    model.look(5)
    model.serve(14, rows(150, seed=40))
    result = model.look(14)
    labels = check(result, "labels")
    assert labels.verdict is Verdict.INCONCLUSIVE
    assert labels.why == ("900 of 900 rows got no label within 7 days, none since 2026-05-01")
    realised = check(result, "realised performance")
    assert (realised.verdict, "too many labels are missing" in realised.why) == (
        Verdict.INCONCLUSIVE,
        True,
    )
    assert result.suggestion.conclusion is Conclusion.INCONCLUSIVE


def test_rows_that_wait_for_labels_within_the_delay_are_no_fault(labelled):
    result = labelled(come=False).look(5)
    realised = check(result, "realised performance")
    assert (realised.verdict, realised.why) == (
        Verdict.SKIPPED,
        "900 rows wait for labels, none is due",
    )
    assert result.suggestion.conclusion is Conclusion.FINE, result.suggestion


def test_without_a_source_of_labels_it_says_so(in_use):
    model = in_use()
    model.serve(0, rows(500, seed=2))
    result = model.look(0)
    assert check(result, "labels").why == "monitor.labels is not set"
    assert check(result, "realised performance").verdict is Verdict.SKIPPED
    [line] = lines(model)
    assert line.realised is None
    assert line.row()["expected"] == "not recorded"


def test_a_version_without_an_expectation_is_not_passed(labelled):
    result = labelled(expected=None).look(5)
    realised = check(result, "realised performance")
    assert realised.verdict is Verdict.INCONCLUSIVE
    assert "no expected performance" in realised.why
    assert realised.expected == "expected: not recorded"


def test_a_group_that_is_worse_is_to_be_investigated(labelled):
    expected = json.loads(json.dumps(EXPECTED.to_json())) | {
        "groups": {"c": {"north": group(0.20), "south": group(0.58)}}
    }
    record = TypeAdapter(ExpectedPerformance).validate_python(expected)
    result = labelled(expected=record, group_by=["c"]).look(5)
    north = check(result, "realised performance of c = north")
    assert north.verdict is Verdict.FAIL
    assert check(result, "realised performance of c = south").verdict is Verdict.PASS
    assert result.suggestion.conclusion is Conclusion.INVESTIGATE
    assert "realised performance of c = north: log loss" in result.suggestion.reason


def group(value):
    return {"value": value, "std_error": 0.01, "degrees": 20.0, "units": 60, "rows": 4500}


def test_a_class_that_the_model_does_not_have_is_to_be_investigated():
    rng = np.random.default_rng(8)
    task = MulticlassClassification(("a", "b"))
    predictions = rng.dirichlet([1, 1], 600)
    rows = LabelledRows(
        (rng.random(600) < predictions[:, 1]).astype(float),
        predictions,
        20_000 + np.repeat(np.arange(30), 20),
        unknown_classes=("green",),
    )
    facts = Realised(rows, task, "log_loss", None)
    labels = SimpleNamespace(has_enough=True, due=600, waiting=0)
    terms = Terms(20_000, {}, (), 1.0, 0.35, 100)
    judgement, _ = judge_realised(facts, labels, terms)
    [finding] = judgement.findings
    assert finding.conclusion is Conclusion.INVESTIGATE
    assert "labels of classes that the model does not have" in finding.text
    assert "'green'" in finding.text


class TestReplacedVersions:
    def former(self, model, make_bundle, **about):
        """Let production have served another version before."""
        path = make_bundle("former", identity="f", **about)
        bundle = release(path, model.home)
        model.version = 2
        model.history = (entry(1, bundle.digest), entry(2, model.model.bundle.digest))
        return bundle.digest

    def test_a_replaced_version_that_is_better_suggests_a_rollback(self, labelled, make_bundle):
        model = labelled(days=0, false_alarms_per_year=52)
        self.former(model, make_bundle, weight=-1.0)
        csv = ["id,y"]
        rng = np.random.default_rng(2)
        for day in range(24):
            values = rows(100, seed=20 + day)
            model.serve(day, values)
            truth = predicted([[-x, c] for x, c in values])
            labels = rng.random(100) < truth
            csv += [f"r{day}-{place},{int(one)}" for place, one in enumerate(labels)]
        (model.project.root / "labels.csv").write_text("\n".join(csv) + "\n")
        result = model.look(23)
        assert result.suggestion.conclusion is Conclusion.ROLL_BACK
        assert "version 1, which was replaced, is better on the same rows" in (
            result.suggestion.reason
        )
        served, replaced = lines(model)
        assert (served.version, replaced.version, replaced.compared_with) == (2, 1, 2)
        assert replaced.difference["effect"] > 0
        assert replaced.of_served["value"] == pytest.approx(served.realised["value"])
        assert replaced.row()["note"] == "scored on the rows of version 2"

    def test_a_replaced_version_that_is_worse_is_shown(self, labelled, make_bundle):
        model = labelled()
        model.version = 1
        self.former(model, make_bundle, weight=-1.0)
        model.version = 1
        result = model.look(5)
        assert check(result, "replaced version 1").verdict is Verdict.PASS

    def test_one_that_does_not_take_the_rows_says_why(self, labelled, make_bundle):
        model = labelled()
        names = (Feature("x", "numeric"), Feature("d", "categorical", ("north", "south")))
        features = FeatureSchema(names).to_json()
        self.former(model, make_bundle, features=features)
        model.version = 1
        result = model.look(5)
        found = check(result, "replaced version 1")
        assert found.verdict is Verdict.SKIPPED
        assert "it takes features that the log does not have: d" in found.why
        assert "it takes features that the log does not have: d" in lines(model)[1].why

    def test_one_whose_bundle_is_gone_says_so(self, labelled):
        model = labelled()
        model.history = (entry(7, "9" * 64), entry(1, model.model.bundle.digest))
        found = check(model.look(5), "replaced version 7")
        assert "no longer in the home" in found.why


def test_labels_of_a_version_that_was_replaced_meanwhile_are_its_own(labelled, make_bundle):
    """Two versions in one window: each has its rows, and the first its line, as it had served."""
    model = labelled(days=3, come=False)
    first = release(model.bundle, model.home).digest
    content = (model.bundle / "reference.parquet").read_bytes()
    model.bundle = make_bundle("second", identity="b", weight=0.9, reference=content)
    model.version, model.history = 2, (entry(1, first),)
    rng = np.random.default_rng(3)
    model.serve(3, rows(150, seed=23))
    ids = [f"r{day}-{place}" for day in range(4) for place in range(150)]
    truth = [p for day in range(4) for p in predicted(rows(150, seed=20 + day))]
    labels = [f"{one},{int(rng.random() < p)}" for one, p in zip(ids, truth, strict=True)]
    (model.project.root / "labels.csv").write_text("\n".join(["id,y", *labels]) + "\n")
    result = model.look(3)
    assert check(result, "labels").observed.startswith("600 joined")
    served, replaced, earlier = lines(model)
    assert (served.version, served.served, served.realised["rows"]) == (2, True, 150)
    assert (replaced.version, replaced.served, replaced.realised["rows"]) == (1, False, 150)
    assert (earlier.version, earlier.served, earlier.realised["rows"]) == (1, True, 450)
    assert earlier.as_expected is True


def entry(version, digest):
    return Entry(
        at=FIRST,
        model="small",
        version=version,
        bundle=digest,
        identity="a" * 64,
        endpoint="http://127.0.0.1:1",
        by="ann",
        reason="better",
        method="flags",
        gate="b" * 64,
        policy="c" * 64,
        approval="d" * 64,
        former_version=None,
        former_bundle=None,
        run_id="run",
    )


def test_a_killed_look_writes_its_lines_once(labelled, monkeypatch):
    model = labelled()

    def killed(*args, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(model.folder), "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            model.look(5)
    assert lines(model, look=0) == [], "a line of a look that does not count is not read"
    result = model.look(5)
    assert check(result, "labels").observed.startswith("900 joined")
    assert read_production(model.home) == lines(model)
    assert len(lines(model)) == 1
    assert len((model.folder / "performance.jsonl").read_text().splitlines()) == 1


class TestHistory:
    def line(self, version, as_expected, look=1):
        figures = {"value": 0.7, "low": 0.69, "high": 0.71}
        return PerformanceLine(
            look=look,
            at=datetime(2026, 5, 1, tzinfo=UTC) + timedelta(days=look),
            version=version,
            digest=str(version) * 64,
            metric="log_loss",
            served=True,
            expected={"value": 0.65, "low": 0.64, "high": 0.66},
            realised=figures,
            as_expected=as_expected,
        )

    def test_versions_that_were_worse_than_expected_are_one_sentence(self):
        found = earlier_promotions(
            [self.line(1, True), self.line(2, True), self.line(2, False, look=2)]
        )
        assert (found.verdict, found.required) == (Verdict.FAIL, False)
        assert found.why == (
            "1 of 2 promoted versions performed worse in production than the gate expected "
            "(version 2: log loss 0.7000 [0.6900, 0.7100], expected 0.6500 [0.6400, 0.6600])"
        )

    def test_the_newest_line_of_a_version_counts(self):
        found = earlier_promotions([self.line(1, False), self.line(1, True, look=2)])
        assert found.verdict is Verdict.PASS
        assert earlier_promotions([self.line(1, None)]) is None

    def test_the_newest_change_of_a_bundle_has_its_lines(self):
        changes = [{"bundle": "1" * 12, "to": 1}, {"bundle": "2" * 12, "to": 2}] * 2
        rows = with_performance(changes, [self.line(1, True), self.line(9, True)])
        assert [len(row["performance"]) for row in rows] == [0, 0, 1, 0]
        assert rows[2]["performance"][0]["expected"] == {"value": 0.65, "low": 0.64, "high": 0.66}

    def test_a_row_has_expected_estimated_and_realised(self):
        assert self.line(2, False).row() == {
            "version": 2,
            "until": "2026-05-02",
            "metric": "log_loss",
            "expected": "0.6500 [0.6400, 0.6600]",
            "estimated": None,
            "realised": "0.7000 [0.6900, 0.7100]",
            "rows": None,
            "as expected": "no, worse",
            "note": "",
        }

    def test_a_broken_line_is_named(self, tmp_path):
        workdir.write_text(tmp_path / "performance.jsonl", "{}\n")
        with pytest.raises(Exception, match=r"performance\.jsonl cannot be read: line 1"):
            read_performance(tmp_path, 1)
