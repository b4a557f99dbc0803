"""The command ``palimpsest``: its commands, and how it ends."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from palimpsest import __version__
from palimpsest.cli import (
    browse,
    compare,
    demo,
    diagnose,
    doctor,
    history,
    lab,
    list_,
    lm_eval,
    merge,
    plan,
    prompt,
    recommend,
    report,
    rescore,
    restore,
    rosetta,
    serve,
    suites,
    trace,
)
from palimpsest.cli.help import Commands
from palimpsest.errors import Terminated, UserError

app = Commands(
    name="palimpsest",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in a fraction of the time
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


EXIT_INTERRUPTED = 130
"""128 plus the number of SIGINT, as shells have it."""

EXIT_TERMINATED = 143
"""The same of SIGTERM."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"palimpsest {__version__}")
        raise typer.Exit


@app.callback()
def palimpsest(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Is it forgotten, or only hidden? Diagnose a fine-tuned language model.

    \b
    palimpsest demo
    palimpsest diagnose ./base ./tuned --via fr --via leet

    Start with the demo; then diagnose a pair of your own. Every command explains itself:
    `palimpsest diagnose --help`.
    """


app.command()(demo.demo)
app.command()(plan.plan)
app.command()(diagnose.diagnose)
app.command()(doctor.doctor)
app.command()(merge.merge)
app.command()(history.history)
app.command()(compare.compare)
app.command()(trace.trace)
app.add_typer(restore.app, name="restore")
app.command()(prompt.prompt)
app.command()(recommend.recommend)
app.command()(report.report)
app.command()(browse.browse)
app.command()(rescore.rescore)
app.command()(serve.serve)
app.command("lm-eval", context_settings=lm_eval.PASS_ON, no_args_is_help=True)(lm_eval.lm_eval)
app.command("list")(list_.list_)
app.add_typer(suites.app, name="suites")
app.add_typer(rosetta.app, name="rosetta")
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command line; user mistakes end with exit code 2, Ctrl-C with 130, SIGTERM 143."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on ``arguments`` and return the exit code."""
    try:
        code = app(arguments, standalone_mode=False)
    except UserError as error:
        from palimpsest.report import visible  # a file's text must not act here

        typer.echo(f"Error: {visible(str(error), keep=chr(10))}", err=True)
        return 2
    except typer.TyperException as error:
        error.show()  # type: ignore[attr-defined]  # every one that parsing raises prints itself
        return 2
    except BrokenPipeError:
        # The reader (head, less) went away; nobody is left to tell.
        sys.stderr.close()
        return 0
    except Terminated:
        typer.echo(
            "Stopped by SIGTERM; what was done is saved. Run the same command again to continue.",
            err=True,
        )
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:  # also what typer makes of Ctrl-C within a command
        typer.echo("Stopped. Run the same command again to continue.", err=True)
    return code if isinstance(code, int) else 0
