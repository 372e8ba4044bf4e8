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
