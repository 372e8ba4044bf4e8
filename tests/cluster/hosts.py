"""Several hosts on one machine: what a cluster of machines is made of, without the machines.

A host is a network, process, mount and host-name namespace of its own, with its own sshd, home,
/tmp, /var/tmp, /run, /dev/shm, /etc/hosts and network card; a cable goes from it to a switch,
which is a bridge in a namespace of its own. Nothing is ever added to the real machine's network.

No namespace has a name: each lives as long as its first process, and that one is killed by the
system when this process ends, however it ends. So nothing is left of hosts whose test was killed.
(The system means the thread that started it: boot hosts from the main thread.)
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).parents[2]
HOME = "/srv/home"  # on each host; under /srv since what runs may lie in the real /root
SHARED = "/srv/shared"  # where the laboratory's shared disk is mounted
_ASIDE = "/run/shared"
TOOLS = ("ip", "nsenter", "rsync", "setpriv", "ssh", "ssh-keygen", "sshd", "unshare")
# As in Debian; sshd wants a full path.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--net", "--mount", "--pid", "--uts")
_NO_TERMINAL = ("bash: cannot set terminal process group", "bash: no job control in this shell")

# Runs as the first process of a host. It waits for its network card before sshd starts.
_INIT = """
set -e
hostname "$NAME"
for file in hosts passwd nsswitch.conf; do mount --bind "$DISK/etc/$file" "/etc/$file"; done
for folder in $VISIBLE; do
    mkdir -p "$DISK$folder"
    mount --bind "$folder" "$DISK$folder"
