"""Found networks against hand-made ones on images that no search has seen.

Trains each network with several seeds by one recipe, scores it on the test split, and compares
every found network with every hand-made one: the difference of accuracies with an interval over
images and seeds, for all comparisons together, and p values after Holm's correction.

    python scripts/compare_on_test.py images64 --set task.data=DIR --epochs 60 --seeds 5 \
        --found best=arms:17 --hand MambaOut=mambaout.json \
        --hand CAFormer=layouts81:gated_conv,gated_conv,attention,attention

--json keeps each network's answers as they come: the same command goes on where it was stopped.
What other runs have, other seeds on another GPU for example, is taken from their files (--known).

An architecture is a reference's name, a JSON or YAML file, STUDY:TRIAL of --storage, or a space
with a choice for each of its decisions, in their order.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired_test import Right, differences

from hybridnas.architecture import Architecture
from hybridnas.cli.common import DEFAULT_STORAGE
from hybridnas.cli.resolve import architecture_of
from hybridnas.config import Fidelity, Protocol
from hybridnas.cost import cost
from hybridnas.errors import DataError, HybridnasError, SpaceError
from hybridnas.evaluate import evaluate
from hybridnas.search.plan import make_plan, rung_protocol
from hybridnas.search.studies import read_study
from hybridnas.space import Genome, SearchSpace
from hybridnas.tasks.classification import classification_network, validation_loader
from hybridnas.tasks.exact import exact_float32
from hybridnas.whole_files import write_whole

Run = tuple[str, int]  # a network's name, a seed


def answers(job: tuple[Architecture, Protocol, str, str]) -> list[bool]:
    """Whether each test image is told right by the network after its training."""
    architecture, protocol, split, name = job
    torch.set_num_threads(1)
    device = torch.device(name)
    outcome = evaluate(architecture, protocol, device=name)
    if outcome.status == "failed" or outcome.state_dict is None:
        raise HybridnasError(f"{architecture.short}: {outcome.message}")
    model = classification_network(architecture, len(protocol.class_names), protocol).eval()
    model.load_state_dict(outcome.state_dict)
    model.to(device)
    images = validation_loader(
        protocol.task,
        resolution=protocol.fidelity.resolution,
        crop_pct=protocol.recipe.crop_pct,
        batch_size=protocol.recipe.batch_size,
        device=device,
        split=split,
    )
    right: list[bool] = []
    with torch.inference_mode(), exact_float32(device):
        for batch, labels in images:
            right += (model(batch).argmax(1) == labels).tolist()
    return right


def network_named(text: str, storage: str) -> Architecture:
    """Raises HybridnasError that says what is allowed."""
    source, _, words = text.rpartition(":")
    if "," not in words:
        return architecture_of(text, storage).architecture
    space = SearchSpace.load(source)
    given = words.split(",")
    if len(given) != len(space.genes):
        raise SpaceError(f"{text}: the decisions of {source} are {', '.join(space.genes)}")
    genome: Genome = {}
    for (gene, values), word in zip(space.genes.items(), given, strict=True):
        by_word = {str(value): value for value in values}
        if word not in by_word:
            raise SpaceError(f"{text}: {gene} is one of {', '.join(by_word)}, got {word!r}")
        genome[gene] = by_word[word]
    return space.decode(genome)


def main() -> None:
    given = options()
    study = read_study(given.study, given.settings)
    fidelity = study.fidelity
    if given.epochs:
        fidelity = fidelity.model_copy(update={"epochs": given.epochs})
    plan = make_plan(study)
    named = {
        name: network_named(text, given.storage)
        for name, text in (entry.split("=", 1) for entry in [*given.found, *given.hand])
    }
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    runs = {
        (name, seed): (architecture, rung_protocol(plan, fidelity, seed))
        for name, architecture in named.items()
        for seed in seeds
    }
    own = [given.json] if given.json and given.json.exists() else []
    known = read_answers([*given.known, *own])
    for (name, seed), key, found in trained(runs, known, given):
        known[key] = found
        if given.json:
            write_json(given.json, known)
        print(f"{name}, seed {seed}: {np.mean(found):.4f}", flush=True)
    right = {
        name: np.array([known[key_of(*runs[name, seed], given.split)] for seed in seeds], float)
        for name in named
    }
    document = report(given, named, right, fidelity, plan.num_classes)
    if given.json:
        write_json(given.json, known, **document)


def key_of(architecture: Architecture, protocol: Protocol, split: str) -> str:
    """Of a training: its seed is the protocol's."""
    return f"{architecture.digest} {protocol.digest} {split}"


