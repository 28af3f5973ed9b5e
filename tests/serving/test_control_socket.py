"""Messages and sockets over a Unix socket."""

import os
import socket
import threading

import pytest
from ml_pipeline.serving import control_socket


def answering(path, reply):
    listening = control_socket.listen(path)
    listening.setblocking(True)

    def answer():
        connection, _ = listening.accept()
        with connection, listening:
            reply(connection)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_socket_goes_along_and_is_the_same_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as public:

        def reply(connection):
            message, lent = control_socket.receive(connection)
            assert lent is None
            control_socket.send(connection, {"told": message["command"]}, public)

        thread = answering(tmp_path / "c.sock", reply)
        message, lent = control_socket.ask(tmp_path / "c.sock", "lend")
        thread.join()
        with lent:
            assert message == {"told": "lend"}
            assert lent.getsockname() == public.getsockname()
            assert not os.get_inheritable(lent.fileno())


def test_a_long_path_works(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()

    def reply(connection):
        control_socket.receive(connection)
        control_socket.send(connection, {"a": 1})

    thread = answering(folder / "c.sock", reply)
    assert control_socket.ask(folder / "c.sock", "status")[0] == {"a": 1}
    thread.join()


def test_only_its_owner_may_use_it(tmp_path):
    with control_socket.listen(tmp_path / "c.sock"):
        assert (tmp_path / "c.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("answer", [b"", b"text\n", b"[]\n", b"{"])
def test_no_message_is_an_error(tmp_path, answer):
    thread = answering(tmp_path / "c.sock", lambda connection: connection.sendall(answer))
    with pytest.raises(OSError):
        control_socket.ask(tmp_path / "c.sock", "status")
    thread.join()


def test_nobody_there_is_an_error(tmp_path):
    with pytest.raises(OSError):
        control_socket.ask(tmp_path / "c.sock", "status")
