"""Commands about search spaces."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

import typer

from ..cost import cost
from ..counting import in_size
from ..errors import ConfigError
from ..resources import find, shipped
from ..space import SearchSpace
from ..space_idle import idle_decisions, idle_words
from .common import AsJson, in_units, print_json, print_table
from .folding import say

spaces = typer.Typer(
    help="List search spaces, show one, or sample it.", invoke_without_command=True
)
SpaceArgument = Annotated[str, typer.Argument(metavar="NAME", help="A shipped space or a file.")]


def register(app: typer.Typer) -> None:
    app.add_typer(spaces, name="spaces")


@spaces.callback()
def list_spaces(context: typer.Context, as_json: AsJson = False) -> None:
    """List the shipped spaces with their sizes. A space is what may vary in a search."""
    if context.invoked_subcommand is not None:
        return
    found = [SearchSpace.load(name) for name in shipped("search_spaces")]
    if as_json:
        print_json(
            [
                {
                    "name": space.name,
                    "size": space.size(),
                    "genes": len(space.genes),
                    "input_size": space.spec.input_size,
                    "description": space.spec.description,
                }
                for space in found
            ]
        )
        return
    rows = [
        [s.name, in_size(s.size()), len(s.genes), s.spec.input_size, s.spec.description]
        for s in found
    ]
    print_table("Search spaces", ("name", "size", "decisions", "px", "description"), rows)


@spaces.command("show")
def show(
    name: SpaceArgument,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the space's file, to start one of your own from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every decision of a space with its choices, and those that change nothing.

    Examples: `hybridnas spaces show hybrid_small`,
    `hybridnas spaces show hybrid_small --yaml > my_space.yaml` (edit it, and let your study say
    `space: my_space.yaml`; search_spaces/README.md explains the keys)
    """
    if as_yaml and as_json:
        raise ConfigError("give --yaml or --json, not both")
    space = SearchSpace.load(name)
    if as_yaml:
        typer.echo(find("search_spaces", name).read_text(encoding="utf-8"), nl=False)
        return
    if as_json:
        print_json(
            {
                "name": space.name,
                "size": space.size(),
                "input_size": space.spec.input_size,
                "genes": {gene: list(values) for gene, values in space.genes.items()},
                "idle": idle_decisions(space.spec),
            }
        )
        return
    rows = [[gene, _choices(values)] for gene, values in space.genes.items()]
    title = f"{space.name}: {space.spec.description} ({in_size(space.size())} architectures)"
    print_table(title, ("decision", "choices"), rows)
    for line in idle_words(space.spec):
        say(line)


@spaces.command("sample")
def sample(
    name: SpaceArgument,
    number: Annotated[int, typer.Option("-n", min=1, metavar="K", help="How many.")] = 5,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the random draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw architectures from a space, each choice equally likely.

    Example: `hybridnas spaces sample hybrid -n 3`
    """
    space = SearchSpace.load(name)
    rng = random.Random(seed)
    drawn = [space.sample(rng) for _ in range(number)]
    if as_json:
        print_json(
            [{"arch": a.digest, "stages": a.short, "architecture": a.to_dict()} for a in drawn]
        )
        return
    rows = []
    for architecture in drawn:
        known = cost(architecture, space.spec.input_size)
        widths = "-".join(str(stage.width) for stage in architecture.stages)
        sizes = [in_units(known.macs), in_units(known.params)]
        rows.append([architecture.digest, architecture.short, widths, *sizes])
    title = f"{number} of {space.name} (MACs at {space.spec.input_size} px, 1000 classes)"
    print_table(title, ("arch", "stages", "widths", "MACs", "params"), rows)


def _choices(values: Sequence[object]) -> str:
    """The choices of a decision, the first few of many."""
    shown = [_text(value) for value in values[: 3 if len(values) > 20 else None]]
    return " | ".join(shown) + ("" if len(shown) == len(values) else f" | ... ({len(values)})")


def _text(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
