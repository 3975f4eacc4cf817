"""sdbatch schedule: lines for cron or systemd."""

from __future__ import annotations

from typing import Annotated

import typer

from sdbatch.cli.run import JobPath, Out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schedule")(schedule)


def schedule(
    job: JobPath,
    cron: Annotated[str, typer.Option(metavar="EXPR", help="When, as crontab has it: '0 1 * * *', or @daily.")],
    until: Annotated[str | None, typer.Option(metavar="06:00", help="As `run` has it.")] = None,
    time_limit: Annotated[str | None, typer.Option(metavar="2h", help="As `run` has it.")] = None,
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and a timer, in place of a cron line.")] = False,
    out: Out = None,
) -> None:
    """Print a ready crontab line, or a systemd service and timer; installs nothing."""
    from sdbatch.api import scheduling

    made = scheduling.scheduled(job, cron, out=out, until=until, time_limit=time_limit)
    if not systemd:
        typer.echo(scheduling.crontab(made), nl=False)
        return
    for name, text in scheduling.systemd(made).items():
        typer.echo(f"# ~/.config/systemd/user/{name}\n{text}")
    timer = next(name for name in scheduling.systemd(made) if name.endswith(".timer"))
    typer.echo(f"Save both, then: systemctl --user daemon-reload; systemctl --user enable --now {timer}", err=True)
