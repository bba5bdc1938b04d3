"""The command ``faultkit scale``: how a failing save grows with the number of ranks.

Exit status: 0 measured, 2 bad usage or bad input, 3 the harness itself failed, 130 interrupted by Ctrl-C,
SIGTERM or SIGHUP; what was measured by then is told all the same.
"""

from __future__ import annotations

import click

from faultkit import endings
from faultkit.cli.crash_options import BUDGET_SECONDS_MAX, require_seconds
from faultkit.cli.run_sweep import HELD, UsageError, reason_of, search_here
from faultkit.cli.streams import write_json
from faultkit.messages import printable
from faultkit.messages import seen as shown
from faultkit.report.progress import following

__all__ = ["scale"]


@click.command()
@click.argument("scenario", required=False)
@click.option("--plan", "plan_text", metavar="TEXT", help="What breaks.  [default: rank 1 cannot write]")
@click.option(
    "--from", "low", type=int, default=2, show_default=True, metavar="N", help="The smallest world."
)
@click.option(
    "--to",
    "high",
    type=int,
    default=256,
    show_default=True,
    metavar="N",
    help="The largest world; sizes double.",
)
@click.option(
    "--budget", type=float, metavar="SECONDS", help="Begin no size that is likely to end later than that."
)
@click.option(
    "--at", type=int, default=100_000, show_default=True, metavar="N", help="Ranks to predict the costs for."
)
@click.option("--json", "json_path", metavar="PATH", help="Write it all as one JSON object; - is stdout.")
@click.option("--report", "report_path", metavar="PATH", help="Write a page (.html) with drawings.")
def scale(
    scenario: str | None,
    plan_text: str | None,
    low: int,
    high: int,
    budget: float | None,
    at: int,
    json_path: str | None,
    report_path: str | None,
) -> int:
    """Measure how the costs of a failing save grow with ranks, and predict them for many.

    SCENARIO runs on simulated worlds of more and more ranks; by default it is a save in which each rank has one
    tensor of its own. Messages and bytes of each collective are counted, CPU time is measured.

    \b
      faultkit scale --to 1024 --budget 120 --report scaling.html
      faultkit scale dcp-save --plan 'writer.write_data@*=raise(OSError, EIO)'
    """
    from faultkit.plan import FaultPlan
    from faultkit.report.output import refusal
    from faultkit.scale import DEFAULT_PLAN, Point, Scaling, doubled, measure, require_at
    from faultkit.scale.rendering import render_scaling
    from faultkit.scale.work import SAVE
    from faultkit.scenarios import ScenarioError, get
    from faultkit.torch_versions import torch_version
    from faultkit.worlds import World

    if why := refusal(json_path, report_path):
        raise UsageError(why)
    if report_path is not None and not report_path.lower().endswith(".html"):
        raise UsageError(f"--report must end with .html (got {shown(report_path)})")
    require_seconds("--budget", budget, BUDGET_SECONDS_MAX)
    plan = FaultPlan.parse(plan_text if plan_text is not None else DEFAULT_PLAN)
    try:
        sizes = doubled(low, high)
        World(low, kind="simulated")  # starts nothing, and says what is wrong
        require_at(at)
        search_here(scenario or "")
        chosen = SAVE if scenario is None else get(scenario)
        chosen.validate_for(low)
    except ScenarioError as error:
        raise UsageError(str(error)) from None
    except ValueError as error:
        raise UsageError(reason_of(error)) from None
    plan.validate_for(low)
    points: list[Point] = []

    def note(point: Point) -> None:
        points.append(point)
        tell(f"{point.ranks} ranks in {point.seconds:.1f} s", len(points), len(sizes), "sizes")

    status = HELD
    try:
        with endings.in_order(), following(f"{sizes[0]} ranks") as tell:
            scaling = measure(chosen, plan=plan, sizes=sizes, at=at, budget_seconds=budget, on_point=note)
    except KeyboardInterrupt:
        status = endings.tell()
        if not points:
            return status
        scaling = Scaling(
            scenario=str(chosen), plan=str(plan), torch=torch_version(), points=tuple(points), at=at
        )
    click.echo(printable(render_scaling(scaling)), err=json_path == "-")
    if status == HELD and (left := [size for size in sizes if size > scaling.points[-1].ranks]):
        click.echo(
            f"\nthe budget of {budget:g} s left out {', '.join(map(str, left))} ranks", err=json_path == "-"
        )
    write_json(json_path, scaling.to_json(), scaling.torch)
    try:
        if report_path is not None:
            from faultkit.report.scale_page import write_page

            write_page(scaling, report_path)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from None
    return status
