"""Programs that talk to somebody."""

from tests.attacks.attack import BLOCKED, ERROR, Attack, by_number


def _socket(family: str, kind: str, use: str) -> str:
    return f"import socket\ns = socket.socket({family}, {kind})\n{use}\nprint('ESCAPED')"


ATTACKS = [
    Attack(
        "tcp",
        ERROR,
        _socket("socket.AF_INET", "socket.SOCK_STREAM", "s.connect(('127.0.0.1', @PORT@))"),
    ),
    Attack(
        "udp",
        ERROR,
        _socket("socket.AF_INET", "socket.SOCK_DGRAM", "s.sendto(b'x', ('127.0.0.1', @UDP@))"),
    ),
    Attack(
        "ipv6", ERROR, _socket("socket.AF_INET6", "socket.SOCK_STREAM", "s.connect(('::1', 1))")
    ),
    Attack(
        "unix socket",
        ERROR,
        _socket("socket.AF_UNIX", "socket.SOCK_STREAM", "s.connect('@UNIX@')"),
    ),
    Attack(
        "abstract socket",
        ERROR,
        _socket("socket.AF_UNIX", "socket.SOCK_STREAM", "s.connect('\\0@ABSTRACT@')"),
    ),
    Attack(
        "datagrams over a pair",
        ERROR,
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "a.sendto(b'x', '@UNIX@')\nprint('ESCAPED')",
    ),
    Attack(
        "address over a pair of streams",
        ERROR,
        "import socket\na, b = socket.socketpair()\na.sendto(b'x', '@UNIX@')\nprint('ESCAPED')",
    ),
    Attack(
        "listening pair",
        ERROR,
        "import socket\na, b = socket.socketpair()\na.bind('\\0acim')\na.listen()\n"
        "print('ESCAPED')",
    ),
    Attack("netlink", ERROR, _socket("socket.AF_NETLINK", "socket.SOCK_RAW", "s.bind((0, 0))")),
    Attack("raw", ERROR, _socket("socket.AF_INET", "socket.SOCK_RAW", "pass")),
    Attack("packets", ERROR, _socket("socket.AF_PACKET", "socket.SOCK_RAW", "pass")),
    Attack("vsock", ERROR, _socket("socket.AF_VSOCK", "socket.SOCK_STREAM", "pass")),
    Attack("kernel crypto", ERROR, _socket("socket.AF_ALG", "socket.SOCK_SEQPACKET", "pass")),
    Attack("can bus", ERROR, _socket("socket.AF_CAN", "socket.SOCK_RAW", "pass")),
    Attack("socket by number", ERROR, by_number("socket", "2", "1", "0")),
    Attack(
        "listening",
        ERROR,
        _socket("socket.AF_INET", "socket.SOCK_STREAM", "s.bind(('127.0.0.1', 0)); s.listen()"),
    ),
    Attack(
        "web page",
        ERROR,
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:@PORT@/', timeout=1)\n"
        "print('ESCAPED')",
    ),
    Attack(
        "name look-up",
        ERROR,
        "import socket\nprint('ESCAPED', socket.getaddrinfo('example.com', 80))",
    ),
    Attack(
        "asyncio connection",
        ERROR,
        "import asyncio\nasync def main(): await asyncio.open_connection('127.0.0.1', @PORT@)\n"
        "asyncio.run(main())\nprint('ESCAPED')",
    ),
    Attack("ring of system calls", BLOCKED, by_number("io_uring_setup", "8", "0")),
]
