"""The smallest HTTP client: one request, one answer, a kept connection.

Owns: a socket and the framing of answers. Never: what they mean.
"""

import socket


def request(method, path, headers=None, body=""):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines) + "\r\n\r\n" + body


class Connection:
    def __init__(self, port, patience=30.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, text):
        """Status and body. OSError when there is no whole answer."""
        self.socket.sendall(text.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.more()
        head, body = answer.split(b"\r\n\r\n", 1)
        words = head.decode("latin-1").lower()
        if "content-length:" in words:
            length = int(words.split("content-length:")[1].split("\r\n")[0])
            pieces, have = [body], len(body)
            while have < length:
                pieces.append(self.more())
                have += len(pieces[-1])
            body = b"".join(pieces)
        elif "chunked" in words:
            while not body.endswith(b"0\r\n\r\n"):
                body += self.more()
        return int(words.split()[1]), body

    def ask_until(self, text, mark, count):
        """Status and all bytes of an answer that does not end, up to when `mark` has arrived `count` times."""
        self.socket.sendall(text.encode())
        answer = b""
        while answer.count(mark) < count:
            answer += self.more()
        return int(answer.split(None, 2)[1]), answer

    def more(self):
        # A server that sends its answer in two parts would else be measured by our kernel's delay of an
        # acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        got = self.socket.recv(1 << 20)
        if not got:
            raise ConnectionError("the answer ended too soon")
        return got


def ask(port, text):
    with Connection(port) as connection:
        return connection.ask(text)


def answers(port, text):
    """Whether there is an answer at all, whatever it says."""
    try:
        return ask(port, text)[0] < 500
    except (OSError, ValueError, IndexError):
        return False
