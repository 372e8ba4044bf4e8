"""How to make a study again: versions, checksums, seeds and the exact commands."""

import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from ucluster_tune import __version__
from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.passwords import hide_passwords, uri_without_password
from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Listing, Section, Table
from ucluster_tune.study.finalists import ConfirmationPlan
from ucluster_tune.study.folder import best_config

_LIBRARIES: Final = ("tensorflow-cpu", "tensorflow", "horovod", "ray", "optuna", "mlflow", "numpy")


def provenance_section(contents: StudyContents) -> Section:
    """Return what the numbers depend on, and what to type to have them again."""
    record, config = contents.record, contents.config
    rows = [
        ("study", f"{record.name}, {record.study_id}"),
        ("began", record.started),
        ("ended", record.ended or "not yet"),
        ("jets", uri_without_password(config.data.path)),
        ("checksum of the jets", record.dataset_checksum),
        ("seed of the trainings", str(record.seed)),
        ("seed of the sampler", str(config.sampler.seed)),
        *(
            (f"seeds of confirmation {name}", ", ".join(map(str, confirmation.plan.seeds)))
            for name, confirmation in record.confirmations.items()
        ),
        ("ucluster-tune of the search", record.code_version),
        ("drivers", str(record.n_sessions)),
        *(("extended", "; ".join(changes)) for changes in record.extensions),
        *((f"fitted: {path}", str(value)) for path, value in record.fitted.items()),
        (
            "this page's machine",
            f"ucluster-tune {__version__}, Python {platform.python_version()},"
            f" {platform.system()} {platform.machine()}, {', '.join(_versions())}",
        ),
    ]
    name = record.name
    taught = record.warm_start
    warm = "" if taught is None else f" --warm-start {shlex.quote(taught.study)}"
    commands = [
        f"ucluster-tune run study.yaml --name {name}-again{warm}   # the whole search",
        *(
            f"{_confirm_again(c.plan, name)}   # its finalists"
            for c in contents.record.confirmations.values()
        ),
        "ucluster-tune train best.yaml --out best   # the best trial alone",
        f"{cells.command('report', contents.paths, name)}   # this page",
    ]
    listings = [
        Listing("Commands, with the two files below", "\n".join(commands)),
        Listing("study.yaml", hide_passwords(dump_config(config)), is_long=True),
    ]
    if record.best is not None:
        best = hide_passwords(best_config(config, record))
        listings.append(Listing("best.yaml", best, is_long=True))
    return Section(
        "To make it again",
        tables=[Table("provenance", ("", ""), rows, n_text=2)],
        listings=listings,
        notes=[
            "The same seeds on the same number of workers and the same processor give the same"
            " training; suggestions also depend on which of several trials ended first."
        ],
    )


def _confirm_again(plan: ConfirmationPlan, name: str) -> str:
    words = ["ucluster-tune", "confirm", f"{name}-again", "--top", str(len(plan.finalists))]
    words += ["--seeds", str(len(plan.seeds))]
    for option, value in (
        ("--epochs", plan.n_epochs),
        ("--data", None if plan.data_path is None else uri_without_password(plan.data_path)),
        ("--jets", plan.n_jets),
        ("--workers", plan.world_size),
    ):
        words += [] if value is None else [option, str(value)]
    words += ["--against", "nothing"] if plan.published is None else []
    words += [] if plan.n_classes is None else ["--supervised"]
    return shlex.join(words)


def _versions() -> list[str]:
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return found
