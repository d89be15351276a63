"""A proxy that the environment names is asked for what is elsewhere, and for nothing here."""

import pytest

from clearstem.client import Unreachable, Way
from tests.client.documents import JOB_ID, PATH, completed, running
from tests.client.driven import Driven
from tests.client.scripted import Frames, Says, Scripted
from tests.stranger import Stranger


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_on_this_machine_is_called_directly(
    client: Driven, server: Scripted, proxy: Stranger, host: str
) -> None:
    url = server.url.replace("127.0.0.1", host)
    server.on("GET", PATH, Says(200, running(1)))
    server.sockets = [Frames([completed()])]
    assert client.call(url, "job", JOB_ID)["percent"] == 1
    assert client.watch(url, JOB_ID)[1].way is Way.WEBSOCKET
    assert proxy.asked == []


def test_a_server_elsewhere_is_called_by_the_proxy(client: Driven, proxy: Stranger) -> None:
    with pytest.raises(Unreachable):
        client.call("http://clearstem.example", "job", JOB_ID)
    assert proxy.asked[0].startswith(b"GET http://clearstem.example/")
    proxy.asked.clear()
    with pytest.raises(Unreachable):
        client.watch("http://clearstem.example", JOB_ID)
    assert proxy.asked[0].startswith(b"CONNECT clearstem.example:80")
