"""How fast a store is copied over ssh on loopback, compared with ``rsync -a -e ssh`` of the same folder.

    python benchmarks/bench_ssh.py [--files MB] [--points N] [--runs N] [--only large|small]

Promise: no less than half the rate of rsync, and a second pass over 10,000 unchanged runs in under 2 s. An sshd with
keys of its own is started on loopback; it and rsync have to be installed. A copy between stores is on the disk when it
returns, so rsync is followed by ``sync``. Each push is a process of its own, whose memory is measured. Nothing is
removed before the last copy was made; see bench_store_copy.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_store_copy import large_runs, processor_time, small_runs, timed
from measure import ROUNDS, folder_bytes, fresh_folder, heading, in_fresh_process, peak_memory, row

from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.remotes.resolver import remote_for

SHARE_MIN = 0.5
PASS_S_MAX = 2.0
MEMORY_MB_MAX = 300


class Sshd:
    """An sshd of the current user, and the ssh command that reaches it as the host ``bench``."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        port = 20_000 + os.getpid() % 20_000
        settings = [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder / 'host'}",
            f"AuthorizedKeysFile {folder / 'authorized'}",
            "StrictModes no",
            "UsePAM no",
            f"PidFile {folder / 'pid'}",
            f"SetEnv PATH={Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        ]
        (folder / "sshd_config").write_text("\n".join(settings) + "\n")
        client = [
            "Host bench",
            "HostName 127.0.0.1",
            f"Port {port}",
            f"IdentityFile {folder / 'user'}",
            "StrictHostKeyChecking no",
            f"UserKnownHostsFile {folder / 'known'}",
        ]
        (folder / "config").write_text("\n".join(client) + "\n")
        self.command = f"ssh -q -F {folder / 'config'}"
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        program = next(path for path in ("/usr/sbin/sshd", "/usr/bin/sshd") if os.path.exists(path))
        self._process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=-3)
        for _ in range(100):
            if subprocess.run(f"{self.command} bench true", shell=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("sshd does not answer")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def compare(name: str, source: Path, ssh: Sshd) -> bool:
    """Copy a store in both ways; whether ours keeps the promise."""
    size = folder_bytes(source)
    rounds = []
    for number in range(min(ROUNDS, 3)):
        far, plain = source.parent / f"far{number}", source.parent / f"plain{number}"
        store = Store.open(source)
        remote = Remotes(store).add(f"far{number}", f"ssh://bench{far}")
        for path in source.glob("catalog.duckdb*"):  # each push is the first command that sees the store
            path.unlink()
        os.sync()
        used = processor_time()
        ours, pushed, held = in_fresh_process(__file__, "push", str(source), remote.name)
        used = processor_time() - used
        again, more, held_again = in_fresh_process(__file__, "push", str(source), remote.name)
        assert (pushed, more) == (len(store.run_ids()), 0)
        os.sync()
        theirs, theirs_used = timed(f"rsync -a -e '{ssh.command}' {source}/ bench:{plain}/ && sync -f {source.parent}")
        rounds.append([ours, theirs, theirs / ours, again, max(held, held_again) / 1e6, used, theirs_used])
    ours, theirs, share, again, _, used, theirs_used = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    held = max(column[4] for column in rounds)
    fast, quick = share >= SHARE_MIN, again < PASS_S_MAX and held < MEMORY_MB_MAX
    figures = f"{ours:.2f} s", f"{used:.2f} s cpu here", f"{size / ours / 1e6:,.0f} MB/s", f"{share:.2f} of rsync"
    row(f"{name}: mltrack sync", *figures, verdict=bool(fast))
    row(
        f"{name}: rsync -a, sync",
        f"{theirs:.2f} s",
        f"{theirs_used:.2f} s cpu here",
        f"{size / theirs / 1e6:,.0f} MB/s",
    )
    row(f"{name}: second pass", f"{again:.2f} s", f"{held:,.0f} MB held", verdict=bool(quick))
    return bool(fast and quick)


def push_once(source: str, name: str) -> int:
    """One push in this process; prints its seconds, how many runs went, and the most memory held."""
    store = Store.open(source)
    began = time.perf_counter()
    report = push(store, remote_for(store, name))
    seconds = time.perf_counter() - began
    assert report.complete, report
    print(seconds, report.runs, peak_memory())
    return 0


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--files", type=int, default=512, help="MB of artifacts")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--only", choices=("large", "small"))
    given = parser.parse_args()
    kept = []
    with fresh_folder() as folder:
        ssh = Sshd(folder / "ssh")
        os.environ["MLTRACK_SSH"] = ssh.command
        try:
            heading("A store copied over ssh on loopback")
            for name in ("small", "large"):  # small ones first: nothing was removed before them
                if given.only in (None, name):
                    (folder / name).mkdir()
                    source = folder / name / "a"
                    if name == "small":
                        small_runs(source, given.runs)
                    else:
                        large_runs(source, given.points, given.files)
                    kept.append(compare(f"{given.runs:,} small runs" if name == "small" else "large runs", source, ssh))
        finally:
            ssh.close()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(push_once(*sys.argv[2:]) if sys.argv[1:2] == ["push"] else main())
