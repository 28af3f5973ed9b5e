"""Messages and sockets over a Unix socket."""

import os
import socket
import threading

import pytest
from ml_pipeline.serving import control_socket


def start_server(path, reply):
    listening = control_socket.listen(path)
    listening.setblocking(True)

    def answer():
        connection, _ = listening.accept()
        with connection, listening:
            reply(connection)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_passed_socket_is_the_same_socket(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as public:

        def reply(connection):
            message, passed_socket = control_socket.receive(connection)
            assert passed_socket is None
            control_socket.send(connection, {"told": message["command"]}, public)

        thread = start_server(tmp_path / "c.sock", reply)
        message, passed_socket = control_socket.send_command(tmp_path / "c.sock", "lend")
        thread.join()
        with passed_socket:
            assert message == {"told": "lend"}
            assert passed_socket.getsockname() == public.getsockname()
            assert not os.get_inheritable(passed_socket.fileno())


def test_a_long_path_works(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()

    def reply(connection):
        control_socket.receive(connection)
        control_socket.send(connection, {"a": 1})

    thread = start_server(folder / "c.sock", reply)
    assert control_socket.send_command(folder / "c.sock", "status")[0] == {"a": 1}
    thread.join()


def test_only_its_owner_may_use_the_socket(tmp_path):
    with control_socket.listen(tmp_path / "c.sock"):
        assert (tmp_path / "c.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("answer", [b"", b"text\n", b"[]\n", b"{"])
def test_an_invalid_reply_is_an_error(tmp_path, answer):
    thread = start_server(tmp_path / "c.sock", lambda connection: connection.sendall(answer))
    with pytest.raises(OSError):
        control_socket.send_command(tmp_path / "c.sock", "status")
    thread.join()


def test_a_missing_server_is_an_error(tmp_path):
    with pytest.raises(OSError):
        control_socket.send_command(tmp_path / "c.sock", "status")
