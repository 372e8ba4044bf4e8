"""Commands that a cluster carries out where one is up, and this machine otherwise.

A command about a study that exists is typed again on the cluster's head, through ssh. A search is
sent there as a job, which needs this machine no more.
"""

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


@dataclass(frozen=True)
class _Where:
    """Where the user wants a command carried out; at most one of the three is given."""

    cluster: Path | None
    address: str | None
    is_local: bool

    @classmethod
    def of(cls, ctx: click.Context) -> "_Where":
        """Take the options out of the context's.

        Raises:
            click.UsageError: two places were given.
        """
        cluster, address = ctx.params.pop("cluster"), ctx.params.pop("address", None)
        is_local = ctx.params.pop("is_local")
        options = {"--cluster FILE": cluster, "--address HOST:PORT": address}
        given = [option for option, value in options.items() if value is not None]
        if is_local and given:
            source = ctx.get_parameter_source("is_local")
            if source is click.core.ParameterSource.ENVIRONMENT:
                is_local = False  # what was typed wins
            else:
                given.append("--local")
        if len(given) > 1:
            raise click.UsageError(f"give either {given[0]} or {given[1]}")
        return cls(cluster, address, is_local)


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
        where = _Where.of(ctx)
        head = self._head(where)
        if head is None:
            self.place_here(ctx, where.is_local, where.address)
            return super().invoke(ctx)
        for option, folder in self.folders_there(ctx):
            _refuse_relative(option, folder, head)
        ctx.exit(self.run_on(head, ctx))
        return None

    def _head(self, where: "_Where") -> "Head | None":
        """Return the head of the cluster to be used, None for this machine.

        Raises:
            NotUpError: the cluster that was named is not up.
        """
        if where.is_local or where.address is not None:
            return None
        from ucluster_tune.cluster.launched.launcher import (
            CLUSTER_FILE,
            NeverStartedError,
            NotUpError,
            find_head,
        )

        if where.cluster is not None:
            return find_head(where.cluster)
        file = Path(CLUSTER_FILE)
        if not file.is_file():
            return None
        try:
            return find_head(file)
        except NeverStartedError:
            return None  # the file that ships lies there: nobody asked for a cluster
        except NotUpError as error:
            self.tell_not_up(error)
            return None

    def folders_there(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the options that name a folder of the cluster, and what they were given."""
        folder = ctx.params.get("studies_dir")
        if folder:
            yield "--studies-dir", folder

    def tell_not_up(self, error: Exception) -> None:
        """Say why a cluster file that just lies there is not used; not worth a word here."""

    def place_here(self, ctx: click.Context, is_local: bool, address: str | None) -> None:
        """Add what the command needs to know when it is this machine that carries it out."""

    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Carry the command out on the cluster; return its exit code."""
        click.echo(_why_there(head), err=True)
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
        """Say why the cluster is not used."""
        click.echo(f"{error}\nSo the search does not run there.", err=True)

    def place_here(self, ctx: click.Context, is_local: bool, address: str | None) -> None:
        """Add the place where the search runs."""
        from ucluster_tune.cluster.place import choose_place

        ctx.params["place"] = choose_place(is_local=is_local, address=address)

    def job(self, ctx: click.Context) -> Job:
        """Return what is sent to a cluster; by default the command as it was typed."""
        return Job([str(ctx.info_name), *typed_words(ctx)], {}, str(ctx.params["name"]))

    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Send the search to the cluster and show it; Ctrl-C only ends the showing."""
        job = self.job(ctx)
        click.echo(_why_there(head), err=True)
        with _jobs_of(head) as jobs:
            job_id = _submit(jobs, job)
            click.echo(
                f"It runs there as Ray job {job_id}; Ctrl-C ends only this view of it", err=True
            )
            try:
                return jobs.follow(job_id, _show)
            except KeyboardInterrupt:
                click.echo(f"\n{_way_back(job, job_id, head)}", err=True)
                return 0

    def send(self, head: "Head", jobs: Sequence[Job]) -> list[str]:
        """Send jobs without a view of them; return their ids."""
        click.echo(_why_there(head), err=True)
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


def _why_there(head: "Head") -> str:
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
