"""sdbatch schedule: lines for cron or systemd, a script for Slurm, a manifest for KubeRay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from sdbatch.cli.run import JobPath, Out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schedule")(schedule)


def schedule(
    job: JobPath,
    cron: Annotated[
        str | None, typer.Option(metavar="EXPR", help="When, as crontab has it: '0 1 * * *', or @daily.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="06:00", help="As `run` has it.")] = None,
    time_limit: Annotated[str | None, typer.Option(metavar="2h", help="As `run` has it.")] = None,
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and a timer, in place of a cron line.")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="A script for sbatch, in place of a cron line.")] = False,
    kuberay: Annotated[bool, typer.Option("--kuberay", help="A RayJob for KubeRay, in place of a cron line.")] = False,
    nodes: Annotated[int, typer.Option(metavar="N", help="Machines, for --slurm and --kuberay.")] = 1,
    gpus_per_node: Annotated[int, typer.Option(metavar="N", help="GPUs, and so actors, a machine.")] = 1,
    cpus_per_node: Annotated[int, typer.Option(metavar="N", help="CPUs a machine.")] = 8,
    memory_per_node: Annotated[str, typer.Option(metavar="32Gi", help="Memory of a machine.")] = "32Gi",
    image: Annotated[str | None, typer.Option(help="A container image with sdbatch and Ray, for --kuberay.")] = None,
    claim: Annotated[
        str | None, typer.Option(help="The volume claim that spec and pictures lie on, for --kuberay.")
    ] = None,
    mount: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where that lies in the containers; default the spec's folder.")
    ] = None,
    out: Out = None,
) -> None:
    """Print a crontab line, systemd units, or a job of a cluster. For Slurm and KubeRay; installs nothing."""
    from sdbatch.api import clustering, deadlines, scheduling
    from sdbatch.errors import UsageError

    if (slurm and kuberay) or (slurm or kuberay) == (cron is not None) or (systemd and cron is None):
        raise UsageError("give one of --cron (with or without --systemd), --slurm and --kuberay")
    made = scheduling.scheduled(job, cron or "@daily", out=out, until=until, time_limit=time_limit)
    size = clustering.Nodes(nodes, gpus_per_node, cpus_per_node, memory_per_node)
    if slurm:
        seconds = None if time_limit is None else deadlines.length(time_limit).total_seconds()
        # Beside what the run has: Ray's start, the batch in hand, and the warning.
        minutes = None if seconds is None else math.ceil((seconds + 2 * clustering.WARNING_SECONDS) / 60)
        typer.echo(clustering.slurm(made, size, minutes), nl=False)
    elif kuberay:
        if image is None or claim is None:
            raise UsageError("--kuberay needs --image and --claim")
        typer.echo(clustering.kuberay(made, size, image, claim, mount), nl=False)
    elif systemd:
        for name, text in scheduling.systemd(made).items():
            typer.echo(f"# ~/.config/systemd/user/{name}\n{text}")
        timer = next(name for name in scheduling.systemd(made) if name.endswith(".timer"))
        typer.echo(f"Save both, then: systemctl --user daemon-reload; systemctl --user enable --now {timer}", err=True)
    else:
        typer.echo(scheduling.crontab(made), nl=False)
