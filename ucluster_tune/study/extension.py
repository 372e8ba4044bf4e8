"""A study's budget enlarged, and its configuration changed as far as its trials stay comparable.

Knows nothing of files or Ray.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ucluster_tune.config.loading import change_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.study.events import StudyExtended
from ucluster_tune.study.knowledge import value_at
from ucluster_tune.study.record import StudyRecord

# How the search goes on may change, what a trial is may not.
_FREE_SECTIONS = ("sampler", "scheduler", "resources", "failures", "tracking", "notify")
_REASONS = {
    "resources.workers_per_trial": "each worker normalises its batches alone",
    "data": "other jets give other accuracies",
    "objective": "trials are ranked by it",
    "reference": "it is told beside every trial",
    "name": "it is the name of the study's folder",
}
# The jets themselves are compared by their checksums; a buffer changes their order alone.
_ALWAYS_FREE = ("data.path", "data.shuffle_buffer_jets")


@dataclass(frozen=True)
class Extension:
    """What `ucluster-tune extend` asks for.

    Attributes:
        n_trials: further trials.
        hours: for which further trials begin, in place of a number.
        overrides: `path=value` changes of the configuration.
    """

    n_trials: int | None = None
    hours: float | None = None
    overrides: tuple[str, ...] = ()


def extend(config: StudyConfig, record: StudyRecord, extension: Extension) -> StudyExtended:
    """Return the event that changes the study.

    Args:
        config: of the study so far.
        record: its trials so far.
        extension: what is asked for.

    Raises:
        ConfigurationError: the changes are not legal, or would make trials incomparable.
    """
    overrides = [*extension.overrides, *_budget(record, extension)]
    changed = change_config(config, overrides)
    faults = [fault for path in _changed_paths(config, changed) if (fault := _fault(path))]
    faults += _search_space_faults(config, changed)
    faults += _scheduler_faults(config, changed)
    faults += _budget_faults(record, config, changed)
    if faults:
        raise ConfigurationError(f"study {record.name}", faults)
    new = [path for path in changed.search_space if path not in config.search_space]
    return StudyExtended(
        config=changed.model_dump(mode="json"),
        changes=_lines(config, changed),
        fixed={path: value_at(config, path) for path in new},
    )


def _budget(record: StudyRecord, extension: Extension) -> list[str]:
    """Return the overrides that set the new budget; the last one that was asked for holds."""
    if extension.hours is not None:
        end = datetime.now(UTC) + timedelta(hours=extension.hours)
        return ["budget.n_trials=null", f"budget.until={end.isoformat(timespec='milliseconds')}"]
    if extension.n_trials is not None:
        return [f"budget.n_trials={record.n_trials + extension.n_trials}", "budget.until=null"]
    return []


def _budget_faults(record: StudyRecord, config: StudyConfig, changed: StudyConfig) -> list[str]:
    n_trials, n_begun = changed.budget.n_trials, len(record.trials)
    if n_trials is None or n_trials >= n_begun or changed.budget == config.budget:
        return []
    return [
        f"budget.n_trials: {n_begun} trials were begun already, and {n_trials} are fewer; give"
        f" {n_begun} or more"
    ]


def _fault(path: str) -> str | None:
    section = path.partition(".")[0]
    if path in _ALWAYS_FREE or section in ("budget", "search_space", "constraints"):
        return None
    reason = _REASONS.get(path) or _REASONS.get(section)
    if reason is None and section not in _FREE_SECTIONS:
        reason = "trials with another value are no trials of the same kind"
    if reason is None:
        return None
    return (
        f"{path}: cannot change in a study that has begun: {reason}; start another study,"
        " with --warm-start if this one may teach it"
    )


def _scheduler_faults(config: StudyConfig, changed: StudyConfig) -> list[str]:
    before, after = config.scheduler, changed.scheduler
    if before == after or "pbt" not in (before.name, after.name):
        return []
    return [
        "scheduler: cannot change to pbt, from it, or while it is at work: trials go on from"
        " checkpoints of its generations, which other schedulers do not keep; start another study"
    ]


def _search_space_faults(config: StudyConfig, changed: StudyConfig) -> list[str]:
    faults = []
    for path, before in config.search_space.items():
        after = changed.search_space.get(path)
        if after is None:
            faults.append(
                f"search_space.{path}: cannot be taken out: the trials so far differ in it;"
                " narrow its range"
            )
        elif after.type != before.type:
            faults.append(
                f"search_space.{path}.type: cannot change from {before.type} to {after.type};"
                " change the range alone"
            )
    return faults


def _changed_paths(config: StudyConfig, changed: StudyConfig) -> list[str]:
    """Return the dotted paths of the values that differ and are not searched."""
    before, after = _flat(config), _flat(changed)
    return [
        path
        for path in {**before, **after}
        if path not in changed.search_space and before.get(path) != after.get(path)
    ]


def _lines(config: StudyConfig, changed: StudyConfig) -> list[str]:
    before, after = _flat(config), _flat(changed)
    paths = _changed_paths(config, changed)
    if changed.budget.until not in (None, config.budget.until):
        paths = [path for path in paths if not path.startswith("budget.")]
        lines = [f"trials begin until {changed.budget.until}"]
    else:
        lines = []
    lines += [f"{path}: {before[path]} -> {after[path]}" for path in paths]
    for path, parameter in changed.search_space.items():
        old = config.search_space.get(path)
        if old != parameter:
            was = _shown(old.model_dump()) if old else f"fixed at {value_at(config, path)}"
            lines.append(f"search_space.{path}: {was} -> {_shown(parameter.model_dump())}")
    return lines


def _flat(config: StudyConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json", exclude={"search_space"})
    flat: dict[str, Any] = {}
    for name, section in values.items():
        if isinstance(section, Mapping):
            flat.update({f"{name}.{key}": value for key, value in section.items()})
        else:
            flat[name] = section
    return flat


def _shown(parameter: Mapping[str, Any]) -> str:
    told = (f"{key} {value}" for key, value in parameter.items() if value not in (None, False))
    return ", ".join(told)