def trained(
    runs: Mapping[Run, tuple[Architecture, Protocol]],
    known: Mapping[str, list[bool]],
    given: argparse.Namespace,
) -> Iterator[tuple[Run, str, list[bool]]]:
    """The answers that are not known yet, as they come. Raises the first training's error that
    failed once the others have ended, whose answers would be lost else."""
    keys = {run: key_of(*what, given.split) for run, what in runs.items()}
    missing = [run for run, key in keys.items() if key not in known]
    if not missing:
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, mp_context=spawn) as pool:
        coming = {pool.submit(answers, (*runs[run], given.split, device)): run for run in missing}
        failed: list[HybridnasError] = []
        for done in as_completed(coming):
            run = coming[done]
            try:
                found = done.result()
            except HybridnasError as error:
                failed.append(error)
            else:
                yield run, keys[run], found
    if failed:
        raise failed[0]


def read_answers(files: Sequence[Path]) -> dict[str, list[bool]]:
    """Raises DataError for a file that has none."""
    found: dict[str, list[bool]] = {}
    for file in files:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))["answers"]
            found |= {key: [digit == "1" for digit in digits] for key, digits in told.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: no answers that --json has kept ({error!r})") from None
    return found


def write_json(path: Path, known: Mapping[str, list[bool]], **document: Any) -> None:
    told = {key: "".join("01"[right] for right in found) for key, found in known.items()}
    text = json.dumps({**document, "answers": told}, indent=1)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def report(
    given: argparse.Namespace,
    named: dict[str, Architecture],
    right: dict[str, Right],
    at: Fidelity,
    num_classes: int,
) -> dict[str, Any]:
    """What was found, printed and as the file has it."""
    rows = {}
    for name, scores in right.items():
        known = cost(named[name], at.resolution, num_classes=num_classes)
        by_seed = scores.mean(axis=1)
        spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
        rows[name] = {
            "stages": named[name].short,
            "macs": known.macs,
            "params": known.params,
            "test_top1": float(by_seed.mean()),
            "spread": spread,
            "by_seed": by_seed.tolist(),
        }
        print(
            f"{name:16} {named[name].short:20} {known.macs / 1e6:.1f} M MACs {by_seed.mean():.4f}"
        )
    names = [[entry.split("=", 1)[0] for entry in side] for side in (given.found, given.hand)]
    found = differences(right, list(itertools.product(*names)))
    for each in found:
        print(
            f"{each.first} - {each.second}: {100 * each.better:+.1f} points "
            f"[{100 * each.low:+.1f}, {100 * each.high:+.1f}], p {each.p:.3g}"
        )
    return {"networks": rows, "differences": [asdict(each) for each in found]}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="its task, recipe and resolution count")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--found", action="append", default=[], metavar="NAME=ARCH")
    parser.add_argument("--hand", action="append", default=[], metavar="NAME=ARCH")
    parser.add_argument("--epochs", type=int, help="default: the study's")
    parser.add_argument("--seeds", type=int, default=5, help="two or more")
    parser.add_argument("--first-seed", type=int, default=100, help="that no search has used")
    parser.add_argument("--split", default="test")
    parser.add_argument("--processes", type=int, default=4, help="trainings at once")
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    parser.add_argument("--json", type=Path, metavar="FILE", help="gone on with if it is there")
    parser.add_argument("--known", type=Path, nargs="+", default=[], metavar="FILE")
    given = parser.parse_args()
    names = [entry.partition("=")[0] for entry in [*given.found, *given.hand]]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"two networks are called {twice[0]!r}: a difference needs two names")
    if given.seeds < 2:
        parser.error(f"--seeds: a comparison needs two or more of each network, got {given.seeds}")
    if given.json and not given.json.parent.is_dir():
        parser.error(f"--json {given.json}: there is no folder {given.json.parent}")
    return given


if __name__ == "__main__":
    main()
