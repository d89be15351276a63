"""What a deployment costs, and which quota it meets first.

``python -m infra.cost --jobs-per-day 10000`` prints dollars per job by part and
the account's quotas by how much of them a peak hour asks for. The stages'
prices are those of the receipts (`clearstem.receipts`); ``docs/cost.md``
tells where every other number comes from.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clearstem.receipts import Machine, stage_dollars
from clearstem.recipes import COMPOSITION, DECOMPOSITION, NORMALIZATION, SEPARATION
from infra.lifetimes import REGRET_DAYS, TRACK_DAYS, UPLOAD_DAYS, WORK_DAYS
from infra.options import MACHINE_VCPUS

_DAY_S: Final = 86_400
_MONTH_DAYS: Final = 30
_GB: Final = 1e9

# Prices of us-east-1, list, without free tiers.
_S3_GB_MONTH: Final = 0.023
_S3_PUT: Final = 0.005 / 1000
_S3_GET: Final = 0.0004 / 1000
_EGRESS_GB: Final = 0.085  # CloudFront's and S3's first 10 TB are within 6 % of it
_TABLE_WRITE: Final = 0.625 / 1e6
_TABLE_READ: Final = 0.125 / 1e6
_TRANSITION: Final = 25 / 1e6
_REST_CALL: Final = 3.5 / 1e6
_SOCKET_MESSAGE: Final = 1.0 / 1e6
_QUEUE_CALL: Final = 0.4 / 1e6
_SMALL_CALL: Final = 0.2 / 1e6 + 0.1 * 0.5 * 0.0000133334  # 100 ms of 512 MB on arm64
_SOCKET_MINUTE: Final = 0.25 / 1e6
_STREAM_GB_S: Final = 0.0000166667  # on x86
_LOG_GB: Final = 0.50

# An open stream holds a call of its function, which looks at the record every 150 ms.
STREAM_MEMORY_MB: Final = 512
_LOOKS_PER_S: Final = 1 / 0.15

# From the launch of a GPU machine to the start of its job: system, agent and an image of 8 GB.
_BOOT_S: Final = 240.0
# How long Batch itself lets a machine idle; AWS names no time, and `gpu_idle_minutes` sets one.
_SCALE_DOWN_S: Final = 300.0

# Of a job of four stages: queued, started, each stage, the end.
_EVENTS: Final = 7

# An alarm is paid for by the series that it looks at, and a metric by each value of its dimension,
# in the hours in which it is written: what is counted is all of them, all day, without failures,
# whose names nobody knows beforehand. A test counts both anew, in the template and the code.
ALARM_SERIES: Final = 36
METRIC_SERIES: Final = 34

# What is paid however few jobs there are: dashboard, alarms, metrics, one sweep in
# five minutes, point-in-time recovery of a small table.
MONTHLY_BASE: Final = 3.0 + ALARM_SERIES * 0.10 + METRIC_SERIES * 0.30 + 0.05


@dataclass(frozen=True, slots=True)
class Song:
    """The job the model is of: a separation of three minutes of stereo.

    Attributes
    ----------
    stage_seconds : mapping of str to float
        By stage; the separation's are of htdemucs on a T4, loading included.
    track_mb : float
        One track in the format of the source, 16 bit at 44.1 kHz.
    downloaded : int
        How many of the nine tracks somebody fetches.
    webhooks : int
        Addresses that are told of the job, and answer at the first attempt.
    """

    stage_seconds: Mapping[str, float]
    track_mb: float = 31.8
    tracks: int = 9
    downloaded: int = 4
    # Five stems and four parts as float32, kept for two days.
    artifact_mb: float = 9 * 63.5
    progress_writes: int = 60
    transitions: int = 20
    webhooks: int = 1


SONG: Final = Song({SEPARATION: 40.0, DECOMPOSITION: 20.0, COMPOSITION: 20.0, NORMALIZATION: 60.0})
_MACHINES: Final = {SEPARATION: Machine.GPU}


def parts(song: Song = SONG) -> dict[str, float]:
    """Dollars that one more job costs, by part: what its receipt shows is among them.

    What is paid while no job runs is in `standing`.
    """
    seconds = song.stage_seconds
    by_stage = {
        name: stage_dollars(seconds[name], machine=_MACHINES.get(name, Machine.FUNCTION))
        for name in seconds
    }
    gpu = by_stage.pop(SEPARATION)
    return {
        "egress": song.downloaded * song.track_mb / 1e3 * _EGRESS_GB,
        "GPU": gpu,
        "CPU stages": sum(by_stage.values()),
        "storage": _storage(song),
        "requests and logs": _requests(song),
    }


def _storage(song: Song) -> float:
    """S3 by days kept: uploads 7 and tracks 30, both a week longer as versions; artifacts 2."""
    uploads, tracks = song.track_mb, song.tracks * song.track_mb
    mb_days = (
        uploads * (UPLOAD_DAYS + REGRET_DAYS)
        + song.artifact_mb * WORK_DAYS
        + tracks * (TRACK_DAYS + REGRET_DAYS)
    )
    return mb_days / 1e3 / _MONTH_DAYS * _S3_GB_MONTH


def standing(
    jobs_per_day: float, song: Song = SONG, *, idle_minutes: float = 0
) -> dict[str, float]:
    """Dollars a job of what is paid for whether it is there or not, by part.

    Parameters
    ----------
    jobs_per_day : float
        Whom it is shared by.
    idle_minutes : float
        The option `gpu_idle_minutes`; 0: as long as Batch takes.
    """
    delay_s = 60 * idle_minutes or _SCALE_DOWN_S
    per_s = jobs_per_day / _DAY_S
    work_s = song.stage_seconds[SEPARATION]
    on_s = gpu_seconds(per_s, work_s=work_s, delay_s=delay_s)
    return {
        "GPU boot and idle": stage_dollars(on_s - work_s, machine=Machine.GPU),
        "idle deployment": MONTHLY_BASE / _MONTH_DAYS / jobs_per_day,
    }


def watching() -> dict[str, float]:
    """Dollars of an hour in which one job is watched, by the way that is taken.

    What pushes to a WebSocket cost is in `parts`; how often a client asks is its own choice.
    """
    ask = _REST_CALL + 2 * _SMALL_CALL + _TABLE_READ
    held = STREAM_MEMORY_MB / 1024 * _STREAM_GB_S
    return {
        "event stream": 3600 * (held + _LOOKS_PER_S * _TABLE_READ),
        "asking every 10 s": 360 * ask,
        "WebSocket": 60 * _SOCKET_MINUTE,
    }


def gpu_machines(per_s: float, *, work_s: float) -> int:
    """How many machines a rate of jobs keeps, by the square-root staffing rule.

    The offered load and its root: Halfin and Whitt, "Heavy-traffic limits for
    queues with many exponential servers", Operations Research 29 (1981).
    """
    load = per_s * work_s
    return max(1, round(load + math.sqrt(load)))


def gpu_seconds(
    per_s: float, *, work_s: float, boot_s: float = _BOOT_S, delay_s: float = _SCALE_DOWN_S
) -> float:
    """For how many seconds a machine is paid for, for each job it works on.

    Jobs come as a Poisson process, evenly to each of `gpu_machines`. A machine
    that is off boots when a job comes and works on what has come meanwhile; out
    of work it waits for the next job, and goes when none has come for so long.

    With rate a and load r = a w, a machine works for (b + w) / (1 - r) on average
    after a boot of b and for w / (1 - r) after a wait (busy periods of M/G/1, with
    a first one that b delays). A wait of at most d ends without a job with
    p = exp(-a d), so there are 1 / p of them before it goes, (1 - p) / a long on
    average. It is off for 1 / a. Boot to boot is a cycle of renewals: its seconds
    on are shared by a times its length of jobs (Ross, "Stochastic Processes", 3.6).

    Parameters
    ----------
    per_s : float
        Jobs a second, of all machines.
    work_s, boot_s, delay_s : float
        w, b and d above.
    """
    rate = per_s / gpu_machines(per_s, work_s=work_s)
    load, empty = rate * work_s, math.exp(-rate * delay_s)
    # All three of a cycle times p: of a machine that never goes, the cycle has no end.
    booting = empty * (boot_s + work_s) / (1 - load)
    working = (1 - empty) * work_s / (1 - load)
    waiting = (1 - empty) / rate
    on_s = booting + working + waiting
    return on_s / (rate * on_s + empty)


def _requests(song: Song) -> float:
    # A job's record is about 4 KB; half its writes also move an index entry.
    writes = song.progress_writes * 4 * 1.25
    pushes = song.progress_writes
    return (
        writes * _TABLE_WRITE
        + song.progress_writes * 4 * _TABLE_READ
        + (song.tracks * 4 + 20) * _S3_PUT
        + song.tracks * 6 * _S3_GET
        + song.transitions * _TRANSITION
        + 10 * (_REST_CALL + 2 * _SMALL_CALL)
        + pushes * (_SOCKET_MESSAGE + _SMALL_CALL)
        # The stream's other reader hears of every change that a push is made of.
        + pushes * _SMALL_CALL
        + song.webhooks * _EVENTS * (2 * _TABLE_WRITE + 4 * _QUEUE_CALL + _SMALL_CALL)
        + 200e3 / _GB * _LOG_GB
    )


@dataclass(frozen=True, slots=True)
class Quota:
    """An account's limit, and what a peak hour asks of it.

    Attributes
    ----------
    asked, given : float
        In the quota's own unit.
    answer : str
        What to do when it bites.
    """

    name: str
    asked: float
    given: float
    answer: str

    @property
    def share(self) -> float:
        """How much of it is asked for; above 1 it bites."""
        return self.asked / self.given if self.given else float("inf")


# The busiest hour of a day has about four times the mean's jobs.
_PEAK: Final = 4.0


def quotas(jobs_per_day: float, song: Song = SONG) -> list[Quota]:
    """Every quota that the design touches, the tightest first."""
    return sorted(_quotas(_PEAK * jobs_per_day / _DAY_S, song), key=lambda q: -q.share)


def _quotas(per_s: float, song: Song) -> Iterator[Quota]:
    gpu_s = song.stage_seconds[SEPARATION]
    cpu_s = sum(song.stage_seconds.values()) - gpu_s
    yield Quota(
        "G vCPUs (Spot)",
        MACHINE_VCPUS * gpu_machines(per_s, work_s=gpu_s),
        64,
        f"ask for more, {MACHINE_VCPUS} a machine, and raise the option gpu_vcpus; "
        "a new account has 0: gpu=none until it is granted",
    )
    yield Quota(
        "Lambda concurrency",
        per_s * (cpu_s + 8),
        1000,
        "ask for more; StageFunctions=off moves CPU stages to Batch; a new account may have 10",
    )
    yield Quota(
        "batch:SubmitJob per s",
        per_s,
        50,
        "short stages submit nothing; beyond it, workers that pull from a queue and more accounts",
    )
    yield Quota(
        "states:StartExecution per s", per_s, 300, "ask for more; spread over regions or accounts"
    )
    yield Quota(
        "state transitions per s",
        per_s * song.transitions,
        5000,
        "fused=true: one step instead of three; ask for more",
    )
    yield Quota(
        "DynamoDB writes per s",
        per_s * song.progress_writes * 4,
        40_000,
        "ask for more; raise CLEARSTEM_PROGRESS_INTERVAL_S",
    )
    yield Quota("API Gateway requests per s", per_s * 10, 10_000, "ask for more; poll less")


def report(jobs_per_day: float, *, idle_minutes: float = 0) -> str:
    """The whole answer as text."""
    priced = parts() | standing(jobs_per_day, idle_minutes=idle_minutes)
    total = sum(priced.values())
    lines = [
        f"{100 * total:.2f} cents a job at {jobs_per_day:,.0f} a day: "
        "a separation of three minutes of stereo"
    ]
    for name, dollars in sorted(priced.items(), key=lambda part: -part[1]):
        lines.append(f"  {name:18} {100 * dollars:7.3f} cents  {dollars / total:5.0%}")
    lines.append(f"{_MONTH_DAYS * jobs_per_day * total:,.0f} dollars a month")
    lines.append("an hour in which a job is watched costs, beside it:")
    lines.extend(f"  {way:18} {100 * dollars:7.3f} cents" for way, dollars in watching().items())
    lines.append("quotas, by what a peak hour asks of the default account:")
    for quota in quotas(jobs_per_day):
        bites = "BITES" if quota.share > 1 else "ok"
        lines.append(f"  {bites:5} {quota.name:28} {quota.asked:12,.1f} of {quota.given:,.0f}")
        if quota.share > 1:
            lines.append(f"        {quota.answer}")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Print the report; the process exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.cost", description=__doc__)
    parser.add_argument("--jobs-per-day", type=float, default=1000.0)
    parser.add_argument(
        "--gpu-idle-minutes", type=float, default=0.0, help="as the option of the deployment"
    )
    given = parser.parse_args(argv)
    if given.jobs_per_day <= 0:
        parser.error(f"--jobs-per-day is {given.jobs_per_day}, not above 0")
    if given.gpu_idle_minutes < 0:
        parser.error(f"--gpu-idle-minutes is {given.gpu_idle_minutes}, not 0 or more")
    sys.stdout.write(report(given.jobs_per_day, idle_minutes=given.gpu_idle_minutes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
