"""Where a service listens, and with which certificate: what is wrong is told before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from converter.errors import UsageError
from converter.service.context import Settings
from converter.service.server import Place, listening, serve


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Place(port=99_999), "no port 99999"),
        (Place(port=-1), "no port -1"),
        (Place(host="192.0.2.1", port=0), "192.0.2.1 port 0 cannot be listened on"),  # RFC 5737
        (Place(host="no.such.host.invalid", port=0), "no.such.host.invalid port 0 cannot be"),
    ],
)
def test_an_address_that_is_none_is_told_before_anything_is_made(
    tmp_path: Path, place: Place, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        serve(Settings(data=tmp_path / "data"), place)
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="in use"):
            serve(Settings(data=tmp_path / "data"), place)


def test_the_parts_of_an_answer_do_not_wait_for_each_other() -> None:
    with (
        listening(Place(port=0)) as sock,
        socket.create_connection(sock.getsockname()),
        sock.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("pair", [("missing.pem", None), ("no.pem", "no.pem"), (None, "no.pem")])
def test_a_certificate_that_cannot_be_read_is_told(
    tmp_path: Path, pair: tuple[str | None, str | None]
) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    certificate, key = (tmp_path / name if name else None for name in pair)
    place = Place(port=0, certificate=certificate, private_key=key)
    with pytest.raises(UsageError, match="certificate"):
        serve(Settings(data=tmp_path / "data"), place)
