"""Conditions between the sections of a study, and what is allowed but worth a warning."""

from ucluster_tune.config.automatic import chosen_sampler, n_points
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.constraints import constraint_warnings
from ucluster_tune.config.notify import NotifyConfig
from ucluster_tune.config.objective import LOSSES, NEEDING_LABELS, ObjectiveConfig
from ucluster_tune.config.passwords import holds_password, uri_without_password
from ucluster_tune.config.points import condition_warnings
from ucluster_tune.config.search_space import corners, n_values
from ucluster_tune.config.section import Rule
from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    ResourcesConfig,
    StudyConfig,
)
from ucluster_tune.config.trial import DataConfig, LossConfig, ModelConfig, TrainingConfig
from ucluster_tune.config.wording import show


def _grace_period(scheduler: str, grace_period: int, n_epochs: int) -> str | None:
    if scheduler == "none" or grace_period <= n_epochs:
        return None
    return (
        f"must not exceed training.n_epochs ({n_epochs}) when the scheduler is {scheduler},"
        f" got {grace_period}; set it to {n_epochs} or less, or leave it out"
    )


def _jets_for_each_worker(global_batch_size: int, workers_per_trial: int | str) -> str | None:
    if isinstance(workers_per_trial, str) or global_batch_size >= workers_per_trial:
        return None
    return (
        f"must be at least resources.workers_per_trial ({workers_per_trial}), one jet a worker"
        f" and step, got {global_batch_size}"
    )


def _no_password(uri: str | None) -> str | None:
    if uri is None or not holds_password(uri):
        return None
    is_http = uri.startswith(("http://", "https://"))
    way_out = (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if is_http
        else "put the password into ~/.pgpass, or set PGPASSWORD"
    )
    return (
        "must hold no password, since the file is kept with the study and in MLflow: write"
        f" {uri_without_password(uri)} and {way_out}"
    )


def _no_secret_in_webhook(webhook: str | None) -> str | None:
    if webhook is None or not holds_password(webhook):
        return None
    return (
        "must hold no password, since the file is kept with the study and in MLflow: put the"
        " address into a variable and write its name, such as $CHAT_HOOK"
    )


def _database_server(url: str | None) -> str | None:
    if url is None or ("://" in url and not url.startswith("sqlite")):
        return None
    return (
        "must be the URL of a database server, such as postgresql+pg8000://user@host/optuna, got"
        f" {show(url)}; null keeps the file optuna.db in the study's folder"
    )


STUDY_RULES = (
    *StudyConfig.rules,
    *(rule.under("data") for rule in DataConfig.rules),
    *(rule.under("model") for rule in ModelConfig.rules),
    *(rule.under("loss") for rule in LossConfig.rules),
    *(rule.under("training") for rule in TrainingConfig.rules),
    *(rule.under("objective") for rule in ObjectiveConfig.rules),
    *(rule.under("budget") for rule in BudgetConfig.rules),
    *(rule.under("notify") for rule in NotifyConfig.rules),
    *(rule.under("resources") for rule in ResourcesConfig.rules),
    Rule("tracking.uri", ("tracking.uri",), _no_password),
    Rule("notify.webhook", ("notify.webhook",), _no_secret_in_webhook),
    Rule("tracking.optuna_storage", ("tracking.optuna_storage",), _no_password),
    Rule("tracking.optuna_storage", ("tracking.optuna_storage",), _database_server),
    Rule(
        "scheduler.grace_period",
        ("scheduler.name", "scheduler.grace_period", "training.n_epochs"),
        _grace_period,
    ),
    Rule(
        "training.global_batch_size",
        ("training.global_batch_size", "resources.workers_per_trial"),
        _jets_for_each_worker,
    ),
)


def warnings_for(study: StudyConfig) -> list[str]:
    """Return what a study may do but hardly wants, one line each with its YAML path."""
    return [
        *_metric_warnings(study),
        *_size_warnings(study),
        *_step_warnings(study),
        *constraint_warnings(study),
        *condition_warnings(study),
    ]


_OF_ANY_NUMBER = ("nmi", "ari", "silhouette", "seconds")  # of clusters


def _metric_warnings(study: StudyConfig) -> list[str]:
    metric, others = study.objective.metric, study.objective.others
    found = []
    if study.model.head == "classes":
        found.append("model.head: with classes trials learn from labels, and are no clusterings")
    for name in study.objective.metrics:
        if "model.n_clusters" in study.search_space and name not in _OF_ANY_NUMBER:
            where = "metric" if name == metric else "others"
            found.append(
                f"objective.{where}: {name} at different model.n_clusters cannot be compared;"
                f" use {'ari or nmi' if name in NEEDING_LABELS else 'ari, nmi or silhouette'}"
            )
    if others and study.scheduler.name != "none":
        found.append(
            f"scheduler.name: {study.scheduler.name} stops trials by {metric} alone; with others"
            " beside it, none teaches the sampler more"
        )
    reweighted = [path for path in study.search_space if path.startswith("loss.")]
    if metric in LOSSES and reweighted:
        found.append(
            f"objective.metric: {metric} changes its meaning with {', '.join(reweighted)};"
            " use clustering_accuracy, nmi or ari"
        )
    return found


def _size_warnings(study: StudyConfig) -> list[str]:
    found = []
    count, n_trials = n_points(study), study.budget.n_trials
    is_grid = chosen_sampler(study).name == "grid"
    if count is not None and n_trials is not None and count < n_trials and not is_grid:
        points = f"only {count} different points" if study.search_space else "nothing to search"
        found.append(
            f"budget.n_trials: {n_trials} trials, but search_space has {points};"
            " trials will repeat"
        )
    sampler, n_random = study.sampler, study.sampler.n_startup_trials
    learns = n_trials is None or not n_random >= n_trials > 1
    if sampler.name == "tpe" and not learns and study.search_space:
        found.append(
            f"sampler.n_startup_trials: with {n_random} of {n_trials} trials all"
            " are random, TPE never learns"
        )
    searched = study.search_space.get("training.n_epochs")
    most_epochs = max(map(float, corners(searched))) if searched else study.training.n_epochs
    if study.scheduler.name != "none" and study.scheduler.grace_period >= most_epochs:
        found.append(
            f"scheduler.grace_period: {study.scheduler.grace_period} is all the epochs there are,"
            " no trial is ever stopped early"
        )
    return found


def _step_warnings(study: StudyConfig) -> list[str]:
    found = []
    for path, parameter in study.search_space.items():
        if isinstance(parameter, CategoricalParameter) or parameter.step is None:
            continue
        last = parameter.low + ((n_values(parameter) or 1) - 1) * parameter.step
        rounding = 1e-8 * parameter.step if isinstance(parameter, FloatParameter) else 0
        if parameter.high - last > rounding:
            found.append(
                f"search_space.{path}.high: {parameter.high} is never reached in steps of"
                f" {parameter.step}, the last value is {last:.12g}"
            )
    return found
