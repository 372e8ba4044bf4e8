import http.client

import pytest

from ucluster_tune.tracking.mlflow.redirects import Redirects


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_short_address_leads_to_the_long_one_and_others_nowhere(host: str) -> None:
    target = "http://127.0.0.1:5000/#/metric?runs=%5B%5D"
    with Redirects({"curves": target}, host) as redirects:
        address = redirects.addresses["curves"]
        assert address.endswith("/curves")
        port = int(address.removesuffix("/curves").rpartition(":")[2])
        connection = http.client.HTTPConnection(host, port, timeout=10)
        for path, status in (("/curves", 302), ("/other", 404)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert (answer.headers["Location"] == target) == (status == 302)
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", "/curves")


@pytest.mark.parametrize(
    ("agent", "leads_to"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "name"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "name"),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.6 Safari/605.1.15", "address"),
        ("curl/8.5.0", "address"),
    ],
)
def test_only_browsers_that_know_names_below_localhost_are_led_to_one(
    agent: str, leads_to: str
) -> None:
    named = {"table": "http://x.localhost/#/name"}
    with Redirects({"table": "http://h/#/address"}, for_browsers=named) as redirects:
        where = redirects.addresses["table"].removeprefix("http://").removesuffix("/table")
        connection = http.client.HTTPConnection(where, timeout=10)
        connection.request("GET", "/table", headers={"User-Agent": agent})
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["Location"].endswith(f"/#/{leads_to}")
        connection.close()
