"""What a machine knows of its own name and of its network. Loads no Ray and no Horovod.

Also sent by value to nodes that may lack this package (`cluster.fitness.probe`): plain Python, and
psutil only inside of functions.
"""

import socket


def unresolved_name() -> str | None:
    """Return why the host cannot resolve its own name, None where it can.

    Gloo, below Horovod, crashes on such a host.
    """
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError as error:
        return str(error.strerror or error)
    return None


def interfaces() -> dict[str, list[str]]:
    """Return the IPv4 addresses of each network interface that is up, the loopback's too."""
    import psutil  # may be missing on a node

    states = psutil.net_if_stats()
    found: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        numbers = [a.address for a in addresses if a.family == socket.AF_INET]
        if numbers and name in states and states[name].isup:
            found[name] = numbers
    return found


def interface_of(address: str) -> str | None:
    """Return the network interface that has an IPv4 address, None where none has.

    >>> interface_of("127.0.0.1"), interface_of("192.0.2.1")
    ('lo', None)
    """
    return next((name for name, found in interfaces().items() if address in found), None)
