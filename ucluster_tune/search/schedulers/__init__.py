"""Which running trials are stopped early: a judge a module, and the registry of them.

A judge is a pure function of the record, tested without Ray. To add one, write a module with a
class that has `decide`, and name it here and in `config.study.SchedulerConfig`.
"""

from collections.abc import Callable
from typing import Final

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.schedulers.asha import asha_of
from ucluster_tune.search.schedulers.decision import Judge
from ucluster_tune.search.schedulers.hyperband import hyperband_of
from ucluster_tune.search.schedulers.median import median_of
from ucluster_tune.search.schedulers.none import StopNone
from ucluster_tune.search.schedulers.pbt import Pbt, pbt_of

JUDGES: Final[dict[str, Callable[[StudyConfig], Judge]]] = {
    "asha": asha_of,
    "hyperband": hyperband_of,
    "median": median_of,
    "none": lambda _study: StopNone(),
    "pbt": pbt_of,
}


def build_judge(study: StudyConfig) -> Judge:
    """Return the judge that a study's configuration names."""
    return JUDGES[study.scheduler.name](study)


def kept_epochs(judge: Judge) -> frozenset[int]:
    """Return the epochs whose checkpoints a judge may let other trainings begin from."""
    return judge.generations if isinstance(judge, Pbt) else frozenset()
