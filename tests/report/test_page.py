import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.test_pictures import write_evaluation
from tests.study_answers import confirmation, result
from tests.study_events import (
    epoch,
    four_trials,
    started,
    study_config,
    trial_ended,
    trial_started,
)
from ucluster_tune.errors import StudyError
from ucluster_tune.report.page.answer import best_section
from ucluster_tune.report.page.comparison import comparison_page
from ucluster_tune.report.page.contents import StudyContents, read_contents
from ucluster_tune.report.page.gallery import how_to_read, write_gallery
from ucluster_tune.report.page.importance import LEAST_TRIALS, importances
from ucluster_tune.report.page.parts import Section
from ucluster_tune.report.page.provenance import provenance_section
from ucluster_tune.report.page.writing import Page, study_page, words_of, write_study_page
from ucluster_tune.report.page.yardsticks import lines_to_beat
from ucluster_tune.search.reporting import WrittenReport, report_in_time
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, WarmStart
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

pytestmark = pytest.mark.slow  # twenty pictures in three formats

SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "model.n_neighbors": {"type": "int", "low": 5, "high": 12},
}
TEST = {
    "clustering_accuracy": 0.8,
    "clustering_accuracy_batched": 0.82,
    "confusion": [[400, 50, 50], [0, 200, 50], [50, 0, 200]],
}


def fold(events: list[Any]) -> StudyRecord:
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
    return record


