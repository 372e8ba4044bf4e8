"""Commands that a cluster carries out where one is up, and this machine otherwise.

A command about a study that exists is typed again on the cluster's head, through ssh. A search is
sent there as a job, which needs this machine no more.
"""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ucluster_tune.cluster.launched.head import Head
    from ucluster_tune.cluster.launched.jobs import ClusterJobs

_WORDS = "ucluster_tune.words"  # in click's context: the arguments as typed
_PROGRAM = "ucluster-tune"


class OnCluster(click.Command):
    """A command with `--cluster` and `--local`; typed again on a head that is up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--cluster"],
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Cluster file of `ray up`.  [default: ./ray_cluster.yaml, if that is up]",
            ),
            click.Option(
                ["--local", "is_local"],
                is_flag=True,
                envvar="UCLUSTER_TUNE_LOCAL",
                help="Use this machine, whatever cluster is up.",
            ),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and keep them as they were typed."""
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command on the cluster, or here."""
        cluster, is_local = ctx.params.pop("cluster"), ctx.params.pop("is_local")
        head = self.find_head(ctx, cluster, is_local)
        if head is None:
            self.place_here(ctx, is_local)
            return super().invoke(ctx)
        for option, folder in self.folders_there(ctx):
            _refuse_relative(option, folder, head)
        ctx.exit(self.run_on(head, ctx))
        return None

    def find_head(self, ctx: click.Context, cluster: Path | None, is_local: bool) -> "Head | None":
        """Return the head of the cluster to be used, None for this machine.

        Raises:
            click.UsageError: `--cluster` was given, and another place too.
            NotUpError: the cluster that was named is not up.
        """
        if cluster is not None and self.names_address(ctx):
            raise click.UsageError("give either --cluster FILE or --address HOST:PORT")
        if is_local and cluster is not None:
            if not _is_from_environment(ctx, "is_local"):
                raise click.UsageError("give either --cluster FILE or --local")
            is_local = False
        if is_local or self.names_address(ctx):
            return None
        from ucluster_tune.cluster.launched.launcher import CLUSTER_FILE, NotUpError, find_head

        if cluster is not None:
            return find_head(cluster)
        file = Path(CLUSTER_FILE)
        if not file.is_file():
            return None
        try:
            return find_head(file)
        except NotUpError as error:
            self.tell_not_up(error)
            return None

    def folders_there(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the options that name a folder of the cluster, and what they were given."""
        folder = ctx.params.get("studies_dir")
        if folder:
            yield "--studies-dir", folder

    def names_address(self, ctx: click.Context) -> bool:
        """Whether another Ray was named."""
        return ctx.params.get("address") is not None

    def tell_not_up(self, error: Exception) -> None:
        """Says why a cluster file that just lies there is not used; not worth a word here."""

    def place_here(self, ctx: click.Context, is_local: bool) -> None:
        """Add what the command needs to know when it is this machine that carries it out."""

    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Carries the command out on the cluster; returns its exit code."""
        click.echo(_told(head), err=True)
        words = [_PROGRAM, str(ctx.info_name), *typed_words(ctx), "--local"]
        return head.run(words, terminal=sys.stdin.isatty() and sys.stdout.isatty())


@dataclass(frozen=True)
class Job:
    """What is sent to a cluster.

    Attributes:
        words: arguments of `ucluster-tune` there.
        files: name: text; they lie in its working directory.
        name: of the study, or of what the job does.
        is_study: whether it can be found again by that name.
    """

    words: Sequence[str]
    files: Mapping[str, str]
    name: str
    is_study: bool = True


class SearchCommand(OnCluster):
    """A command that runs trials: on a cluster as a job, else on the Ray of `--address`, or here.

    The function that it calls gets `place`, a `cluster.place.Place`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--address"],
                metavar="HOST:PORT",
                help="Ray to run on.  [default: RAY_ADDRESS, else one that runs on this machine]",
            )
        )

    def tell_not_up(self, error: Exception) -> None:
        """Says why the cluster is not used."""
        click.echo(f"{error}\nSo the search does not run there.", err=True)

    def place_here(self, ctx: click.Context, is_local: bool) -> None:
        """Add the place where the search runs."""
        from ucluster_tune.cluster.place import choose_place

        address = ctx.params.pop("address")
        if is_local and address is not None:
            if not _is_from_environment(ctx, "is_local"):
                raise click.UsageError("give either --address HOST:PORT or --local")
            is_local = False  # what was typed wins
        ctx.params["place"] = choose_place(is_local=is_local, address=address)

    def job(self, ctx: click.Context) -> Job:
        """Return what is sent to a cluster; by default the command as it was typed."""
        return Job([str(ctx.info_name), *typed_words(ctx)], {}, str(ctx.params["name"]))

    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Send the search to the cluster and show it; Ctrl-C only ends the showing."""
        job = self.job(ctx)
        click.echo(_told(head), err=True)
        with _jobs_of(head) as jobs:
            job_id = _submit(jobs, job)
            click.echo(
                f"It runs there as Ray job {job_id}; Ctrl-C ends only this view of it", err=True
            )
            try:
                with _ended_by_sigterm():
                    return jobs.follow(job_id, _show)
            except KeyboardInterrupt:
                click.echo(f"\n{_way_back(job, job_id, head)}", err=True)
                return 0

    def send(self, head: "Head", jobs: Sequence[Job]) -> list[str]:
        """Send jobs without a view of them; return their ids."""
        click.echo(_told(head), err=True)
        if not jobs:
            return []
        with _jobs_of(head) as interface:
            return [_submit(interface, job) for job in jobs]


@contextmanager
def _jobs_of(head: "Head") -> Iterator["ClusterJobs"]:
    from ucluster_tune.cluster.launched.jobs import ClusterJobs

    with head.tunnel(f"127.0.0.1:{head.dashboard_port}") as tunnel:
        yield ClusterJobs(head, tunnel)


def _submit(jobs: "ClusterJobs", job: Job) -> str:
    return jobs.submit(["python", "-m", "ucluster_tune", *job.words], job.files, job.name)


def all_typed_words(ctx: click.Context) -> list[str]:
    """Return the arguments as typed."""
    return list(ctx.meta[_WORDS])


def typed_words(ctx: click.Context) -> list[str]:
    """Return the arguments as typed, without those that say where the command is carried out."""
    words: list[str] = []
    skip = False
    for word in all_typed_words(ctx):
        if skip:
            skip = False
        elif word in ("--cluster", "--address"):
            skip = True
        elif word != "--local" and not word.startswith(("--cluster=", "--address=")):
            words.append(word)
    return words


def _refuse_relative(option: str, folder: str, head: "Head") -> None:
    """Raise where a folder would be another one there: a job's own, which goes with the job."""
    if "://" not in folder and not folder.startswith(("/", "~")):
        raise click.UsageError(
            f"{option} {folder} means a folder of this machine; on cluster {head.cluster} name one"
            " from / that all its nodes see, or s3://BUCKET/FOLDER"
        )


def _is_from_environment(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT


def _told(head: "Head") -> str:
    return f"On cluster {head.cluster}, head {head.host}, since {head.file} names it and it is up"


def _way_back(job: Job, job_id: str, head: "Head") -> str:
    from ucluster_tune.cluster.launched.launcher import CLUSTER_FILE
    from ucluster_tune.report.cells import program

    where = "" if str(head.file) == CLUSTER_FILE else f" --cluster {head.file}"
    if not job.is_study:
        return f"Job {job_id} goes on: `ray job logs {job_id}` on the head shows it"
    return (
        f"The search goes on on cluster {head.cluster}. Back to it:"
        f" {program()} status {job.name} --follow{where}\n"
        f"Stop it in order: {program()} stop {job.name}{where}"
    )


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the view as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        signal.raise_signal(signal.SIGINT)  # an exception here would come amid Ray's client

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
