"""Runs a command where no user namespace can be made, as some systems are set up.

``python -m tests.without_namespaces COMMAND…`` runs it as an ordinary user who is refused them; for
root, as in a container: as root without CAP_SYS_ADMIN, with an interpreter that anybody may run.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from autograder.sandbox import inner_wall

CAP_SYS_ADMIN = 21


def let_in(folders: list[Path]) -> None:
    """Let anybody enter these folders, past parents that only root may: in a mount namespace."""
    inner_wall._check(inner_wall._libc.unshare(inner_wall.CLONE_NEWNS), "unshare")
    inner_wall._mount("none", "/", None, inner_wall.MS_REC | inner_wall.MS_PRIVATE)
    aside = Path(tempfile.mkdtemp())
    held = [(folder, aside / str(number)) for number, folder in enumerate(folders)]
    for folder, place in held:
        place.mkdir()
        inner_wall._mount(str(folder), str(place), None, inner_wall.MS_BIND)
    closed = {shut for folder in folders if (shut := outermost_closed(folder))}
    for folder in closed:
        inner_wall._mount("tmpfs", str(folder), "tmpfs", 0, "mode=755")
    for folder, place in held:
        if closed & set(folder.parents):
            folder.mkdir(parents=True, exist_ok=True)
            inner_wall._mount(str(place), str(folder), None, inner_wall.MS_BIND)


def outermost_closed(folder: Path) -> Path | None:
    """The outermost parent that not everybody may enter."""
    for parent in reversed(folder.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def main(command: list[str]) -> None:
    """Leave the user namespace for one in which none can be made, and become the command."""
    uid, gid, root = os.getuid(), os.getgid(), os.getuid() == 0
    if root:
        let_in([Path(sys.base_prefix).resolve(), Path(sys.prefix)])
    child = str(os.getpid())
    lines = "0 0 65536" if root else f"{uid} {uid} 1"
    ready, go = os.pipe()
    mapper = os.fork()
    if mapper == 0:  # a process outside may map all ids, for root; for others it maps their own
        os.close(go)
        os.read(ready, 1)
        if not root:
            Path(f"/proc/{child}/setgroups").write_text("deny")
        Path(f"/proc/{child}/uid_map").write_text(lines)
        Path(f"/proc/{child}/gid_map").write_text(lines if root else f"{gid} {gid} 1")
        os._exit(0)
    inner_wall._check(inner_wall._libc.unshare(inner_wall.CLONE_NEWUSER), "unshare")
    os.write(go, b".")
    assert os.waitpid(mapper, 0)[1] == 0
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    if root:
        inner_wall._prctl(inner_wall.PR_CAPBSET_DROP, CAP_SYS_ADMIN)
    refused = subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True)
    assert refused.returncode != 0, "user namespaces can still be made"
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
