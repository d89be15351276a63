"""Run a command that dies with its parent, as containers die with their host.

``python -I -S tether.py PARENT_PID SIGNAL COMMAND…`` asks Linux for SIGNAL when the parent ends,
then becomes COMMAND. It is a program of its own because code between fork and exec of a process
with threads can deadlock. Linux ties the request to the *thread* that forked, so the caller must
start it from one that lives as long as the process. Where there is no prctl it only runs COMMAND;
the launcher's clean-up covers those systems.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NOT_FOUND = 127  # what a shell answers for a command that cannot be run


def tie_to_parent(parent_pid: int, signal_number: int) -> None:
    """Have `signal_number` sent to this process when its parent ends; exit if it already has."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the request was in place
        sys.exit(128 + signal_number)


def main(arguments: list[str]) -> None:
    """Tie, then become the command; never returns."""
    parent_pid, signal_number, *command = arguments
    tie_to_parent(int(parent_pid), int(signal_number))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
