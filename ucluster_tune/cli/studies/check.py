"""`ucluster-tune check`: validates a search-space file and shows the plan; starts nothing."""

import json
import os
import shlex
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ucluster_tune.cli.studies.study_options import search_space_file, set_option, set_words
from ucluster_tune.cluster.place import this_machine
from ucluster_tune.config.constraints import share_met
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.plan import Plan, describe_range, plan_document, plan_study
from ucluster_tune.config.points import is_own_name, published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.report.cells import program
from ucluster_tune.report.front_words import objectives_in_words
from ucluster_tune.tracking.mlflow.store import URI_VARIABLE


@click.command(
    epilog="""\b
    Example:
      ucluster-tune check search_spaces/quickstart.yaml
      ucluster-tune check search_spaces/quickstart.yaml --set budget.n_trials=20
    """
)
@search_space_file
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def check(file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a search-space file and show the plan.

    Finds all faults of FILE at once, each with its place, the rule and the value; opens the data
    set, or looks at HDF5 files and says what would be fetched and converted; then shows what a
    run would do. Starts and fetches nothing.
    """
    from ucluster_tune.data.making.preparation import check_files, plan_preparation

    study = load_study_config(file, overrides)
    preparation = plan_preparation(study.data)
    check_files(preparation)
    jets = describe_jets(study.reading(preparation.data_path)) if preparation.is_ready else {}
    plan = plan_study(study, this_machine())
    if as_json:
        document = plan_document(study, plan)
        document["data"]["jets"] = jets or None
        document["data"]["to_do"] = None if preparation.is_ready else preparation.in_words()
        click.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    console = Console()
    told = _jets_in_words(jets) or preparation.in_words()
    if study.training.n_jets is not None:
        told += f"\ntrained on {study.training.n_jets} of them, the same ones in all trials"
    is_labelled = not jets or bool(_classes(jets))
    console.print(_study_table(study, plan, told, is_labelled))
    console.print(_space_table(study))
    for warning in [*warnings_for(study), *_machine_warnings(plan)]:
        click.secho(f"Warning: {warning}", fg="yellow", err=True)
    command = shlex.join([program(), "run", str(file), *set_words(overrides)])
    click.echo(f"No faults. Next: {command}")


def describe_jets(study: StudyConfig) -> dict[str, dict[str, int]]:
    """Return the selected jets by split and class; raises DataError where they cannot be used."""
    from ucluster_tune.data.format.schema import SPLITS
    from ucluster_tune.data.reading.dataset import open_checked_dataset

    dataset = open_checked_dataset(
        study.data,
        study.resources.n_workers,
        needing_labels=study.objective.needing_labels,
    )
    return {split: dataset.counts(split) for split in SPLITS}


def _jets_in_words(jets: dict[str, dict[str, int]]) -> str:
    counts = ", ".join(f"{sum(by_class.values())} {split}" for split, by_class in jets.items())
    if not jets:
        return ""
    return f"jets {_classes(jets) or 'without classes'}: {counts}"


def _classes(jets: dict[str, dict[str, int]]) -> str:
    """Return `of` and the classes of jets, nothing where they have none."""
    from ucluster_tune.data.format.schema import UNLABELLED

    names = [name for name in jets["train"] if name != UNLABELLED]
    return f"of {', '.join(names)}" if names else ""


def _study_table(study: StudyConfig, plan: Plan, jets: str, is_labelled: bool) -> Table:
    table = Table(title=Text(f"Study {study.name}"), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    objective, sampler = study.objective, study.sampler
    rows = {
        "Data set": f"{study.data.path}\n{jets}",
        "Objective": f"{objectives_in_words(objective)} of the validation jets",
        "Reference": f"{study.reference.accuracy:g} ({study.reference.source})",
        "Sampler": f"{plan.sampler}, seed {sampler.seed}"
        + (f", {sampler.n_startup_trials} random trials first" if plan.sampler == "tpe" else "")
        + (f" ({plan.sampler_reason})" if sampler.name == "auto" else "")
        + ("; the first trial is the published recipe" if sampler.published_first else "")
        + (f"; {len(sampler.try_first)} points of your own first" if sampler.try_first else ""),
        "Scheduler": _scheduler(plan, study.scheduler.grace_period),
        "Trials": f"{_trials(plan)}, of {plan.epochs_per_trial} epochs at most{_seeds(study)}",
        "Budget": study.budget.in_words(),
        "Epochs": _epochs(plan),
        "A trial": _workers(plan),
        "This machine": _machine(plan),
        "Tracking": _tracking(study),
    }
    if not is_labelled:
        del rows["Reference"]  # an accuracy
    if study.derived:
        rows["Derived"] = "\n".join(f"{path} = {text}" for path, text in study.derived.items())
    if study.constraints:
        met = f"{share_met(study):.0%} of the search space fulfils them"
        rows["Constraints"] = "\n".join([*study.constraints, met])
    for name, text in rows.items():
        table.add_row(name, Text(text))
    return table


def _trials(plan: Plan) -> str:
    number = "any number" if plan.n_trials is None else str(plan.n_trials)
    return number if plan.until is None else f"{number}, begun until {plan.until}"


def _seeds(study: StudyConfig) -> str:
    n_seeds = study.objective.seeds_per_trial
    return f", with {n_seeds} seeds each" if n_seeds > 1 else ""


def _epochs(plan: Plan) -> str:
    least, most = plan.epochs_at_least, plan.epochs_at_most
    if least is None or most is None:
        return "as many as the time is enough for"
    return f"{least} to {most} in all" if least < most else f"{most} in all"


def _scheduler(plan: Plan, grace_period: int) -> str:
    if plan.scheduler == "median" and grace_period < plan.epochs_per_trial:
        return f"median: trials are compared after each epoch from {grace_period} on"
    if not plan.rungs:
        return "none: every trial runs to its last epoch"
    return f"{plan.scheduler}: trials are compared at epoch {', '.join(map(str, plan.rungs))}"


def _workers(plan: Plan) -> str:
    workers = f"{plan.workers_per_trial} Horovod worker{'s' * (plan.workers_per_trial > 1)}"
    text = f"{workers}, {plan.cpus_per_trial:g} CPUs, {plan.gpus_per_trial:g} GPUs"
    return text + (f"\nauto: {plan.workers_why}" if plan.workers_why else "")


def _tracking(study: StudyConfig) -> str:
    if study.tracking.uri is not None:
        return f"MLflow at {uri_without_password(study.tracking.uri)}"
    uri = os.environ.get(URI_VARIABLE)
    if uri:
        return f"MLflow at {uri_without_password(uri)}, as {URI_VARIABLE} says"
    return "MLflow, an SQLite file in the studies folder"


def _machine_warnings(plan: Plan) -> list[str]:
    if plan.fits:
        return []
    return [
        f"resources: a trial needs {plan.cpus_per_trial:g} CPUs and {plan.gpus_per_trial:g} GPUs,"
        f" this machine has {plan.machine.n_cpus} and {plan.machine.n_gpus}; lower"
        " workers_per_trial, cpus_per_worker or gpus_per_worker, or run it elsewhere"
    ]


def _machine(plan: Plan) -> str:
    has = f"{plan.machine.n_cpus} CPUs, {plan.machine.n_gpus} GPUs"
    if not plan.fits:
        return f"{has}: too small for a trial"
    return f"{has}: {plan.concurrent_trials} trial{'s' * (plan.concurrent_trials > 1)} at a time"


def _space_table(study: StudyConfig) -> Table | str:
    if not study.search_space:
        return "Nothing is searched: every trial is the same configuration."
    table = Table(title="Search space", title_justify="left")
    table.add_column("Hyperparameter", no_wrap=True)  # a name that one may copy
    for heading in ("Range", "Published recipe"):
        table.add_column(heading, overflow="fold")
    point = published_point(study)
    for path, parameter in study.search_space.items():
        published = str(point.get(path, "not searched there"))
        if is_own_name(path):
            published = f"none; the first trial has {published}"
        table.add_row(*map(Text, (path, describe_range(parameter), published)))
    return table