done
mount --rbind "$DISK/srv" /srv
mkdir -p /srv/home /srv/shared
[ -z "$SHARED_DISK" ] || mount --bind "$SHARED_DISK" /srv/shared
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount -t tmpfs tmpfs /dev/shm
mount --bind "$DISK/var_tmp" /var/tmp
mount --rbind "$DISK/tmp" /tmp
read -r _
ip link set lo up
ip link add docker0 type bridge  # as on many a machine: the same address on each, no cable
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via 10.77.0.1
exec < /dev/null
exec "$SSHD" -D -f /srv/sshd_config -E /srv/sshd.log
"""


def why_not() -> str | None:
    """Why there can be no hosts on this machine, None if there can."""
    if os.geteuid() != 0:
        return "hosts in namespaces need root"
    missing = [tool for tool in TOOLS if _path_of(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (openssh-server, rsync, iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "ip", "link", "add", "type",
         "veth"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


def _path_of(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{_PATH}")


class Host:
    """A machine of the laboratory; made by `Laboratory.add`.

    Attributes:
        name: its host name.
        address: of its network card.
        disk: its own files as seen from here, kept while its power is off: tmp, srv/home.
    """

    def __init__(
        self, laboratory: "Laboratory", name: str, address: str, shared: Path | None
    ) -> None:
        self.name, self.address = name, address
        self._laboratory, self._shared = laboratory, shared
        self.disk = laboratory.folder / name
        self._holder: subprocess.Popen[str] | None = None
        self._port = ""
        self._n_boots = 0
        for folder in ("etc", "srv", "srv/home", "srv/shared", "tmp", "var_tmp"):
            (self.disk / folder).mkdir(parents=True)
            (self.disk / folder).chmod(0o1777 if folder.endswith("tmp") else 0o755)
        self._write_files()

    @property
    def home(self) -> Path:
        """The home of its user, as seen from here."""
        return self.disk / "srv" / "home"

    @property
    def is_on(self) -> bool:
        """Whether its power is on."""
        return self._holder is not None and self._holder.poll() is None

    def boot(self) -> None:
        """Switch it on; returns when sshd answers."""
        assert not self.is_on
        self._n_boots += 1
        needed = [str(path) for path in (CHECKOUT, Path(sys.prefix))]
        visible = [path for path in needed if path.startswith(("/tmp/", "/srv/"))]
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child", "--fork", "--mount-proc",
             *_NAMESPACES, "sh", "-c", _INIT],
            env={
                "PATH": _PATH, "NAME": self.name, "ADDRESS": self.address, "DISK": str(self.disk),
                "SHARED_DISK": str(self._shared or ""), "SSHD": str(_path_of("sshd")),
                "VISIBLE": " ".join(visible),
            },
            stdin=subprocess.PIPE, text=True, start_new_session=True,
            stderr=subprocess.DEVNULL,  # unshare complains when its child was killed
        )  # fmt: skip
        first = self._first_process()
        self._port = f"{self.name}-{self._n_boots}"
        card = (
            f"02:00:00:00:00:{int(self.address.rpartition('.')[2]):02x}"  # the same at each boot
        )
        self._laboratory.switch(
            f"link add {self._port} type veth peer name eth0 address {card} netns {first}",
            f"link set {self._port} master switch up",
        )
        assert self._holder.stdin is not None
        self._holder.stdin.write("\n")
        self._holder.stdin.close()
        self._wait_for_sshd()

    def power_off(self) -> None:
        """Cut its power: all its processes are gone at once, and nobody says good-bye."""
        if self._holder is not None and self.is_on:
            self.cut_cable()  # first: the system would close its connections in good order
            os.kill(self._first_process(), signal.SIGKILL)  # and the system kills all others
            self._holder.wait(20)
        self._holder = None

    def cut_cable(self) -> None:
        """Cut the cable between its network card and the switch."""
        self._laboratory.switch(f"link set {self._port} down")

    def plug_in(self) -> None:
        """Mend the cable."""
        self._laboratory.switch(f"link set {self._port} up")

    def unmount_shared(self) -> None:
        """Take the shared disk away: its own folder of that path is seen."""
        self.run(f"mkdir -p {_ASIDE} && mount --move {SHARED} {_ASIDE}")

    def mount_shared(self) -> None:
        """Bring the shared disk back."""
        self.run(f"mount --move {_ASIDE} {SHARED}")

    def forget_own_name(self, forgets: bool = True) -> None:
        """Make the host unable to resolve its own name, or able again."""
        others = self._laboratory.hosts.values()
        self._write_names([h for h in others if not (forgets and h is self)])

    def run(
        self, command: str, timeout_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a line in the shell of its user, as if typed at its keyboard.

        Raises:
            AssertionError: it failed, with all that it wrote; not with `check` false.
        """
        with self.start(command, self.disk / "srv") as running:
            code = running.end(timeout_s)
            done = subprocess.CompletedProcess(command, code, running.out, running.err)
        assert code == 0 or not check, f"{self.name}: {command}: exit code {code}\n{running.shown}"
        return done

    def ssh(
        self, to: "Host", command: str, timeout_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a line on another host by ssh from this one."""
        options = "-o StrictHostKeyChecking=no -o BatchMode=yes -o LogLevel=ERROR"
        line = f"ssh {options} {to.address} {shlex.quote(command)}"
        return self.run(line, timeout_s=timeout_s, check=check)

    def start(self, command: str, folder: Path) -> "Running":
        """Start a line in the shell of its user; its output goes to new files in `folder`."""
        return Running(self, command, folder)

    def entering(self) -> list[str]:
        """The command that enters this host, to be followed by another one."""
        return ["nsenter", "--target", str(self._first_process()), *_NAMESPACES]

    def processes(self) -> dict[int, str]:
        """The command lines of its processes but for sshd's, by their number here."""
        if not self.is_on:
            return {}
        first = psutil.Process(self._first_process())
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                namespace = Path(f"/proc/{process.pid}/ns/pid").readlink()
                same = namespace == Path(f"/proc/{first.pid}/ns/pid").readlink()
                if same and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return {pid: line for pid, line in found.items() if not line.startswith("sshd")
                and not line.endswith("sshd.log")}  # fmt: skip

    def listeners(self) -> list[tuple[str, str, int]]:
        """Its processes that listen, sshd's left out: name, address, port."""
        found = []
        for line in self.run("ss -Hltnp").stdout.splitlines():
            address, _, port = line.split()[3].rpartition(":")
            name = line.partition('users:(("')[2].partition('"')[0]
            if name != "sshd":
                found.append((name, address.strip("[]").removeprefix("::ffff:"), int(port)))
        return found

    def listening(self) -> set[tuple[str, int]]:
        """The addresses and ports that they listen on."""
        return {(address, port) for _, address, port in self.listeners()}

    def write_home(self, path: str, text: str) -> None:
        """Write a file under the home of its user."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)

    def _first_process(self) -> int:
        assert self._holder is not None, f"{self.name} is off"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + 20
        while not (first := children.read_text().split()):
            assert self.is_on and time.monotonic() < deadline, f"{self.name} does not boot"
            time.sleep(0.01)
        return int(first[0])

    def _wait_for_sshd(self) -> None:
        deadline = time.monotonic() + 20
        knock = [*self.entering(), "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22"]
        while subprocess.run(knock, capture_output=True, check=False).returncode:
            assert self.is_on and time.monotonic() < deadline, f"{self.name}: no sshd"
            time.sleep(0.05)

    def _write_files(self) -> None:
        users = Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
        root = f"root:x:0:0:root:{HOME}:/bin/bash"
        users = [root, *(u for u in users if not u.startswith("root:"))]
        (self.disk / "etc" / "passwd").write_text("\n".join(users) + "\n", encoding="utf-8")
        # Names come from the file alone: some systems would make one up for the host itself.
        switch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"
        (self.disk / "etc" / "nsswitch.conf").write_text(switch, encoding="utf-8")
        self._write_names([self])
        for name in (".bashrc", ".profile"):  # those that a new user gets
            source = Path("/etc/skel") / name
            text = source.read_text(encoding="utf-8") if source.exists() else ""
            self.write_home(name, text)
        key = self._laboratory.key
        self.write_home(".ssh/id_ed25519", key.read_text(encoding="utf-8"))
        self.write_home(".ssh/authorized_keys", key.with_suffix(".pub").read_text("utf-8"))
        shutil.copy(key.parent / "host_key", self.disk / "srv" / "host_key")
        (self.disk / "srv" / "host_key").chmod(0o600)
        (self.disk / "srv" / "sshd_config").write_text(
            "HostKey /srv/host_key\nPermitRootLogin prohibit-password\nUsePAM no\nUseDNS no\n"
            f"AuthorizedKeysFile {HOME}/.ssh/authorized_keys\nStrictModes no\nPrintMotd no\n"
            "PidFile none\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
            encoding="utf-8",
        )

    def _write_names(self, hosts: Iterable["Host"]) -> None:
        """Write /etc/hosts; in place, since the file itself is what is mounted."""
        lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in hosts)]
        (self.disk / "etc" / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Running:
    """A line that runs in the shell of a host's user.

    The shell is a login shell and an interactive one, as it is for Ray's cluster launcher.
    """

    def __init__(self, host: Host, command: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{host.name}-{time.monotonic_ns()}"
        self._out, self._err = folder / f"{stem}.out", folder / f"{stem}.err"
        clean = ["env", "-i", f"HOME={HOME}", "USER=root", "LC_ALL=C.UTF-8", f"PATH={_PATH}"]
        shell = ["bash", "--login", "-i", "-c", f"cd; {command}"]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*host.entering(), *clean, *shell],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def out(self) -> str:
        """What it wrote to standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """What it wrote to standard error so far, without what bash says of a lacking terminal."""
        lines = self._err.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(_NO_TERMINAL))

    @property
    def shown(self) -> str:
        """Both outputs, the last of each."""
        return f"--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        """Wait until `text` appears on standard output or standard error."""
        deadline = time.monotonic() + timeout_s
        while text not in self.out + self.err:
            assert self.process.poll() is None, f"ended before {text!r}\n{self.shown}"
            assert time.monotonic() < deadline, f"no {text!r} in {timeout_s:g} s\n{self.shown}"
            time.sleep(0.1)

    def end(self, timeout_s: float) -> int:
        """Wait for its end and return the exit code; kill it where that takes too long."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end in {timeout_s:g} s\n{self.shown}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its processes, as a terminal does: not to those of another session."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    process.send_signal(number)

    def kill(self) -> None:
        """Kill it with all its children."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                process.kill()
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.kill()


class Laboratory:
    """Hosts around one switch, and the disk that they share.

    Args:
        folder: where their disks are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.hosts: dict[str, Host] = {}
        self.key = folder / "keys" / "id_ed25519"
        self.key.parent.mkdir()
        for path in (self.key, self.key.parent / "host_key"):
            line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "laboratory"]
            subprocess.run([*line, "-f", str(path)], check=True, timeout=20)
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"],
            start_new_session=True,
        )
        self._wait_for_namespace()
        # The switch is a router too, to say at once that there is no way to the Internet.
        self.switch(
            "link add switch type bridge", "address add 10.77.0.1/24 dev switch", "link set lo up",
            "link set switch up",
        )  # fmt: skip
        self._in_switch(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])

    def add(self, name: str, shares: bool = True) -> Host:
        """A new host, switched on.

        Args:
            name: its host name.
            shares: whether it has the shared disk; otherwise the same folder is its own.
        """
        address = f"10.77.0.{11 + len(self.hosts)}"
        host = Host(self, name, address, self.shared if shares else None)
        self.hosts[name] = host
        for known in self.hosts.values():
            known.forget_own_name(False)
        host.boot()
        return host

    def switch(self, *commands: str) -> None:
        """Run commands of `ip` in the namespace of the switch."""
        for command in commands:
            self._in_switch(["ip", *command.split()])

    def close(self) -> None:
        """Switch all off; nothing is left but the files."""
        for host in self.hosts.values():
            host.power_off()
        self._holder.kill()
        self._holder.wait()

    def _in_switch(self, command: list[str]) -> None:
        enter = ["nsenter", "--target", str(self._holder.pid), "--net"]
        done = subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def _wait_for_namespace(self) -> None:
        own, theirs = Path("/proc/self/ns/net"), Path(f"/proc/{self._holder.pid}/ns/net")
        deadline = time.monotonic() + 20
        while theirs.readlink() == own.readlink():
            assert self._holder.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)


@contextmanager
def laboratory(folder: Path) -> Iterator[Laboratory]:
    """A laboratory without hosts; all its hosts are off at the end."""
    made = Laboratory(folder)
    try:
        yield made
    finally:
        made.close()
