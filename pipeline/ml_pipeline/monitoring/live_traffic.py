"""Volume, refusals and silence of an environment, from its servers' metrics and its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ml_pipeline.config import MonitorSection
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.monitoring.conclusions import Conclusion, Finding
from ml_pipeline.monitoring.drift_judgement import Judgement
from ml_pipeline.monitoring.log_reading import LogReading
from ml_pipeline.online.metrics_scraper import Servers
from ml_pipeline.online.watch import FAULT, OTHER_REQUESTS, OVERLOADED

HOUR = 3600.0

Statuses = Mapping[str, Mapping[int, float]]
"""Requests by status that each server, named by its start time, has counted."""


@dataclass(frozen=True)
class Traffic:
    """What the servers of a version counted since the last look."""

    counted: Statuses = field(default_factory=dict)
    """The counts of each server, for the next look."""
    since: Mapping[int, float] = field(default_factory=dict)
    """Requests by status since the last look."""
    servers: int = 0


def scrape(url: str, digest: str, token: str | None, before: Statuses) -> Traffic:
    """Return what the servers at an address counted since ``before``.

    A server that restarted counts from zero; what it had counted after the last look is lost.

    Raises:
        EnvironmentFault: the address is no model server's.
    """
    servers = Servers(url, digest, token)
    servers.scrape()
    counted = {f"{page.started:.3f}": dict(page.statuses) for page in servers.pages}
    since: dict[int, float] = {}
    for server, statuses in counted.items():
        known = before.get(server, {})
        for status, count in statuses.items():
            new = count - known.get(status, 0.0)
            if new > 0:
                since[status] = since.get(status, 0.0) + new
    return Traffic({**counted}, since, len(counted))


def judge_traffic(
    traffic: Traffic,
    reading: LogReading,
    section: MonitorSection,
    *,
    known_rows: int,
    last_request: float | None,
    now: datetime,
) -> Judgement:
    """Judge whether requests arrive, whether they are refused, and whether the log has them all.

    Args:
        traffic: The servers' counts since the last look.
        reading: What was read from the prediction log.
        section: The limits.
        known_rows: Rows of the version that can be judged, those of earlier looks included.
        last_request: Time of the newest row of the version, in seconds since the epoch.
        now: The time of this look.
    """
    parts = [
        _server(traffic),
        _rows(reading, section, known_rows, last_request, now),
        _log(reading),
        _refused(traffic, section),
    ]
    findings = [finding for _, finding in parts if finding is not None]
    metrics = {
        "rows": reading.rows,
        "requests": reading.requests,
        "probes": reading.probes,
        "other_versions": {str(version): rows for version, rows in reading.other_rows.items()},
        "statuses": {str(status): int(count) for status, count in sorted(traffic.since.items())},
        "servers": traffic.servers,
    }
    return Judgement([check for check, _ in parts], findings, metrics)


def _server(traffic: Traffic) -> tuple[Check, Finding | None]:
    name = "server"
    if traffic.servers:
        return Check(name=name, verdict=Verdict.PASS, observed=traffic.servers), None
    why = "no server of this version responds"
    check = Check(
        name=name,
        verdict=Verdict.FAIL,
        observed=0,
        expected="at least one that responds",
        why=f"{why}; run 'ml-pipeline status'",
    )
    return check, Finding(name, Conclusion.INVESTIGATE, why)


def _rows(
    reading: LogReading,
    section: MonitorSection,
    known_rows: int,
    last_request: float | None,
    now: datetime,
) -> tuple[Check, Finding | None]:
    name, silence = "requests", section.max_silence_hours
    expected = "requests of clients since the last look"
    if last_request is not None and silence is not None:
        hours = (now.timestamp() - last_request) / HOUR
        if hours > silence:
            last = datetime.fromtimestamp(last_request, UTC).isoformat(timespec="minutes")
            why = f"no request for {hours:.0f} hours: the last one was answered at {last}"
            check = Check(
                name=name,
                verdict=Verdict.FAIL,
                observed=reading.rows,
                expected=f"one within {silence:g} hours",
                why=why,
            )
            return check, Finding(name, Conclusion.INVESTIGATE, why)
    enough = f"at least {section.min_rows} rows to judge"
    if reading.rows and known_rows >= section.min_rows:
        passed = Check(name=name, verdict=Verdict.PASS, observed=reading.rows, expected=enough)
        return passed, None
    if reading.rows:
        expected, why = (
            enough,
            f"too few rows to judge: {known_rows} of at least {section.min_rows}",
        )
    else:
        why = "no row was predicted since the last look"
    undecided = Check(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        observed=reading.rows,
        expected=expected,
        why=why,
    )
    return undecided, None


def _log(reading: LogReading) -> tuple[Check, Finding | None]:
    name, expected = "prediction log", "every line can be read, and none was removed unread"
    if not reading.exists:
        why = "there is no prediction log; serving.prediction_log.enabled may be false"
        check = Check(
            name=name, verdict=Verdict.INCONCLUSIVE, observed="none", expected="a log", why=why
        )
        return check, None
    faults = [str(each) for each in (*reading.unreadable, *reading.gaps)]
    if not faults:
        return Check(name=name, verdict=Verdict.PASS, expected=expected), None
    more = reading.unreadable_count - len(reading.unreadable)
    why = "; ".join(faults) + (f"; and {more} more lines" if more > 0 else "")
    check = Check(
        name=name,
        verdict=Verdict.FAIL,
        observed=f"{reading.unreadable_count} unreadable lines, {len(reading.gaps)} gaps",
        expected=expected,
        why=why,
    )
    return check, Finding(name, Conclusion.INVESTIGATE, f"prediction log: {why}")


def _refused(traffic: Traffic, section: MonitorSection) -> tuple[Check, Finding | None]:
    name = "refused requests"
    answered = {s: n for s, n in traffic.since.items() if s not in OTHER_REQUESTS}
    total = sum(answered.values())
    if not total:
        return Check(name=name, verdict=Verdict.SKIPPED, why="no request was counted"), None
    refused = sum(n for s, n in answered.items() if 400 <= s < FAULT and s != OVERLOADED)
    share = refused / total
    expected = f"at most {section.refused_rate:.2%}"
    enough = total >= section.min_rows
    if share <= section.refused_rate or not enough:
        verdict = Verdict.PASS if enough else Verdict.SKIPPED
        return Check(name=name, verdict=verdict, observed=round(share, 6), expected=expected), None
    why = f"{share:.2%} of {int(total):,} requests were refused, {expected} are expected"
    check = Check(
        name=name, verdict=Verdict.FAIL, observed=round(share, 6), expected=expected, why=why
    )
    return check, Finding(name, Conclusion.INVESTIGATE, why)
