"""`tectum run`: one task, told step by step."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from tectum.cli.console import Connection, connected, console, in_words
from tectum.client import Agent, Reconnected, Session, Update
from tectum.observations.types import Screen
from tectum.protocol.messages import (
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    TurnStarted,
    Verdict,
)


def read_secrets(texts: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=@FILE pairs; a value never stands on the command line, where others could see it.

    Raises:
        click.BadParameter: a pair is not of that form.
    """
    secrets = {}
    for text in texts:
        name, found, path = text.partition("=@")
        if not (name and found and Path(path).is_file()):
            raise click.BadParameter(f"expected NAME=@FILE with a file that exists, got {text!r}")
        secrets[name] = Path(path).read_text().rstrip("\n")
    return secrets


class Teller:
    """Prints what happens and knows how it ended."""

    def __init__(self) -> None:
        self.screen: Screen | None = None
        self.ended: Control | None = None
        self.score: Score | None = None

    def tell(self, update: Update) -> None:
        """Print one update."""
        match update:
            case TurnStarted(instruction=instruction, attempt=attempt, screen=screen):
                self.screen = screen
                again = f" (attempt {attempt})" if attempt > 1 else ""
                console.print(f"[bold]{instruction}[/bold]{again}", markup=True)
            case Plan(step=step, action=action, reason=reason):
                console.print(f"{step:>4}  {in_words(action, self.screen)}", markup=False)
                if reason:
                    console.print(f"      {reason}", style="dim", markup=False)
            case Outcome():
                self.screen = update.screen or self.screen
                if update.status is not OutcomeStatus.OK:
                    console.print(
                        f"      {update.status} {update.reason} {update.message}",
                        style="yellow",
                        markup=False,
                    )
            case Decision(verdict=Verdict.DENY, rule_id=rule, reason=reason):
                console.print(f"      denied by rule {rule}: {reason}", style="red", markup=False)
            case Score():
                self.score = update
            case Reconnected(seconds):
                console.print(f"      reconnected after {seconds:.1f} s", style="yellow")
            case Control():
                self._tell_control(update)

    def _tell_control(self, control: Control) -> None:
        match control.kind:
            case ControlKind.EPOCH_RAISED if control.bodies and self.ended is None:
                bodies = ", ".join(
                    f"{report.body.home} {report.state}" for report in control.bodies
                )
                console.print(f"      stopped: {bodies}", style="yellow", markup=False)
            case ControlKind.ENVIRONMENT_LOST:
                console.print(
                    f"      ENVIRONMENT_LOST {control.message}", style="yellow", markup=False
                )
            case ControlKind.TURN_ENDED:
                self.ended = control

    def conclude(self) -> bool:
        """Print how the turn ended; answers whether it went well."""
        reason = self.ended.reason if self.ended else "CLOSED"
        answer = self.ended.answer if self.ended else ""
        well = self.score.success if self.score else reason == "DONE"
        scored = f", reward {self.score.reward:g}" if self.score else ""
        message = self.ended.message if self.ended else ""
        style = "bold green" if well else "bold red"
        console.print(f"{reason}{scored} {answer or message}".rstrip(), style=style, markup=False)
        return well


async def ask(session: Session, decision: Decision) -> None:
    """Put the guard's question to the person at the terminal."""
    text = f"{decision.question or decision.reason or 'Allow this step?'} (step {decision.step})"
    approved = await asyncio.to_thread(click.confirm, text, default=False)
    await session.approve(decision.step, approved=approved)


@click.command()
@click.argument("environment", metavar="ENV")
@click.argument("instruction", default="")
@click.option("--strategy", default="", help="Planner strategy; the platform's default if empty.")
@click.option("--strategy-settings", default="", help="Its settings, a JSON object.")
@click.option("--policy", default="", help="Guard policy.")
@click.option("--max-steps", default=0, help="0: the platform's default.")
@click.option("--turn-limit", "turn_limit_s", default=0.0, help="Seconds; 0: none.")
@click.option("--secret", "secret_files", multiple=True, metavar="NAME=@FILE")
@click.option("--allow-literal-secrets", is_flag=True, help="Plain text may go into secret fields.")
@click.option("--yes", is_flag=True, help="Answer the guard's questions with yes.")
@connected
async def run(
    connection: Connection,
    environment: str,
    instruction: str,
    strategy: str,
    strategy_settings: str,
    policy: str,
    max_steps: int,
    turn_limit_s: float,
    secret_files: tuple[str, ...],
    allow_literal_secrets: bool,
    yes: bool,
) -> None:
    """Let an agent work in ENV, such as miniwob://click-button?seed=7, until INSTRUCTION is done.

    Without an instruction the environment's own counts.
    """
    agent = Agent(
        strategy=strategy,
        strategy_settings=strategy_settings,
        policy=policy,
        max_steps=max_steps,
        turn_limit_s=turn_limit_s,
        allow_literal_secrets=allow_literal_secrets,
    )
    teller = Teller()
    async with (
        connection.open() as platform,
        platform.session(
            environment, instruction, agent=agent, secrets=read_secrets(secret_files)
        ) as session,
    ):
        console.print(f"session {session.session_id}", style="dim")
        async for update in session.updates():
            teller.tell(update)
            if isinstance(update, Decision) and update.verdict is Verdict.ASK:
                if yes:
                    await session.approve(update.step, approved=True)
                else:
                    await ask(session, update)
            if isinstance(update, Control) and update.kind is ControlKind.TURN_ENDED:
                await session.close()
    well = teller.conclude()
    console.print(f"tectum show {session.session_id} --html report.html", style="dim")
    if not well:
        raise SystemExit(1)
