"""Programs that look at, change or leave files where they have no business."""

from tests.attacks.attack import BLOCKED, ERROR, OK, Attack, by_number

_READ = "print('ESCAPED', open({path!r}).read())"


def _read(name: str, path: str) -> Attack:
    return Attack(f"read {name}", ERROR, f"print('ESCAPED', open({path!r}, 'rb').read(4096))")


ATTACKS = [
    _read("a secret", "@SECRET@"),
    _read("the users", "/etc/passwd"),
    _read("the passwords", "/etc/shadow"),
    _read("the host's name", "/etc/hostname"),
    _read("its environment", "/proc/self/environ"),
    _read("the first process's command line", "/proc/1/cmdline"),
    _read("the parent's command line", "/proc/@PARENT@/cmdline"),
    _read("the parent's environment", "/proc/@PARENT@/environ"),
    _read("the parent's memory map", "/proc/@PARENT@/maps"),
    _read("the parent's whole memory", "/proc/@PARENT@/mem"),
    _read("another process's environment", "/proc/@VICTIM@/environ"),
    _read("the kernel's log", "/dev/kmsg"),
    _read("the machine's memory", "/dev/mem"),
    _read("the kernel's symbols", "/proc/kallsyms"),
    _read("the system's tree", "/sys/kernel/notes"),
    Attack("list the root", ERROR, "import os\nprint('ESCAPED', os.listdir('/'))"),
    Attack("list the processes", ERROR, "import os\nprint('ESCAPED', os.listdir('/proc'))"),
    Attack("list the homes", ERROR, "import os\nprint('ESCAPED', os.listdir('/home'))"),
    Attack("list the folder above", ERROR, "import os\nprint('ESCAPED', os.listdir('..'))"),
    Attack(
        "parent's descriptors",
        ERROR,
        "import os\nprint('ESCAPED', os.listdir('/proc/@PARENT@/fd'))",
    ),
    Attack(
        "secret through a link",
        ERROR,
        "import os\nos.symlink('@SECRET@', 's')\n" + _READ.format(path="s"),
    ),
    Attack(
        "secret through a hard link",
        ERROR,
        "import os\nos.link('@SECRET@', 's')\n" + _READ.format(path="s"),
    ),
    Attack(
        "secret through a descriptor of the root",
        ERROR,
        "import os\nroot = os.open('/', os.O_PATH)\n"
        "fd = os.open('@SECRET@'.lstrip('/'), os.O_RDONLY, dir_fd=root)\n"
        "print('ESCAPED', os.read(fd, 100))",
    ),
    Attack("remove a secret", ERROR, "import os\nos.remove('@SECRET@')\nprint('ESCAPED')"),
    Attack("rename a secret", ERROR, "import os\nos.rename('@SECRET@', 's')\nprint('ESCAPED')"),
    Attack("overwrite a secret", ERROR, "open('@SECRET@', 'w')\nprint('ESCAPED')"),
    Attack("append to a secret", ERROR, "open('@SECRET@', 'a').write('x')\nprint('ESCAPED')"),
    Attack("cut a secret", ERROR, "import os\nos.truncate('@SECRET@', 0)\nprint('ESCAPED')"),
    Attack(
        "cut a secret while reading",
        ERROR,
        "import os\nos.open('@SECRET@', os.O_RDONLY | os.O_TRUNC)\nprint('ESCAPED')",
    ),
    # These do nothing: the harness looks at the file afterwards.
    Attack("open a secret to all", (OK, ERROR), "import os\nos.chmod('@SECRET@', 0o777)"),
    Attack("date a secret", (OK, ERROR), "import os\nos.utime('@SECRET@', (0, 0))"),
    Attack("give a secret away", (OK, ERROR), "import os\nos.chown('@SECRET@', 1, 1)"),
    Attack("mark a secret", ERROR, "import os\nos.setxattr('@SECRET@', 'user.x', b'1')"),
    Attack(
        "write into the library",
        ERROR,
        "import os\nopen(os.path.join(os.path.dirname(os.__file__), 'evil.py'), 'w')\n"
        "print('ESCAPED')",
    ),
    Attack(
        "change a module on disk",
        ERROR,
        "import sympy\nopen(sympy.__file__, 'a').write('#')\nprint('ESCAPED')",
    ),
    Attack("write in /tmp", ERROR, "open('/tmp/acim-attack', 'w')\nprint('ESCAPED')"),
    Attack("folder in /tmp", ERROR, "import os\nos.mkdir('/tmp/acim-attack')\nprint('ESCAPED')"),
    Attack("write above", ERROR, "open('../x', 'w')\nprint('ESCAPED')"),
    Attack(
        "device node",
        ERROR,
        "import os, stat\nos.mknod('d', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\nprint('ESCAPED')",
    ),
    Attack("watch a folder", ERROR, by_number("fanotify_init", "0", "0")),
    Attack("terminal", ERROR, "open('/dev/tty')\nprint('ESCAPED')"),
    Attack("chroot", (ERROR, BLOCKED), "import os\nos.chroot('.')\nprint('ESCAPED')"),
    Attack("file by handle", BLOCKED, by_number("open_by_handle_at", "0", "0", "0")),
    Attack("mount", BLOCKED, by_number("mount", "0", "0", "0", "0", "0")),
    Attack("unmount", BLOCKED, by_number("umount2", "0", "0")),
    Attack("new file system", BLOCKED, by_number("fsopen", "0", "0")),
    Attack("new root", BLOCKED, by_number("pivot_root", "0", "0")),
    # Left in the scratch folder: the next program must find it empty, and the host whole.
    Attack("left links", OK, "import os\nos.symlink('/', 'a')\nos.symlink('a', 'b')"),
    Attack("left link cycle", OK, "import os\nos.symlink('b', 'a')\nos.symlink('a', 'b')"),
    Attack(
        "left closed folders",
        OK,
        "import os\nos.makedirs('a/b/c')\nos.mkdir('d', 0)\nopen('a/b/f', 'w').close()\n"
        "os.chmod('a', 0)",
    ),
    Attack("left pipe", OK, "import os\nos.mkfifo('p')"),
    Attack("left hidden files", OK, "open('.x', 'w').write('x')\nopen('x' * 255, 'w').close()"),
    Attack("left program", OK, "open('sitecustomize.py', 'w').write('print(\"ESCAPED\")')"),
    Attack("removed home", (OK, ERROR), "import os\nos.rmdir(os.getcwd())"),
    Attack("moved home", (OK, ERROR), "import os\nos.rename(os.getcwd(), os.getcwd() + 'x')"),
]