def study_of_four(*further: Any) -> StudyRecord:
    config = study_config(search_space={"training.learning_rate": SPACE["training.learning_rate"]})
    end = trial_ended("0004", "stopped_early", 1, "<script>stopped</script>")
    return fold([started(config), *four_trials()[1:], end, *further])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose page was written."""
    paths = StudyPaths(tmp_path_factory.mktemp("studies") / "jets")
    evaluation = paths.trial("0001").evaluation(6)
    evaluation.parent.mkdir(parents=True)
    write_evaluation(evaluation)
    record = study_of_four(StudyEvaluated(trial="0001", test=TEST), *confirmation())
    report = write_study_page(record, paths)
    assert report.page == paths.report_page
    (paths.root / "words.md").write_text(report.words)
    return paths.root


def page_of(folder: Path) -> str:
    return (folder / "report" / "report.html").read_text()


def test_the_page_tells_everything_in_its_order(written: Path) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", page_of(written))
    assert heads == [
        "The answer",
        "Best configuration",
        "Yardsticks on the same jets",
        "History of the search",
        "Learning curves",
        "Importance of the hyperparameters",
        "Values tried",
        "Outcomes of all trials",
        "Finalists",
        "Choosing without labels",
        "Classes and clusters",
        "Embedding",
        "Mass spectrum by cluster",
        "Efficiency and purity by class",
        "Where the time went",
        "To make it again",
    ]


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    page = page_of(written)
    assert "<script" not in page
    assert "<link" not in page
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert {address[1:] for address in addresses if address.startswith("#")} <= set(
        re.findall(r'id="([^"]+)"', page)
    )


def test_what_a_trial_says_is_text_and_no_html(written: Path) -> None:
    assert "&lt;script&gt;stopped&lt;/script&gt;" in page_of(written)


def test_a_picture_lies_beside_the_page_and_follows_its_colour(
    written: Path,
) -> None:
    figures = {path.name for path in (written / "report" / "figures").iterdir()}
    stems = {name.partition(".")[0] for name in figures}
    assert {"history_by_cost", "embedding", "finalists", "parallel_coordinates"} <= stems
    assert figures == {f"{stem}.svg" for stem in stems}  # the others where it is asked for
    svgs = re.findall(r"<svg.*?</svg>", page_of(written), flags=re.DOTALL)
    assert len(svgs) == len(stems)
    assert all("currentColor" in svg and "#000000" not in svg for svg in svgs)
    assert all('role="img" aria-label="' in svg for svg in svgs)


def test_the_answer_begins_with_what_was_confirmed_and_holds_the_yardsticks(
    written: Path,
) -> None:
    answer = page_of(written).partition("The answer</h2>")[2].partition("</section>")[0]
    sentences = re.findall(r"<p>(.*?)</p>", answer)
    assert sentences[0] == "Trial 0001 is not better than the published recipe."
    text = " ".join(sentences)
    assert "trial 0001 at epoch 6" in text
    assert "It puts 80.0 % of 1,000 test jets" in text
    assert "95 % interval 77.4 to 82.4 %" in text
    assert "On the same jets that is 19.0 points above k-means on the jet mass (61.0 %" in text
    assert "2.0 points below two mass thresholds (use labels)" in text
    assert "no yardstick here: these jets are others, sample" in text


def test_network_with_labels_is_a_yardstick_of_every_view(tmp_path: Path) -> None:
    record = study_of_four(StudyEvaluated(trial="0001", test=TEST), *confirmation())
    assert record.confirmed is not None
    published = result().contender("published")
    record.confirmed.result = replace(
        result(),
        chosen="published",
        contenders=[published, replace(published, trial="supervised", validation=0.9)],
    )
    paths = StudyPaths(tmp_path / "jets")
    contents = read_contents(record, paths)
    assert ("supervised, uses labels", 0.9) in lines_to_beat(contents)
    row = ("supervised, uses labels (2 seeds)", "64.0 %", "62.0 to 66.0 %", "64.0 %")
    page = {section.title: section for section in study_page(record, paths).sections}
    assert page["Yardsticks on the same jets"].tables[0].rows[3][:4] == row
    assert page["Finalists"].tables[0].rows[1][0] == "supervised, uses labels"
    compared = comparison_page([(record, paths), (study_of_four(), paths)])
    (table,) = next(s for s in compared.sections if s.title.startswith("Yardsticks")).tables
    assert table.rows[2] == ("supervised, uses labels (2 seeds)", "64.0 %", "")


def test_another_trial_that_was_confirmed_comes_before_the_best_of_the_search() -> None:
    record = study_of_four(*confirmation())
    assert record.confirmed is not None
    record.confirmed.result = replace(result(), chosen="0002")
    section = best_section(read_contents(record, StudyPaths(Path("jets"))))
    words = "Confirmed: trial 0002. The search itself had chosen trial 0001, epoch 6 of 6."
    assert section.sentences == [words]
    (table,) = section.tables
    assert table.columns[1:3] == ("confirmed", "best of the search")
    assert table.rows[0][1:3] == ("0.01", "0.001")


def test_what_was_confirmed_is_made_again_by_the_same_command(written: Path) -> None:
    told = page_of(written).partition("To make it again</h2>")[2]
    command = "ucluster-tune confirm jets-again --top 1 --seeds 2 --workers 1   # its finalists"
    assert command in told
    assert "11, 12" in told


def test_what_another_study_taught_is_made_again_too(tmp_path: Path) -> None:
    taught = {"study": "cheap", "trials": []}
    event = started().model_copy(update={"warm_start": WarmStart.model_validate(taught)})
    section = provenance_section(
        read_contents(fold([event, *four_trials()[1:]]), StudyPaths(tmp_path / "jets"))
    )
    assert "run study.yaml --name jets-again --warm-start cheap   #" in section.listings[0].text


def test_yardsticks_are_lines_in_every_picture_of_an_accuracy(written: Path) -> None:
    for name in ("history_by_trial", "history_by_cost", "curves_clustering_accuracy", "finalists"):
        picture = (written / "report" / "figures" / f"{name}.svg").read_text()
        assert "k-means on the jet mass" in picture, name
    assert "Dashed: what is to be beaten" in page_of(written)


@pytest.mark.parametrize("metric", ["purity", "nmi", "ari", "clustering_accuracy_batched"])
def test_yardsticks_are_lines_whatever_is_searched_for(metric: str, tmp_path: Path) -> None:
    record = fold([started(study_config(objective={"metric": metric})), *confirmation()[:1]])
    lines = dict(lines_to_beat(read_contents(record, StudyPaths(tmp_path / "jets"))))
    value = {"purity": 0.62, "nmi": 0.4, "ari": 0.3, "clustering_accuracy_batched": 0.63}[metric]
    assert lines.pop("k-means on the jet mass") == pytest.approx(value)
    assert "two mass thresholds (use labels)" in lines
    reference = "81.0 %, HLS4ML jets, in batches; no yardstick here"
    assert (reference in lines) == metric.endswith("batched")


def test_reference_is_drawn_with_its_jets_and_said_to_be_no_yardstick(written: Path) -> None:
    told = "HLS4ML jets, in batches; no yardstick here"
    assert f"81.0 %, {told}" in (written / "report" / "figures" / "yardsticks.svg").read_text()
    assert f"published: {told}" in page_of(written)


def test_tables_are_written_for_latex_and_in_words_for_mlflow(written: Path) -> None:
    table = (written / "report" / "tables" / "best_configuration.tex").read_text()
    assert r"training.learning\_rate & 0.001" in table
    assert {"yardsticks.tex", "finalists.tex"} <= {
        path.name for path in (written / "report" / "tables").iterdir()
    }
    words = (written / "words.md").read_text()
    record = study_of_four(StudyEvaluated(trial="0001", test=TEST), *confirmation())
    again = words_of(record, StudyPaths(written))  # as `repair` and `sync` tell it
    assert re.sub(r"in \d+ s", "", again) == re.sub(r"in \d+ s", "", words)
    assert "| training.learning_rate | 0.001 |" in words
    assert "k-means on the jet mass" in words


def test_several_objectives_have_a_section_with_their_front(tmp_path: Path) -> None:
    config = study_config(objective={"others": ["seconds", "ari"]})
    front = study_events_of_two()
    page = study_page(fold([started(config), *front]), StudyPaths(tmp_path / "jets"))
    (section,) = [section for section in page.sections if section.title == "Pareto front"]
    assert section.tables[0].rows == [
        ("0001", "70.0 %", "5.000", "0.100"),
        ("0002", "60.0 %", "2.000", "0.100"),
    ]
    assert "these 2 in all of them, of 3 trials" in section.sentences[0]
    assert [picture.name for picture in section.pictures] == ["pareto_seconds", "pareto_ari"]
    page.write(tmp_path)
    assert (tmp_path / "figures" / "pareto_seconds.svg").exists()


def study_events_of_two() -> list[Any]:
    events: list[Any] = []
    for trial, accuracy, seconds in (("0001", 0.7, 5.0), ("0002", 0.6, 2.0), ("0003", 0.6, 3.0)):
        events += [trial_started(trial), epoch(trial, 3, accuracy, seconds=seconds)]
        events.append(trial_ended(trial, "complete", 3))
    return events


def test_gallery_is_small_and_says_of_each_picture_how_to_read_it(
    written: Path, tmp_path: Path
) -> None:
    paths = StudyPaths(written)
    record = study_of_four(StudyEvaluated(trial="0001", test=TEST), *confirmation())
    page = study_page(record, paths)
    text = write_gallery(page, tmp_path / "gallery").read_text()
    names = [picture.name for section in page.sections for picture in section.pictures]
    assert {"embedding", "finalists", "slice_training_learning_rate"} <= set(names)
    assert all(how_to_read(name) for name in (*names, "pareto_ari", "importance"))
    assert re.findall(r"\(([^)]*)\.png\)", text) == names
    files = [tmp_path / "gallery" / f"{name}.png" for name in names]
    assert max(file.stat().st_size for file in files) < 200_000
    assert page.sections[0].sentences[0] in text
    with pytest.raises(StudyError, match="there are no pictures yet"):
        write_gallery(study_page(fold([started()]), paths), tmp_path / "none")


def test_what_is_not_known_is_absent_with_the_reason(tmp_path: Path) -> None:
    record = study_of_four(StudyEnded(state="interrupted", cause="stopped by a signal"))
    page = study_page(record, StudyPaths(tmp_path / "jets"))
    missing = {section.title: section.missing for section in page.sections if section.missing}
    assert missing["Importance of the hyperparameters"].startswith("too few trials to tell: 3 ")
    assert "epoch-0006.npz cannot be read" in missing["Embedding"]
    assert "ucluster-tune confirm jets" in missing["Finalists"]
    assert page.sections[0].sentences[-1] == "The search is interrupted: stopped by a signal."


def test_a_study_without_an_epoch_has_a_page_that_says_so(tmp_path: Path) -> None:
    record = fold([started(), StudyEnded(state="failed", cause="no trial began")])
    page = study_page(record, StudyPaths(tmp_path / "jets"))
    assert "found nothing: no trial began" in page.sections[0].sentences[0]
    assert not any(section.pictures for section in page.sections)


def test_a_section_that_fails_takes_no_other_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ucluster_tune.report.page import writing

    def fail(contents: StudyContents) -> Section:
        raise ZeroDivisionError("no jets")

    kept = writing.SECTIONS[0]
    monkeypatch.setattr(writing, "SECTIONS", (("Yardsticks", fail), kept))
    failed, answer = study_page(study_of_four(), StudyPaths(tmp_path / "jets")).sections
    assert failed.missing == "it could not be made: ZeroDivisionError('no jets')"
    assert answer.sentences


def study_of_many(n_trials: int, score: Callable[[dict[str, Any]], float]) -> StudyContents:
    rng = np.random.default_rng(1)
    events: list[Any] = [started(study_config(search_space=SPACE))]
    for number in range(n_trials):
        values = {
            "training.learning_rate": float(10 ** rng.uniform(-4, -1)),
            "model.n_neighbors": int(rng.integers(5, 13)),
        }
        trial = f"{number:04d}"
        accuracy = score(values) + 0.01 * float(rng.normal())
        events += [trial_started(trial, **values), epoch(trial, 3, accuracy)]
        events.append(trial_ended(trial, "complete" if number % 2 else "stopped_early", 3))
    return read_contents(fold(events), StudyPaths(Path("nowhere") / "jets"))


def test_a_hyperparameter_that_matters_stands_out_and_chance_does_not() -> None:
    known = importances(
        study_of_many(40, lambda values: 0.9 + 0.1 * np.log10(values["training.learning_rate"]))
    )
    assert (known.n_trials, known.epoch) == (40, 3)
    assert [i.name for i in known.found if i.stands_out] == ["training.learning_rate"]
    assert known.found[0].name == "training.learning_rate"
    for importance in known.found:
        low, high = importance.interval
        assert 0 <= low <= importance.share <= high <= 1
    by_chance = importances(study_of_many(20, lambda _: 0.6))
    assert len(by_chance.found) == 2
    assert not any(importance.stands_out for importance in by_chance.found)


def test_too_few_trials_tell_nothing_of_importance() -> None:
    known = importances(study_of_many(LEAST_TRIALS - 1, lambda _: 0.6))
    assert known.why_not == "too few trials to tell: 9 can be compared, 10 are the least"


def test_studies_are_compared_by_cost_and_by_what_differs(tmp_path: Path) -> None:
    test = StudyEvaluated(trial="0001", test=TEST)
    one = study_of_four(test)
    other_config = study_config(name="wider", training={"n_epochs": 9, "n_pretraining_epochs": 3})
    other = fold([started(other_config), *four_trials()[1:], test])
    other.name, other.dataset_checksum = "wider", "another"
    paths = [StudyPaths(tmp_path / name) for name in ("jets", "wider")]
    page = comparison_page(list(zip((one, other), paths, strict=True)))
    text = page.write(tmp_path / "out").read_text()
    assert "They were measured on different jets" in text
    assert re.search(r"training\.n_epochs</td><td[^>]*>6</td><td[^>]*>9<", text)
    assert "training.n_pretraining_epochs" in text
    assert "training.learning_rate</td>" in text  # the best one of each
    for ending in ("png", "pdf", "svg"):
        assert (tmp_path / "out" / "figures" / f"best_by_cost.{ending}").exists()


def test_studies_that_were_confirmed_are_compared_by_that(tmp_path: Path) -> None:
    test = StudyEvaluated(trial="0001", test=TEST)
    one, other = study_of_four(test, *confirmation()), study_of_four(test, *confirmation())
    other.name = "wider"
    assert other.confirmed is not None
    weaker = replace(result().contender("0001"), test=result().contender("published").test)
    other.confirmed.result = replace(result(), contenders=[weaker])
    studies = [(study, StudyPaths(tmp_path / study.name)) for study in (one, other)]
    answer, found, *_ = comparison_page(studies).sections
    assert answer.sentences == [
        "Trained again with fresh seeds, trial 0001 of jets (2 seeds) is 2.0 points above trial"
        " 0001 of wider (2 seeds) on test jets; their 95 % intervals overlap."
    ]
    assert found.tables[0].rows[0][-4:-1] == ("66.0 %", "64.0 to 68.0 %", "2")
    plain = comparison_page(
        [studies[0], (study_of_four(test), StudyPaths(tmp_path / "plain"))]
    ).sections
    assert plain[0].sentences[0].startswith("The best trial of jets is 0.0 points above")
    assert plain[1].tables[0].rows[1][-4:-1] == ("-", "", "")


def test_a_report_that_fails_or_hangs_ends_no_search(tmp_path: Path) -> None:
    record, paths = study_of_four(), StudyPaths(tmp_path / "jets")
    said: list[str] = []
    let_go = threading.Event()

    def fail(*_: Any) -> WrittenReport:
        raise OSError("no space")

    def hang(*_: Any) -> WrittenReport:
        let_go.wait(60)
        return WrittenReport(tmp_path, "")

    assert report_in_time(fail, record, paths, said.append) is None
    assert report_in_time(hang, record, paths, said.append, timeout_s=0.01) is None
    let_go.set()
    again = "type `ucluster-tune report jets` to try again"
    assert said == [f"No report: no space; {again}",
                    f"No report: it was not written within 0.01 s; {again}"]  # fmt: skip
    assert report_in_time(hang, record, paths, said.append) == WrittenReport(tmp_path, "")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StudyError, match="out: cannot be written"):
        Page("title", "about", []).write(tmp_path / "out")
